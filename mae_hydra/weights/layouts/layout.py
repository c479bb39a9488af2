"""What a layout is: the names of another program for the tensors of our models, to be translated both ways."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from torch import Tensor

from mae_hydra.weights.layouts import names
from mae_hydra.weights.layouts.names import Pair, State


def _same(tensors: State) -> dict[str, Tensor]:
    return dict(tensors)


@dataclass(frozen=True)
class Layout:
    """`matches` sees the names of a file; `pairs` translate them.

    What names alone cannot express is left to `merge` (their tensors, before renaming to ours) and `split` (renamed
    from ours, to theirs): fused or separate query, key and value, say.
    """

    name: str
    matches: Callable[[Collection[str]], bool]
    pairs: tuple[Pair, ...]
    merge: Callable[[State], dict[str, Tensor]] = field(default=_same)
    split: Callable[[State], dict[str, Tensor]] = field(default=_same)

    def to_native(self, tensors: State) -> dict[str, Tensor]:
        return names.to_native(self.merge(tensors), self.pairs)

    def from_native(self, tensors: State) -> dict[str, Tensor]:
        return self.split(names.from_native(tensors, self.pairs))

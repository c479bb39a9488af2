"""What segmentation inference asks of a model: a fixed input size, and logits of prepared images.

Shape letters: B batch, C classes (channels, where an image is meant), H W pixels.
A model is used as it is: putting it in eval mode is the caller's matter.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from mae_hydra.models import Shortcuts

SHORTCUTS = ("fold", "low_resolution_first", "cached_bias")


class SegmentationModel(Protocol):
    """`prepare`: uint8 images (B, C, H, W) -> normalised float. A call: normalised images -> logits (B, C, H, W).

    Two offers are taken where they are there: `fast(shortcuts)`, the form in which to evaluate, and
    `low_resolution_logits`, which leaves the enlarging to the caller. Of what size its images must be says
    `mae_hydra.types.image_size_of`.
    """

    def prepare(self, images: Tensor) -> Tensor: ...

    def __call__(self, images: Tensor) -> Tensor: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


def checked_shortcuts(names: Sequence[str]) -> Shortcuts:
    """The `shortcuts` of a configuration: names of what `Shortcuts` spares, [] for none."""
    if isinstance(names, str) or not set(names) <= set(SHORTCUTS):
        raise ValueError(f"shortcuts is a list of {', '.join(SHORTCUTS)}, [] for none; got {names}")
    return Shortcuts(**{name: name in names for name in SHORTCUTS})


def logits_of(model: SegmentationModel, shortcuts: Shortcuts) -> Callable[[Tensor], Tensor]:
    """The function from normalised windows (B, C, H, W) to their logits (B, C, h, w), at the model's own resolution.

    Enlarging them is left to whoever adds them up: then only one window's logits are large at a time.
    """
    offered: Any = model if getattr(model, "training", False) or not hasattr(model, "fast") else model.fast(shortcuts)
    logits: Callable[[Tensor], Tensor] = getattr(offered, "low_resolution_logits", offered)
    return logits

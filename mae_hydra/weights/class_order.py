"""The class of a name, not of a number: which class of a file is which of a data set.

Two lists of one length in which the names stand in another order are the same classes, and a model that takes the
number for the class scores by chance.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from mae_hydra.errors import UserError
from mae_hydra.weights.adapt_shapes import CLASSIFIERS
from mae_hydra.weights.read import Checkpoint

_PLACEHOLDER = re.compile(r"(class[ _]?)?\d+|label[ _]\d+")  # what classes are called that have no name
MAPPED = "the same classes in another order: mapped by name"


def order_of(theirs: Sequence[str], ours: Sequence[str]) -> list[int] | None:
    """Find for each of `ours` which of `theirs` it is; None where the numbers agree or are all that is known.

    Capitals, hyphens and spaces make no difference, and in its place, or as the only one that is left, a name may be a
    longer form of the other ("television", "television receiver"). A name that both lists have is itself and no form
    of another. ValueError, saying how they differ, where they name different classes.
    """
    if len(theirs) != len(ours) or not (have_names(theirs) and have_names(ours)):
        return None
    there, here = [_plain(name) for name in theirs], [_plain(name) for name in ours]
    if there == here:
        return None
    order = _matched(there, here)
    if set(order) != set(range(len(order))):
        raise ValueError(difference(theirs, ours))
    return None if order == list(range(len(order))) else order


def _matched(there: Sequence[str], here: Sequence[str]) -> list[int]:
    """Find where each of `here` stands in `there`; -1 where it does not."""
    left = [number for number, name in enumerate(there) if name not in here]
    places = []
    for number, name in enumerate(here):
        if name in there:
            places.append(number if there[number] == name else there.index(name))
        else:
            place = number if number in left or len(left) != 1 else left[0]
            places.append(place if place in left and _alike(name, there[place]) else -1)
    return places


def difference(theirs: Sequence[str], ours: Sequence[str]) -> str:
    """Say how two lists of names differ: "the model alone has kerb, the data alone have curb"."""
    there, here = {_plain(name) for name in theirs}, {_plain(name) for name in ours}
    only = [
        f"{who} {_some([name for name in names if _plain(name) not in others])}"
        for who, names, others in (("the model alone has", theirs, here), ("the data alone have", ours, there))
        if any(_plain(name) not in others for name in names)
    ]
    return ", ".join(only) or "a name stands for two classes"


def names_of(checkpoint: Checkpoint) -> list[str]:
    """What a file calls its classes; none where it does not tell."""
    names: Any = checkpoint.meta.get("class_names")
    return [str(name) for name in names] if isinstance(names, list) else []


class Rows(NamedTuple):
    """`tensors` of a file with the rows of its last layers in the order of a data set; `notes` and `dropped` as in
    `adapt.Adapted`."""

    tensors: Mapping[str, Tensor]
    notes: dict[str, str]
    dropped: dict[str, str]


def rows_by_name(
    checkpoint: Checkpoint, wanted: Mapping[str, Tensor], ours: Sequence[str], adapt: Collection[str]
) -> Rows:
    """The last layers that both have, of as many classes, by the names of `ours`; UserError where those are others,
    unless "classes" in `adapt` lets the layers start anew."""
    tensors = dict(checkpoint.tensors)
    shared = [name for name in CLASSIFIERS if name in wanted and len(tensors.get(name, ())) == len(wanted[name])]
    theirs = names_of(checkpoint)
    if not shared or len(theirs) != len(ours):
        return Rows(tensors, {}, {})
    try:
        order = order_of(theirs, ours)
    except ValueError as error:
        if "classes" not in adapt:
            raise UserError(
                f"the classes in {checkpoint.path} are not those of the data, {error}; let the last layers start anew "
                "with init_adapt=[classes], or call the data's classes by the same names"
            ) from error
        for name in shared:
            del tensors[name]
        return Rows(tensors, {}, dict.fromkeys(shared, "other classes"))
    if order is None:
        return Rows(tensors, {}, {})
    return Rows(tensors | {n: in_order(tensors[n], order) for n in shared}, dict.fromkeys(shared, MAPPED), {})


def in_order(rows: Tensor, order: Sequence[int]) -> Tensor:
    """The rows of a last layer in another order of the classes; one row is the logit of the second of two."""
    return -rows if len(rows) == 1 else rows[list(order)]


def have_names(names: Sequence[str]) -> bool:
    """Whether any of `names` is more than a number ("class 3")."""
    return not all(_PLACEHOLDER.fullmatch(name.strip().lower()) for name in names)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().lower()


def _alike(one: str, other: str) -> bool:
    words = [set(re.findall(r"\w+", _plain(name))) for name in (one, other)]
    return bool(words[0] and words[1]) and (words[0] <= words[1] or words[1] <= words[0])


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

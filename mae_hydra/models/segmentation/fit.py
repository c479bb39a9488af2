"""Whether the parts of a segmentation model fit each other: said when it is built, before anything is trained."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from mae_hydra.errors import UserError
from mae_hydra.models.encoders.contract import check_encoder
from mae_hydra.types import Loss

UNSAID = object()


def takes_one_map(head: Any) -> bool:
    """Whether a head gets one map instead of the list of all."""
    return getattr(head, "num_maps", None) == 1


def check_loss(loss: Any) -> None:
    """ValueError where something is no `PixelLoss`."""
    if not callable(loss) or not hasattr(loss, "ignore_index"):
        raise ValueError(
            f"{type(loss).__name__} is no loss of class maps (it has no ignore_index): docs/extending.md says what one "
            "owes"
        )


def check_sum(loss: Any, result: Any) -> Loss:
    """`result` itself; UserError where a loss of one's own gave a mean, as a tensor."""
    if not isinstance(result, Loss):
        raise UserError(
            f"{type(loss).__name__} gives a {type(result).__name__}; it must give a mae_hydra.types.Loss, the sum over "
            "labeled pixels and how many there are: docs/extending.md"
        )
    return result


def check_fit(encoder: Any, pyramid: Any, head: Any, auxiliary: Any, auxiliary_level: int) -> None:
    """ValueError with the first thing that does not fit."""
    check_encoder(encoder)
    for complaint in _complaints(encoder, pyramid, head, auxiliary, auxiliary_level):
        raise ValueError(complaint)


def check_weights(loss: Any, num_classes: int) -> None:
    """ValueError where a loss has class weights for another number of classes."""
    for part in loss.modules() if hasattr(loss, "modules") else ():
        weight = getattr(part, "weight", None) if hasattr(part, "set_class_weights") else None
        if weight is not None and len(weight) != num_classes:
            raise ValueError(f"class_weights must be {num_classes} numbers, one for each class, got {len(weight)}")


def check_maps(encoder: Any, maps: Sequence[Tensor]) -> None:
    """UserError where an encoder gives other maps than it says."""
    given, said = [level.shape[1] for level in maps], list(encoder.widths)
    if given != said:
        raise UserError(
            f"{type(encoder).__name__} says that it gives maps of {said} channels, and gives maps of {given}: its "
            "feature_maps and its widths must agree"
        )


def _complaints(encoder: Any, pyramid: Any, head: Any, auxiliary: Any, auxiliary_level: int) -> Iterator[str]:
    for part in (head, auxiliary):
        if part is not None and not hasattr(part, "num_classes"):
            yield f"{type(part).__name__} is no head of segmentation (it has no num_classes): choose another head="
    widths = list(encoder.widths)
    if takes_one_map(head):
        if pyramid is not None:
            yield (
                f"{type(head).__name__} takes one map, and the pyramid makes four: use model=segprobe_* with this head "
                "(and model.trainable_blocks=null to train all of it)"
            )
        if auxiliary is None and getattr(encoder, "norm", UNSAID) is None:
            yield "this model takes tokens after the norm: the encoder needs final_norm=true"
        yield from _misfit("head's in_dim", head, widths[-1:])
    else:
        yield from _complaints_of_maps(encoder, pyramid, type(head).__name__, getattr(head, "num_maps", len(widths)))
        if getattr(head, "makes_sizes", False) and (pyramid is not None or len(set(encoder.strides)) > 1):
            yield (
                f"{type(head).__name__} makes the sizes of its maps itself: use model=dpt_* or model.pyramid=null, "
                "with an encoder whose maps have one size"
            )
        if pyramid is None and getattr(head, "needs_pyramid", False) and len(set(encoder.strides)) == 1:
            yield f"{type(head).__name__} needs maps of several sizes: use model=upernet_*, which has a pyramid"
        yield from _misfit("head's in_dim", head, widths)
    if pyramid is not None:
        yield from _misfit("pyramid's dim", pyramid, widths, "dim")
    if auxiliary is not None:
        yield from _misfit("auxiliary head's in_dim", auxiliary, [widths[min(auxiliary_level, len(widths) - 1)]])
        if max(auxiliary.num_classes, 2) != max(head.num_classes, 2):
            yield f"both heads need equal num_classes, got {head.num_classes} and {auxiliary.num_classes}"


def _complaints_of_maps(encoder: Any, pyramid: Any, head: str, wanted: int) -> Iterator[str]:
    indices, blocks = getattr(encoder, "out_indices", None), getattr(encoder, "blocks", None)
    if blocks is not None and indices is not None:
        if len(indices) != wanted or indices[-1] != len(blocks) - 1:
            last = len(blocks) - 1
            yield f"{head} needs {wanted} out_indices that end with block {last}, got {list(indices)}"
        if getattr(encoder, "norm", None) is not None and not encoder.norm_maps:
            yield f"{head} takes maps before the norm: the encoder needs final_norm=false, or norm_maps=true"
    elif len(encoder.widths) != wanted:
        yield f"{head} needs {wanted} maps, the encoder gives {len(encoder.widths)}"
    grid = getattr(encoder, "grid", None)
    if pyramid is not None and grid is not None and min(grid) < 2:
        yield f"{head} needs at least 2x2 patches, got {grid[0]}x{grid[1]}"


def _misfit(name: str, part: Any, widths: Sequence[int], attribute: str = "in_dim") -> Iterator[str]:
    """`widths`: of the maps that the part gets; a part says one number for maps of one width, or all of them."""
    got = getattr(part, attribute, None)
    if got is None:
        return
    given = [got] * len(widths) if isinstance(got, int) else list(got)
    if given != list(widths):
        wanted = widths[0] if len(set(widths)) == 1 else list(widths)
        yield f"the {name} must be {wanted} to fit the encoder, got {got if isinstance(got, int) else given}"

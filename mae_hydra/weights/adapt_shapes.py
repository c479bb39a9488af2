"""What may differ between a file and a model only when it is asked for: the channels of the images, the classes.

C channels in the file, c in the model. Channel k of the model takes what channel k mod C has learned.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

ADAPTABLE = ("channels", "classes")
PROJECTION = "encoder.patch_embed.proj.weight"
PREDICTION = ("decoder.pred.weight", "decoder.pred.bias")
CLASSIFIERS = tuple(
    f"{part}.{kind}" for part in ("head.classify", "auxiliary.classify", "head.linear") for kind in ("weight", "bias")
)


class Adapted(NamedTuple):
    """`notes`: how a tensor was changed, by name. `dropped`: tensors that the model shall start anew, and why."""

    tensors: dict[str, Tensor]
    notes: dict[str, str]
    dropped: dict[str, str]


def adapted(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], adapt: Collection[str]) -> Adapted:
    """`tensors` of the file, changed as far as `adapt` allows towards the shapes of `wanted`."""
    result = Adapted(dict(tensors), {}, {})
    theirs, ours = tensors.get(PROJECTION), wanted.get(PROJECTION)
    if "channels" in adapt and theirs is not None and ours is not None and theirs.ndim == ours.ndim == 4:
        source, target = theirs.shape[1], ours.shape[1]
        if source != target:
            note = f"{source} → {target} channels"
            result.tensors[PROJECTION] = project_channels(theirs, target)
            result.notes[PROJECTION] = note
            for name in PREDICTION:
                if name in tensors and name in wanted:
                    result.tensors[name] = predict_channels(tensors[name], source, target)
                    result.notes[name] = note
    if "classes" in adapt:
        for name in CLASSIFIERS:
            if name in tensors and name in wanted and len(tensors[name]) != len(wanted[name]):
                result.dropped[name] = f"{len(tensors[name])} → {len(wanted[name])} classes"
                del result.tensors[name]
    return result


def project_channels(weight: Float[Tensor, "d c p p"], channels: int) -> Float[Tensor, "d _ p p"]:
    """The patch projection for another number of channels; a picture of equal channels keeps its projection's size.

    To one channel: the sum over all, exact for such a picture. Otherwise repeated in turn and scaled by C / c.
    """
    source = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight[:, _repeated(source, channels)] * (source / channels)


def predict_channels(rows: Float[Tensor, "pc *d"], source: int, target: int) -> Float[Tensor, "_ *d"]:
    """The pixel prediction (channel last within a patch): the mean for one channel, otherwise repeated."""
    by_channel = rows.unflatten(0, (-1, source))
    if target == 1:
        return by_channel.mean(1)
    return by_channel[:, _repeated(source, target)].flatten(0, 1)


def _repeated(source: int, target: int) -> Tensor:
    return torch.arange(target) % source

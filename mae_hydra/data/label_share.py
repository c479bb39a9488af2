"""`data.label_fraction`: a share of the labeled images, for what pre-training is worth where labels are few."""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch

from mae_hydra.data.dataset import ImageSet, LabelledSet, behind, name_of, some_of
from mae_hydra.errors import UserError

LOOKED_AT = 4096  # samples that are read for their classes, at most, until one of each class has been met


def label_share(
    images: ImageSet, fraction: float | None, seed: int | None, class_names: Sequence[str]
) -> tuple[ImageSet, list[str]]:
    """`fraction` of `images` (None: all), and what a person should know of it.

    The samples stand in an order that follows from `seed` (None: 0) and their names alone, in which those come first
    that a class is met in for the first time; the share is the beginning of it. So a smaller share lies within every
    larger one of the same seed, and holds each class of `class_names` that any sample has, where need be with more
    samples than were asked for; of a set whose samples must be read for that, any of the first `LOOKED_AT`. ValueError
    where the fraction is none.
    """
    if fraction is None:
        return images, []
    if not 0 < fraction <= 1:
        raise ValueError(f"data.label_fraction must lie in (0, 1], got {fraction}")
    if fraction == 1:
        return images, []
    digests = [_digest(name_of(images, index), seed or 0) for index in range(len(images))]
    order = sorted(range(len(images)), key=digests.__getitem__)
    looked = order if order and _tells_classes(behind(images, order[0])[0]) else order[:LOOKED_AT]
    first, missing = _one_of_each(images, looked, len(class_names))
    wanted = max(round(fraction * len(images)), 1)
    taken = max(wanted, len(first))
    chosen = set(first)
    chosen.update([index for index in order if index not in chosen][: taken - len(first)])
    notes = []
    if taken > wanted:
        notes.append(
            f"note: data.label_fraction={fraction} is {wanted} of {len(images)} training images; {taken} are taken, so "
            "that none of the classes is left out"
        )
    if missing:
        some = ", ".join(class_names[number] for number in missing[:6]) + (", …" if len(missing) > 6 else "")
        notes.append(
            f"note: none of {len(looked)} training images has {some}, so data.label_fraction may leave them out"
        )
    return some_of(images, sorted(chosen)), notes


def _digest(name: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed} {name}".encode(errors="surrogateescape"), digest_size=8).digest()


def _one_of_each(images: ImageSet, order: Sequence[int], num_classes: int) -> tuple[list[int], list[int]]:
    """Those samples of `order` that have a class none before has, and the classes that none has."""
    first: list[int] = []
    missing = set(range(num_classes))
    for index in order:
        if not missing:
            break
        found = missing & _classes(images, index)
        if found:
            first.append(index)
            missing -= found
    return first, sorted(missing)


def _tells_classes(images: Any) -> bool:
    """Whether the class of a sample is known without its file."""
    return hasattr(images, "class_id") and not isinstance(images, LabelledSet)


def _classes(images: Any, index: int) -> set[int]:
    """The classes of a sample, read without its pixels where that is offered; none of one that cannot be read."""
    images, index = behind(images, index)
    try:
        if _tells_classes(images):
            label = images.class_id(index)
        elif isinstance(images, LabelledSet):
            label = images.labels(index)
        elif hasattr(images, "stored"):
            label = images.stored(index).class_id
        else:
            label = images[index].label
    except UserError:
        return set()  # training says what is wrong with it
    if label is None:
        return set()
    return set(torch.as_tensor(label).unique().tolist())

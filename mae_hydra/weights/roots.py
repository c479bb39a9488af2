"""Where in a file of other names a model of known names lies: under `model.`, `backbone.vit.`, `student.module.`, …

Lightning, solo-learn, lightly, DINO and others keep a network as a part of something larger. The encoder is found by
its cls token: the shortest beginning of that name behind which a layout is recognised is the root. A decoder that lies
elsewhere under the official names is taken along; what is left has another purpose, and is named as unused.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from mae_hydra.weights.layouts import Layout, recognise
from mae_hydra.weights.layouts.names import State
from mae_hydra.weights.parts import EMA, is_average

DECODER = re.compile(r"(.*\.)?(decoder_(?:embed|blocks|norm|pred)\..+|decoder_pos_embed|mask_token)")
OURS = re.compile(r"decoder\.(blocks|norm|embed|pred)\.|pyramid\.|auxiliary\.|head\.(classify|fuse|linear)\.")


class Gathered(NamedTuple):
    """`tensors` under the names of `layout`. `root`: what stood before them. `others`: roots of further encoders.

    `unused`: names of what belongs to none of it. `obeyed`: the root is the one that was asked for.
    """

    tensors: dict[str, Tensor]
    layout: Layout
    root: str = ""
    others: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    obeyed: bool = True


def gather(tensors: State, word: str = "") -> Gathered | None:
    """The model in `tensors`; None where no layout is recognised at any root."""
    layout = recognise(tensors)
    if layout is not None:
        return Gathered(dict(tensors), layout, obeyed=not word)
    encoders = dict(_encoders(tensors))
    if not encoders:
        return None
    asked = [root for root in encoders if _answers(root, word)]
    root = min(asked or encoders, key=_rank)
    if _is_ours_and_more(tensors, root):
        return None
    inside = {name.removeprefix(root): tensor for name, tensor in tensors.items() if name.startswith(root)}
    outside = {name: tensor for name, tensor in tensors.items() if not name.startswith(root)}
    decoder = _decoder(outside)
    whole = inside | {new: outside[old] for old, new in decoder.items()}
    layout = recognise(whole) if decoder else encoders[root]
    if layout is None:
        layout, whole, decoder = encoders[root], inside, {}
    others = tuple(other for other in encoders if other != root)
    unused = tuple(name for name in outside if name not in decoder)
    return Gathered(whole, layout, root, others, unused, obeyed=not word or bool(asked))


def _encoders(tensors: State) -> Iterator[tuple[str, Layout]]:
    """(root, layout) of every encoder."""
    for name in tensors:
        if name.rpartition(".")[2] != "cls_token":
            continue
        parts = name.split(".")[:-1]
        for count in range(1, len(parts) + 1):
            root = ".".join(parts[:count]) + "."
            inside = {name.removeprefix(root): value for name, value in tensors.items() if name.startswith(root)}
            layout = recognise(inside)
            if layout is not None:
                yield root, layout
                break


def _is_ours_and_more(tensors: State, root: str) -> bool:
    """Whether parts of our own stand beside an encoder of ours: then a strange name is damage, not another program."""
    beside = root.removesuffix("encoder.")
    return beside != root and any(OURS.match(name.removeprefix(beside)) for name in tensors if name.startswith(beside))


def _answers(root: str, word: str) -> bool:
    return bool(word) and (is_average(root) if word == EMA else word in re.split(r"[._]", root))


def _rank(root: str) -> tuple[bool, bool, int]:
    """Order the roots: the weights themselves before their averages, but the teacher before the student."""
    return "student" in root or (is_average(root) and "teacher" not in root), is_average(root), len(root)


def _decoder(outside: State) -> dict[str, str]:
    """{name in the file: official name} of the one decoder among `outside`."""
    matches = {name: match for name in outside if (match := DECODER.fullmatch(name))}
    roots = {match[1] for match in matches.values() if match[2].startswith("decoder_blocks.")}
    if len(roots) != 1:
        return {}
    return {name: match[2] for name, match in matches.items() if match[1] in roots}

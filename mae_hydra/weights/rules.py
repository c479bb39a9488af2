"""What may be new and what may be left over when weights of one kind of model start another."""

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import product
from typing import NamedTuple

from torch import Tensor

from mae_hydra.errors import UserError, short
from mae_hydra.weights.layouts import Kind, kind_of
from mae_hydra.weights.read import Checkpoint
from mae_hydra.weights.report import collapse


class Rule(NamedTuple):
    """Regular expressions for the names that may be `new` (not in the file) and `unused` (in the file only)."""

    new: tuple[str, ...]
    unused: tuple[str, ...]


NORM = "encoder.norm.weight"
SAME = Rule((), ())
NOT_OF_THE_ENCODER = r"(?!encoder\.).+"
TO_SEGMENTATION = Rule(
    new=(
        r"encoder\.blocks\.\d+\.(gamma_[12]|attn\.relative_position_bias_table)",
        r"(pyramid|head|auxiliary)\..+",
    ),
    unused=(r"decoder\..+", r"encoder\.norm\.(weight|bias)"),
)
LEFT_BEHIND = (r"(decoder|head|pyramid|auxiliary)\..+",)  # what a pre-trained encoder comes with
# A classifier has one norm: of averaged tokens its own, new one, or the encoder's before its cls token.
TO_CLASSIFIER = Rule(new=(r"head\..+",), unused=(*LEFT_BEHIND, r"encoder\.norm\.(weight|bias)"))
TO_PATCHES = Rule(new=(r"head\..+",), unused=LEFT_BEHIND)
# (what the file holds, what the model is) -> rule; every other pair must be the same name for name.
RULES: dict[tuple[Kind, Kind], Rule] = {
    **dict.fromkeys(product(("mae", "encoder"), ("classifier", "probe")), TO_CLASSIFIER),
    **dict.fromkeys(product(("mae", "encoder"), ("patch_segmentation",)), TO_PATCHES),
    ("mae", "segmentation"): TO_SEGMENTATION,
    ("encoder", "segmentation"): TO_SEGMENTATION,
    ("classifier", "segmentation"): Rule(TO_SEGMENTATION.new, (*TO_SEGMENTATION.unused, r"head\.(norm|linear)\..+")),
    ("probe", "segmentation"): Rule(TO_SEGMENTATION.new, (*TO_SEGMENTATION.unused, r"head\.(batch_norm|linear)\..+")),
    ("mae", "encoder"): Rule((), (r"decoder\..+",)),
}


def _rule_of(theirs: Checkpoint, wanted: Collection[str]) -> Rule:
    """The rule of a pair of kinds; a model with parts of its own takes an encoder of the same names."""
    kinds = (theirs.kind, kind_of(wanted))
    if "other" not in kinds or _parts(theirs.tensors) == _parts(wanted):
        return RULES.get(kinds, SAME)
    return Rule((NOT_OF_THE_ENCODER,), (NOT_OF_THE_ENCODER,))


def _parts(names: Collection[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def check_rule(
    wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], checkpoint: Checkpoint, dropped: Collection[str]
) -> None:
    """Raise a UserError that names the tensors which the rule of these kinds of models does not allow."""
    rule = _rule_of(checkpoint, wanted)
    new = (*rule.new, r"encoder\.norm\.(weight|bias)") if rule is not SAME and _reads_maps(given) else rule.new
    missing = [n for n in wanted if n not in given and n not in dropped and not _allowed(n, new)]
    left_over = [name for name in given if name not in wanted and not _allowed(name, rule.unused)]
    refuse_names("lacks", missing, checkpoint)
    refuse_names("also has", left_over, checkpoint)


def _reads_maps(tensors: Collection[str]) -> bool:
    """Whether these are of a CrossMAE, ours or theirs, which has no final norm to give."""
    return NORM not in tensors and any(re.match(r"decoder\.(block_norms|dec_norms|wfm)\.", name) for name in tensors)


def _allowed(name: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def refuse_names(verb: str, names: Collection[str], checkpoint: Checkpoint) -> None:
    """Raise a UserError where there are `names`, which the file lacks or has too much."""
    if names:
        noun = "tensor" if len(names) == 1 else "tensors"
        raise UserError(
            f"{checkpoint.path} ({checkpoint.layout}) does not fit the model: it {verb} {len(names)} {noun}: "
            f"{'  '.join(collapse(sorted(map(short, names))))}. "
            "Give a checkpoint of the same model, or a pre-trained MAE of the same backbone"
        )

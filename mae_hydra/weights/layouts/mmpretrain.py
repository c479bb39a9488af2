"""Names of mmpretrain: a MAE with `backbone.` and `neck.`, and what it fine-tunes, with `backbone.` and `head.`.

Blocks are called as in mmsegmentation. The encoder's final norm is the backbone's `ln1`, that of averaged tokens `ln2`.
"""

from collections.abc import Collection

from mae_hydra.weights.layouts import mmseg
from mae_hydra.weights.layouts.layout import Layout
from mae_hydra.weights.layouts.names import Pair

ENCODER: tuple[Pair, ...] = (
    *mmseg.encoder("backbone."),
    ("backbone.ln1.*", "encoder.norm.*"),
    ("backbone.ln2.*", "head.norm.*"),
)
NECK: tuple[Pair, ...] = (
    ("neck.mask_token", "decoder.mask_token"),
    ("neck.decoder_pos_embed", "decoder.pos_embed"),
    *((f"neck.decoder_blocks.#.{theirs}", f"decoder.blocks.#.{ours}") for theirs, ours in mmseg.BLOCK),
    ("neck.ln1.*", "decoder.norm.*"),
    *((f"neck.decoder_{part}.*", f"decoder.{part}.*") for part in ("embed", "norm", "pred")),
)
HEAD: tuple[Pair, ...] = (("head.fc.*", "head.linear.*"), ("head.layers.head.*", "head.linear.*"))


def _is_encoder(names: Collection[str]) -> bool:
    return {"backbone.cls_token", "backbone.patch_embed.projection.weight", "backbone.layers.0.ln1.bias"} <= set(names)


def _is_pretraining(names: Collection[str]) -> bool:
    return _is_encoder(names) and "neck.mask_token" in names


def _is_classifier(names: Collection[str]) -> bool:
    return _is_encoder(names) and any(name.startswith(("head.fc.", "head.layers.head.")) for name in names)


FULL = Layout("mmpretrain MAE, encoder and decoder", _is_pretraining, (*ENCODER, *NECK))
CLASSIFIER = Layout("mmpretrain, classifier", _is_classifier, (*ENCODER, *HEAD))
BACKBONE = Layout("mmpretrain, encoder", _is_encoder, ENCODER)

"""How others name the same tensors. A layout is recognised by its names alone, never by the name of the file."""

from mae_hydra.weights.layouts import huggingface, mmpretrain, mmseg, official
from mae_hydra.weights.layouts.layout import Layout
from mae_hydra.weights.layouts.names import State
from mae_hydra.weights.layouts.native import NATIVE, WORDS, Kind, kind_of, num_cls_tokens
from mae_hydra.weights.layouts.targets import BY_TARGET, Export, to_layout

LAYOUTS = (  # the first that fits
    NATIVE,
    mmseg.UPERNET,
    mmpretrain.FULL,
    mmpretrain.CLASSIFIER,
    mmpretrain.BACKBONE,
    mmseg.CONVERTED,
    official.TIMM_BEIT,
    official.CROSSMAE,
    official.OFFICIAL_FULL,
    official.OFFICIAL_PROBE,
    official.OFFICIAL_CLASSIFIER,
    official.OFFICIAL_ENCODER,
    huggingface.PIXIO_BACKBONE,
    huggingface.FULL,
    huggingface.CLASSIFIER,
    huggingface.PREFIXED_ENCODER,
    huggingface.ENCODER,
)

__all__ = [
    "BY_TARGET",
    "LAYOUTS",
    "NATIVE",
    "WORDS",
    "Export",
    "Kind",
    "Layout",
    "State",
    "kind_of",
    "num_cls_tokens",
    "recognise",
    "to_layout",
]


def recognise(tensors: State) -> Layout | None:
    """The first layout whose names these are."""
    return next((layout for layout in LAYOUTS if layout.matches(tensors.keys())), None)

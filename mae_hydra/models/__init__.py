"""Networks: the shared Vision Transformer, MAE around it, UPerNet and classifiers on top of it."""

from mae_hydra.models import lean_timm  # noqa: F401  # first: the modules below import timm
from mae_hydra.models.classifier import Classifier
from mae_hydra.models.classifier_head import ClassifierHead
from mae_hydra.models.cross_decoder import CrossDecoder
from mae_hydra.models.crossmae_decoder import CrossMAEDecoder
from mae_hydra.models.decoder import MAEDecoder
from mae_hydra.models.encoder import VisionTransformer
from mae_hydra.models.erasing import RandomErasing
from mae_hydra.models.fast_upernet import FastUPerNet, Shortcuts
from mae_hydra.models.fcn_head import FCNHead
from mae_hydra.models.linear_seg_head import LinearSegHead
from mae_hydra.models.mae import MAE, MAEOutput
from mae_hydra.models.masking import STRATEGIES, keep_from_hidden, keep_from_noise, num_keep
from mae_hydra.models.mixing import Mixing
from mae_hydra.models.patch_segmenter import PatchSegmenter
from mae_hydra.models.patches import normalise_patches, patch_statistics, patchify, unpatchify
from mae_hydra.models.pixels import denormalise, normalise
from mae_hydra.models.pyramid import FeaturePyramid
from mae_hydra.models.upernet import UPerNet
from mae_hydra.models.upernet_head import UPerHead

__all__ = [
    "MAE",
    "STRATEGIES",
    "Classifier",
    "ClassifierHead",
    "CrossDecoder",
    "CrossMAEDecoder",
    "FCNHead",
    "FastUPerNet",
    "FeaturePyramid",
    "LinearSegHead",
    "MAEDecoder",
    "MAEOutput",
    "Mixing",
    "PatchSegmenter",
    "RandomErasing",
    "Shortcuts",
    "UPerHead",
    "UPerNet",
    "VisionTransformer",
    "denormalise",
    "keep_from_hidden",
    "keep_from_noise",
    "normalise",
    "normalise_patches",
    "num_keep",
    "patch_statistics",
    "patchify",
    "unpatchify",
]

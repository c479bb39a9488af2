"""Networks: the shared Vision Transformer, MAE around it, UPerNet and classifiers on top of it."""

from mae_hydra.models import lean_timm  # noqa: F401  # first: the modules below import timm
from mae_hydra.models.classification.classifier import Classifier
from mae_hydra.models.classification.classifier_head import ClassifierHead
from mae_hydra.models.classification.erasing import RandomErasing
from mae_hydra.models.classification.mixing import Mixing
from mae_hydra.models.encoders.timm_encoder import TimmEncoder
from mae_hydra.models.encoders.vision_transformer import VisionTransformer
from mae_hydra.models.mae.cross_decoder import CrossDecoder
from mae_hydra.models.mae.crossmae_decoder import CrossMAEDecoder
from mae_hydra.models.mae.decoder import MAEDecoder
from mae_hydra.models.mae.mae import MAE, MAEOutput
from mae_hydra.models.mae.masking import STRATEGIES, keep_from_hidden, keep_from_noise, num_keep
from mae_hydra.models.patches import normalise_patches, patch_statistics, patchify, unpatchify
from mae_hydra.models.pixels import denormalise, normalise
from mae_hydra.models.segmentation.dpt_head import DPTHead
from mae_hydra.models.segmentation.fast_upernet import FastUPerNet, Shortcuts
from mae_hydra.models.segmentation.fcn_head import FCNHead
from mae_hydra.models.segmentation.linear_seg_head import LinearSegHead
from mae_hydra.models.segmentation.losses.binary import BinaryCrossEntropy
from mae_hydra.models.segmentation.losses.cross_entropy import PixelCrossEntropy
from mae_hydra.models.segmentation.losses.dice import DiceLoss
from mae_hydra.models.segmentation.losses.focal import FocalLoss
from mae_hydra.models.segmentation.losses.lovasz import LovaszSoftmaxLoss
from mae_hydra.models.segmentation.losses.ohem import OhemCrossEntropy
from mae_hydra.models.segmentation.losses.weighted import WeightedLosses
from mae_hydra.models.segmentation.pyramid import FeaturePyramid
from mae_hydra.models.segmentation.segmenter import Segmenter
from mae_hydra.models.segmentation.upernet_head import UPerHead

UPerNet = PatchSegmenter = Segmenter  # their names in what earlier versions recorded

__all__ = [
    "MAE",
    "STRATEGIES",
    "BinaryCrossEntropy",
    "Classifier",
    "ClassifierHead",
    "CrossDecoder",
    "CrossMAEDecoder",
    "DPTHead",
    "DiceLoss",
    "FCNHead",
    "FastUPerNet",
    "FeaturePyramid",
    "FocalLoss",
    "LinearSegHead",
    "LovaszSoftmaxLoss",
    "MAEDecoder",
    "MAEOutput",
    "Mixing",
    "OhemCrossEntropy",
    "PatchSegmenter",
    "PixelCrossEntropy",
    "RandomErasing",
    "Segmenter",
    "Shortcuts",
    "TimmEncoder",
    "UPerHead",
    "UPerNet",
    "VisionTransformer",
    "WeightedLosses",
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

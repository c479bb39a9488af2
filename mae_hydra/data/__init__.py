"""Data sets, decoding, augmentation and the streams that feed training and evaluation."""

from mae_hydra.data.audit.class_weights import median_frequency_weights
from mae_hydra.data.audit.label_scan import check_labels
from mae_hydra.data.augment.transforms import Augment, ClassifyAugment, EvalCrop, PretrainAugment, SegmentAugment
from mae_hydra.data.dataset import (
    Comparable,
    ImageData,
    ImageSet,
    Listed,
    Sample,
    SampleTransform,
    Target,
    height_width,
)
from mae_hydra.data.decoding.decode import decode_image, read_image
from mae_hydra.data.labels.maps import read_labels
from mae_hydra.data.labels.palette import distinct_colours
from mae_hydra.data.loading.stream import EvalStream, TrainStream, epoch_order, stack
from mae_hydra.data.readers.ade20k import ade20k
from mae_hydra.data.readers.classification import classification
from mae_hydra.data.readers.folder import folder
from mae_hydra.data.readers.imagenet import imagenet
from mae_hydra.data.readers.imagenet_variant import imagenet_variant
from mae_hydra.data.readers.segmentation import segmentation
from mae_hydra.data.scenes.dataset import scenes
from mae_hydra.data.settings import FileSettings, Settings, data_factory
from mae_hydra.data.shards.huggingface import huggingface
from mae_hydra.data.shards.reader import shards
from mae_hydra.data.write import write_ade20k, write_imagenet

__all__ = [
    "Augment",
    "ClassifyAugment",
    "Comparable",
    "EvalCrop",
    "EvalStream",
    "FileSettings",
    "ImageData",
    "ImageSet",
    "Listed",
    "PretrainAugment",
    "Sample",
    "SampleTransform",
    "SegmentAugment",
    "Settings",
    "Target",
    "TrainStream",
    "ade20k",
    "check_labels",
    "classification",
    "data_factory",
    "decode_image",
    "distinct_colours",
    "epoch_order",
    "folder",
    "height_width",
    "huggingface",
    "imagenet",
    "imagenet_variant",
    "median_frequency_weights",
    "read_image",
    "read_labels",
    "scenes",
    "segmentation",
    "shards",
    "stack",
    "write_ade20k",
    "write_imagenet",
]

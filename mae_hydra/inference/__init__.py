"""From a model's output to what a person asked for: class maps of pictures of any size, or reconstructions."""

from mae_hydra.inference.multiscale_flip import MultiscaleFlip
from mae_hydra.inference.reconstruct import Reconstruct, Reconstruction
from mae_hydra.inference.segmentation_model import SegmentationModel
from mae_hydra.inference.segmenter import SegmentationInference
from mae_hydra.inference.slide import Slide
from mae_hydra.inference.whole import Whole
from mae_hydra.inference.windows import window_corners

__all__ = [
    "MultiscaleFlip",
    "Reconstruct",
    "Reconstruction",
    "SegmentationInference",
    "SegmentationModel",
    "Slide",
    "Whole",
    "window_corners",
]

"""Evaluators: each owns its data, its metric, its pictures and its clock (types.Evaluator)."""

from mae_hydra.evaluation.accuracy import Accuracy
from mae_hydra.evaluation.dense_probe import DenseProbe
from mae_hydra.evaluation.feature_probe import FeatureProbe
from mae_hydra.evaluation.held_out import HeldOut
from mae_hydra.evaluation.interval import Clock
from mae_hydra.evaluation.mean_iou import MeanIoU
from mae_hydra.evaluation.metrics import SegmentationScores, count_confusions, segmentation_scores
from mae_hydra.evaluation.reconstruction import ReconstructionError

__all__ = [
    "Accuracy",
    "Clock",
    "DenseProbe",
    "FeatureProbe",
    "HeldOut",
    "MeanIoU",
    "ReconstructionError",
    "SegmentationScores",
    "count_confusions",
    "segmentation_scores",
]

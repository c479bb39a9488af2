import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from window_segmenter import WindowSegmenter, picture

from mae_hydra.configuration.tree import config_dir
from mae_hydra.inference import MultiscaleFlip, Slide, Whole
from mae_hydra.inference.segmentation_model import SHORTCUTS
from mae_hydra.inference.segmenter import label_map
from mae_hydra.workflows.entry import build


def test_of_equal_scores_the_lowest_class_wins():
    assert label_map(torch.zeros(4, 2, 3)).tolist() == [[0] * 3] * 2


def test_more_classes_than_a_byte_holds_are_16_bits():
    for count, kind in ((256, torch.uint8), (257, torch.uint16)):
        found = label_map(torch.arange(float(count))[:, None, None])
        assert (found.tolist(), found.dtype) == ([[count - 1]], kind)


@pytest.mark.parametrize("option", ["slide", "whole", "multiscale_flip"])
def test_the_configuration_uses_all_shortcuts_as_python_does(option):
    node = OmegaConf.load(f"{config_dir()}/inference/{option}.yaml")
    assert tuple(node.shortcuts) == SHORTCUTS


@pytest.mark.parametrize("names", [["folds"], "fold"])
def test_an_unknown_shortcut_is_refused_by_name(names):
    with pytest.raises(ValueError, match=r"shortcuts is a list of fold, low_resolution_first, cached_bias, .* got"):
        Whole(short=None, long_ratio=None, shortcuts=names)


@pytest.mark.parametrize("names", [[], ["fold"], ["low_resolution_first"], ["cached_bias"], list(SHORTCUTS)])
def test_shortcuts_are_used_as_named_and_change_no_score(names):
    model = build("model=upernet_vitt").double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    settings = {"crop": 64, "stride_ratio": 0.6667, "short": 64, "long_ratio": 4.0, "window_batch": 2}
    slide = Slide(**settings, shortcuts=names)
    image = picture(50, 70)
    found = slide.scores(model, image)
    assert [name for name in SHORTCUTS if getattr(slide.shortcuts, name)] == [n for n in SHORTCUTS if n in names]
    assert list(model.derived) == [slide.shortcuts]
    torch.testing.assert_close(found, Slide(**settings, shortcuts=[]).scores(model, image), rtol=1e-9, atol=1e-9)


def test_a_float64_model_is_summed_in_float64():
    model = WindowSegmenter((16, 16)).double()
    prepare = model.prepare
    model.prepare = lambda images: prepare(images).double()
    for inference in (
        Slide(crop=16, stride_ratio=0.6667, short=16, long_ratio=4.0, window_batch=2),
        MultiscaleFlip(
            ratios=[1.0, 1.5], flip=True, crop=16, stride_ratio=0.6667, short=16, long_ratio=None, window_batch=2
        ),
    ):
        assert inference.scores(model, picture(20, 31)).dtype == torch.float64

"""TensorBoard files, read back; a resumed run replaces what it takes again."""

import sys

import numpy as np
import pytest

from mae_hydra.tracking import TensorBoard
from mae_hydra.types import Evaluation, Picture

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_what_was_told_is_read_back_once(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for start, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        tracker = TensorBoard()
        tracker.start(tmp_path, {"model": {"mask_ratio": 0.75}, "seed": 0}, start)
        for step in steps:
            tracker.scalars(step, {"train/loss": 10.0 * (start + 1) + step})
        picture = Picture(np.full((4, 6, 3), 9, np.uint8))
        maps = Picture(picture.pixels, maps={"labels": np.zeros((4, 6), np.uint8)})
        pictures = {"sheet": picture, "one": maps, "cells": Picture(picture.pixels, for_report=True)}
        tracker.evaluation(steps[-1], "validation", Evaluation({"mIoU": 5.0}, pictures))
        if not start:  # a result is there when its evaluation is, not when the run ends
            found = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
            found.Reload()
            assert [(e.step, e.value) for e in found.Scalars("val/mIoU")] == [(3, 5.0)]
        tracker.finish("completed", {})
    found = accumulator.EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"scalars": 0})
    found.Reload()
    assert [(e.step, e.value) for e in found.Scalars("train/loss")] == [(1, 11.0), (2, 12.0), (3, 33.0), (4, 34.0)]
    assert [e.step for e in found.Scalars("val/mIoU")] == [4]
    assert found.Tags()["images"] == ["validation/sheet"]
    pictures = found.Images("validation/sheet")
    assert {(each.step, each.width, each.height) for each in pictures} == {(4, 6, 4)}
    text = found.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "  mask_ratio: 0.75" in text


def test_without_its_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="logger=tensorboard needs a package of its own: pip install tensorboard"):
        TensorBoard().start(tmp_path, {}, 0)
    TensorBoard().finish("failed", {})  # which never began


def test_the_configuration_is_told_once_at_the_beginning(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for start, tags in ((0, ["config/text_summary"]), (7, [])):
        tracker = TensorBoard()
        tracker.start(tmp_path / str(start), {"seed": 3, "model": {"depth": 2, "parts": {}}}, start)
        tracker.finish("completed", {})
        found = accumulator.EventAccumulator(str(tmp_path / str(start) / "tensorboard"))
        found.Reload()
        assert found.Tags()["tensors"] == tags
        for tag in tags:
            [told] = found.Tensors(tag)
            assert (
                told.tensor_proto.string_val[0].decode() == "    seed: 3\n    model:\n      depth: 2\n      parts: {}\n"
            )

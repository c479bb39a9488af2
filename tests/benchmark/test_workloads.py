"""What is measured is a step of the model that is there, and every option that is given changes something."""

from pathlib import Path

import pytest
import torch

from mae_hydra.benchmark.estimate import example_batch
from mae_hydra.benchmark.verbs import composed, training_step
from mae_hydra.commands import main
from mae_hydra.commands.benchmark import DEFAULTS, TAKES, WHAT
from mae_hydra.configuration.construct import build
from mae_hydra.configuration.tree import config_dir

SMALL = ["engine=cpu", "data.image_size=32", "backbone.embed_dim=24", "backbone.num_heads=2", "data.batch_size=2"]
TINY = sorted(file.stem for file in (config_dir() / "model").glob("*_vitt.yaml"))


def words_of(model: str) -> list[str]:
    depth = ["backbone.depth=4", "backbone.out_indices=[0,1,2,3]"] if model.startswith(("upernet", "dpt")) else []
    return [f"model={model}", *SMALL, *(depth or ["backbone.depth=2", "backbone.out_indices=[1]"])]


@pytest.mark.parametrize("model", TINY)
def test_a_step_of_every_model_can_be_measured(model):
    """Of classifiers it ended in a traceback: there were two makers of batches, and one knew no classes."""
    config = composed(words_of(model))
    work, _, batch = training_step(config, build(config.engine, "engine"))
    work()
    assert batch.images.float().std() > 10  # noise, not empty images
    assert work.state.step == 1


def test_a_step_in_parts_is_of_the_global_batch():
    config = composed([*words_of("mae_vitt"), "data.batch_size=4", "engine.global_batch=6"])
    work, _, batch = training_step(config, build(config.engine, "engine"))
    assert (len(batch), work.accumulate) == (3, 2)  # as few equal parts as possible


def test_labels_are_of_the_kind_and_in_the_range_that_the_model_learns():
    for model, ndim in (("upernet_vitt", 3), ("segprobe_vitt", 3), ("classifier_vitt", 1), ("mae_vitt", None)):
        built = build(composed(words_of(model)).model, "model")
        labels = example_batch(built, 8, noise=True).labels
        assert (None if labels is None else labels.ndim) == ndim
        if labels is not None:
            assert 1 < labels.max() < built.num_classes
            assert labels.dtype == (torch.uint8 if ndim == 3 else torch.int64)


@pytest.mark.parametrize("what", WHAT)
def test_an_option_that_changes_nothing_is_refused(what, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"size": ["9", "9"], "alone": [], "shares": [], "images": ["3"]}
    for name in sorted(DEFAULTS.keys() - {"rounds", *TAKES[what]}):
        assert main(["benchmark", what, f"--{name}", *given[name]]) == 1
        assert f"--{name} changes nothing of benchmark {what}" in capsys.readouterr().err
    assert not list(Path().iterdir())


def test_alone_leaves_the_others_out(monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "mae_hydra.benchmark.verbs.step", lambda words, rounds, alone: seen.update(alone=alone) or 1 / 0
    )
    for flags, expected in (([], False), (["--alone"], True)):
        with pytest.raises(ZeroDivisionError):
            main(["benchmark", "step", *flags])
        assert seen["alone"] is expected

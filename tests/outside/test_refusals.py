"""A part that owes something is refused before training, in one sentence."""

import os
import textwrap
from pathlib import Path

import forked
import pytest
from page import ROOT
from visit import ALL, CONF, OWN, train, visiting  # noqa: F401

FAULTY = """
import torch
from torch import nn
from mae_hydra.types import Loss
from mylab.encoder import DINOv3
from mylab.loss import Dice

class NoStrides(DINOv3):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        del self.strides

class FewMaps(DINOv3):
    def feature_maps(self, images):
        return super().feature_maps(images)[:2]

class Nothing(nn.Module):
    def __init__(self, **arguments):
        super().__init__()

class NoIgnored:
    def __init__(self, ignore_index): ...
    def __call__(self, logits, labels): ...

class Mean(Dice):
    def __call__(self, logits, labels):
        found = super().__call__(logits, labels)
        return found.total / found.count

class Narrow:
    def __init__(self, flip, light): ...
    def __call__(self, sample, rng):
        return sample.image[:, :32], sample.label[:32]

class Scores:
    def __init__(self, **arguments): ...
    def run(self, model, step): ...

class Twice(Scores):
    def check(self, model): ...
    def due(self, step, total): return True
    def run(self, model, step):
        from mae_hydra.types import Evaluation
        return Evaluation({"found": 1.0})

class Forgetful:
    def __init__(self, **arguments): ...
    def on_progress(self, progress): ...
    def state_dict(self):
        return {}

def images(**arguments):
    return []

def optimizer(model, **arguments):
    return None
"""
OWES = "docs/extending.md says what"
CASES = {
    "backbone=NoStrides": ["NoStrides is no encoder (it has no strides)", OWES],
    "backbone=FewMaps": ["gives maps of [32, 32, 32, 32] channels, and gives maps of [32, 32]"],
    "backbone=Nothing": ["got a Nothing without depth_of, feature_maps", "choose a backbone="],
    "head=Nothing": ["got a Nothing without num_classes", "choose a head="],
    "loss=NoIgnored": ["NoIgnored is no loss of class maps", OWES],
    "loss=Mean": ["Mean gives a Tensor", "the sum over labeled pixels"],
    "augment=Narrow": ["augment.size must be data.image_size (64x64), got 32x64"],
    "data=images": ["data gives a list, which has no train", OWES],
    "optimizer=optimizer": ["_target_ must give a torch.optim.Optimizer, got a NoneType"],
    "evaluation.shapes=Scores": ["evaluation.shapes gives a Scores, which has no check, due", OWES],
    "callbacks.good_enough=Forgetful": ["callbacks.good_enough gives a Forgetful, which has no load_state_dict", OWES],
    "evaluation.shapes=Nowhere": ["evaluation.shapes._target_ = faulty.Nowhere cannot be found"],
    "model=Nothing": ["model gives a Nothing, which has no loss, depth_of", OWES],
}

SEEN_BY_THE_HOOK = {"backbone=NoStrides", "loss=NoIgnored", "loss=Mean"}  # of tests, in the signature of the model


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "faulty.py").write_text(textwrap.dedent(FAULTY))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MAE_HYDRA_TRUST", "mylab,faulty")
    return tmp_path


@pytest.mark.parametrize("part", [case for case in CASES if case not in SEEN_BY_THE_HOOK])
def test_what_owes_something_is_one_sentence_before_the_first_step(faulty, capfd, part):
    key, name = part.split("=")
    assert train(faulty, *ALL, f"{key}._target_=faulty.{name}", "hydra.run.dir=run") == 1
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert all(words in said[0] for words in CASES[part]), said[0]
    assert not (faulty / "run" / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.parametrize("part", sorted(SEEN_BY_THE_HOOK))
def test_and_so_it_is_in_a_process_whose_signatures_nobody_checks(faulty, part):
    key, name = part.split("=")
    path = f"{os.environ['PYTHONPATH']}{os.pathsep}{faulty}"
    trusted = {"PYTHONPATH": path, "MAE_HYDRA_TRUST": os.environ["MAE_HYDRA_TRUST"]}
    said = forked.run(faulty, str(ROOT / "train.py"), *ALL, f"{key}._target_=faulty.{name}", **trusted)
    assert said.returncode == 1
    [sentence] = [line for line in said.stderr.splitlines() if line.startswith("error: ")]
    assert all(words in sentence for words in CASES[part]), sentence
    assert "Traceback" not in said.stderr


def test_a_package_that_is_not_trusted_is_refused_before_it_is_imported(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MAE_HYDRA_TRUST", "")
    (tmp_path / "unknown.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert train(tmp_path, *ALL, "backbone._target_=unknown.Encoder", "hydra.run.dir=run") == 1
    said = capfd.readouterr().err
    assert "unknown.Encoder is not built" in said or "mylab" in said
    assert "MAE_HYDRA_TRUST=<package>" in said
    assert "imported" not in said


SEARCHED = f"hydra.searchpath=[file://{CONF}]"


@pytest.mark.parametrize(
    "words", [[*OWN, "+experiment=mylab"], [SEARCHED, "+experiment=mylab"], ["-m", *OWN, "head=mylab", "seed=1,2"]]
)
def test_a_misspelt_key_is_answered_with_one_of_the_own_option(tmp_path, capfd, words):
    """Also where the folder of the options is typed as Hydra's search path, and beside values that are swept."""
    assert train(tmp_path, *words, "head.chanels=3") == 1
    assert "unknown key 'head.chanels'; did you mean 'head.channels'?" in capfd.readouterr().err


def test_two_evaluators_with_one_name_for_a_score_are_refused(faulty, capfd):
    words = ["evaluation.shapes._target_=faulty.Twice", "+evaluation.more={_target_:faulty.Twice,_partial_:true}"]
    assert train(faulty, *ALL, *words, "hydra.run.dir=run") == 1
    assert "reports val/found, and so does another; rename one of them" in capfd.readouterr().err

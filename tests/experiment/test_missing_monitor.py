"""A score to judge by that no evaluation gives is said once, as soon as every evaluator was heard."""

import pytest

from mae_hydra.experiment.doubts import MissingMonitor
from mae_hydra.types import Evaluation


def test_it_is_said_once_when_all_were_heard(capsys):
    watching = MissingMonitor("val/mIoU", ["validation", "probe"])
    for step in (10, 20):
        watching.evaluation(step, "validation", Evaluation(scalars={"loss": 1.0}))
    assert capsys.readouterr().out == ""
    watching.evaluation(20, "probe", Evaluation(scalars={"linear": 50.0}))
    watching.evaluation(30, "probe", Evaluation(scalars={"linear": 51.0}))
    said = capsys.readouterr().out
    assert said.startswith("warning: no evaluation gives checkpoint.monitor=val/mIoU, so there is no best.pt")
    assert said.endswith("the evaluations give val/linear, val/loss\n")


def test_nothing_is_said_of_a_score_that_one_evaluator_gives(capsys):
    watching = MissingMonitor("val/loss", ["probe", "validation"])
    watching.evaluation(10, "validation", Evaluation(scalars={"loss": 1.0}))
    watching.evaluation(10, "probe", Evaluation(scalars={"linear": 50.0}))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("monitor", "said"),
    [
        (
            "mIoU",
            "checkpoint.monitor=mIoU, so there is no best.pt, and no score by which runs are compared;",
        ),
        ("train/loss", "checkpoint.monitor=train/loss, so there is no best.pt; the evaluations give val/mIoU"),
    ],
)
def test_a_monitor_that_is_no_score_of_an_evaluation_is_said(capsys, monitor, said):
    watching = MissingMonitor(monitor, ["validation"])
    watching.evaluation(10, "validation", Evaluation(scalars={"mIoU": 1.0}))
    assert said in capsys.readouterr().out

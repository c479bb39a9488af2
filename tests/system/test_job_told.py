"""How a job ends is written down as it ended, and its training gets what the configuration says."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from conftest import TINY_MAE

from mae_hydra.commands import main
from mae_hydra.data import scenes
from mae_hydra.experiment import job, provenance
from mae_hydra.experiment import run as composition


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What each job was asked to train; it is not trained, but gives, or raises, the first of `answers`."""
    asked: list[Any] = []
    answers: list[Any] = []

    def run(config: Any, plain: Any, run_dir: Path, start: Any = None) -> float:
        asked.append(SimpleNamespace(config=config, plain=plain, run_dir=run_dir, start=start))
        answer = answers.pop(0) if answers else 0.25
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(job, "run", run)
    return SimpleNamespace(asked=asked, answers=answers)


def status(folder: str | Path) -> dict:
    return json.loads(Path(folder, "status.json").read_text())


def test_a_run_that_ends_is_complete_with_its_value_and_is_not_repeated(train, runs, capsys):
    words = [*TINY_MAE, "seed=3", "hydra.run.dir=run"]
    assert train(*words, "resume=auto", "notes=x") == 0
    found = status("run")
    told = ("state", "value", "error", "attempt", "name", "task")
    assert [found[name] for name in told] == ["completed", 0.25, None, 1, "mae_vitt", "pretrain"]
    assert found["end"] >= found["start"]
    assert found["overrides"] == [*TINY_MAE, "seed=3", "notes=x", "paths.output_root=outputs"]
    assert yaml.safe_load(Path("run/overrides.yaml").read_text()) == found["overrides"]
    assert yaml.safe_load(Path("run/config.yaml").read_text()) == runs.asked[0].plain
    assert runs.asked[0].plain["seed"] == 3
    (Path("run") / "checkpoints").mkdir()
    assert train(*words) == 0
    assert len(runs.asked) == 1
    assert "run is already complete (value 0.25); nothing to do" in capsys.readouterr().out
    assert train(*words, "resume=never") == 0
    assert (len(runs.asked), status("run")["attempt"]) == (2, 2)


def test_a_run_that_fails_says_with_what(train, runs, capsys):
    runs.answers += [ValueError("first line\nsecond line")]
    with pytest.raises(ValueError, match="first line"):
        train(*TINY_MAE, "hydra.run.dir=run")
    found = status("run")
    assert [found[name] for name in ("state", "value", "error")] == ["failed", None, "ValueError: first line"]
    assert "second line" in Path("run/error.txt").read_text()
    assert train(*TINY_MAE, "hydra.run.dir=run") == 0
    assert [status("run")[name] for name in ("state", "error", "attempt")] == ["completed", None, 2]
    assert not Path("run/error.txt").exists()


@pytest.mark.parametrize(("fail_fast", "started"), [("true", 2), ("false", 3)])
def test_a_job_that_fails_ends_a_sweep_where_that_was_asked_for(train, runs, capsys, fail_fast, started):
    runs.answers += [0.5, ValueError("the second"), 0.75]
    assert train("-m", *TINY_MAE, "seed=1,2,3", f"fail_fast={fail_fast}", "hydra.sweep.dir=sweep") == 1
    assert [each.plain["seed"] for each in runs.asked] == [1, 2, 3][:started]
    rows = json.loads(Path("sweep/results.json").read_text())
    assert [(row["seed"], row["state"], row["value"]) for row in rows] == [
        each for each in ((1, "completed", 0.5), (3, "completed", 0.75), (2, "failed", None)) if each[0] < started + 1
    ]
    assert rows[-1]["error"] == "the second"
    assert "failed: the second" in capsys.readouterr().err


def test_a_trained_run_tells_of_its_data_its_classes_and_its_value(trained_upernet):
    found, results = status(trained_upernet), json.loads((trained_upernet / "results.json").read_text())
    config = yaml.safe_load((trained_upernet / "config.yaml").read_text())
    monitor = config["checkpoint"]["monitor"]
    lines = [json.loads(line) for line in (trained_upernet / "metrics.jsonl").read_text().splitlines()]
    assert found["value"] == results[monitor] == lines[-1][monitor]
    data = scenes(**{name: value for name, value in config["data"].items() if name != "_target_"})
    content = torch.load(trained_upernet / "checkpoints/last.pt", weights_only=True)
    meta = content["meta"]
    assert (meta["class_names"], meta["palette"]) == (list(data.class_names), data.palette.tolist())
    assert content["config"] == config
    origin = meta["origin"]
    assert origin["seed"] == config["seed"]
    for told in (origin["data"], json.loads((trained_upernet / "data.json").read_text())):
        assert (told["train"]["images"], told["validation"]["images"]) == (16, 4)
        assert (told["classes"], told["steps_per_epoch"]) == (
            list(data.class_names),
            16 / config["engine"]["global_batch"],
        )
    assert origin["git"]["commit"] == provenance.git_state()["commit"]
    assert json.loads((trained_upernet / "parent.json").read_text()) is None
    log = (trained_upernet / "train.log").read_text()
    assert "16 training and 4 validation images, 64x64" in log
    assert f"{content['step']} steps of {config['engine']['global_batch']} images" in log


class Asked(Exception):
    """All that a stream was asked for; nothing is read."""


def test_a_stream_is_asked_for_what_the_configuration_says(train, monkeypatch):
    assert main(["make-data", "in", "--layout", "imagenet", "--train", "12", "--validation", "4", "--size", "64",
                 "--workers", "0"]) == 0  # fmt: skip

    def stream(images: Any, augment: Any, **told: Any) -> Any:
        raise Asked(len(images), told)

    monkeypatch.setattr(composition, "TrainStream", stream)
    words = [word for word in TINY_MAE if not word.startswith(("data.num_train", "data.num_val"))]
    words += ["data=imagenet", "data.root=in", f"data.num_classes={len(list(Path('in/train').iterdir()))}"]
    words += ["data.image_size=64", "data.batch_size=3", "engine.global_batch=6", "seed=9", "data.num_workers=1"]
    with pytest.raises(Asked) as caught:
        train(*words, "data.prefetch=5", "data.max_bad_share=0.25", "hydra.run.dir=run")
    images, told = caught.value.args
    assert images == 12
    assert told == {
        "global_batch": 6, "micro_batch": 3, "rank": 0, "world_size": 1, "seed": 9, "num_workers": 1, "prefetch": 5,
        "device_is_cuda": False, "max_bad_share": 0.25,
    }  # fmt: skip

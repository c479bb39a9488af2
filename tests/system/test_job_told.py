"""How a job ends is written down as it ended, and its training gets what the configuration says."""

import json
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from conftest import TINY, TINY_MAE, TINY_UPERNET

from mae_hydra.commands import main
from mae_hydra.data import scenes
from mae_hydra.engine import Interrupted
from mae_hydra.experiment import assemble, provenance
from mae_hydra.experiment import run as composition
from mae_hydra.experiment.status import Ending
from mae_hydra.launching import job

TINY_CLASSES = [*TINY, "backbone.out_indices=[1]"]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What each job was asked to train; it is not trained, but gives, or raises, the first of `answers`."""
    asked: list[Any] = []
    answers: list[Any] = []

    def run(config: Any, plain: Any, run_dir: Path, start: Any = None) -> Ending:
        asked.append(SimpleNamespace(config=config, plain=plain, run_dir=run_dir, start=start))
        answer = answers.pop(0) if answers else 0.25
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, Ending) else Ending(answer)

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


def test_a_job_that_was_pruned_says_so_is_not_repeated_and_goes_on_where_nothing_prunes_it(train, runs, capsys):
    sweep = ["-m", *TINY_MAE, "model.mask_ratio=0.5,0.75", "callbacks=pruning", "hydra.sweep.dir=s"]
    sweep += ['+then.probe=["model=classifier_vitt"]']  # which follows nothing that was given up
    runs.answers[:] = [Ending(0.5, "pruned at step 2 of 4: worse", True)] * 2
    assert train(*sweep) == 0
    found = [status(path.parent) for path in Path("s").glob("*/status.json")]
    assert [(each["state"], each["value"], each["ended"]) for each in found] == [
        ("pruned", 0.5, "pruned at step 2 of 4: worse")
    ] * 2
    assert [row["state"] for row in json.loads(Path("s/results.json").read_text())] == ["pruned", "pruned"]
    assert train(*sweep) == 0
    assert len(runs.asked) == 2
    said = capsys.readouterr().out
    assert "was pruned at step 2 of 4: worse; callbacks=none trains it to its end (value 0.5); nothing to do" in said
    run = next(path.parent for path in Path("s").glob("*/status.json"))
    assert train(f"resume={run}", "callbacks=none", "then={}") == 0
    assert (status(run)["state"], status(run)["ended"], status(run)["attempt"]) == ("completed", None, 2)


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


def test_a_run_stays_complete_whatever_becomes_of_what_follows_it(train, runs, monkeypatch):
    def fail(*told: Any) -> float:
        raise ValueError("the probe")

    monkeypatch.setattr(job, "run_stages", fail)
    with pytest.raises(ValueError, match="the probe"):
        train(*TINY_MAE, "hydra.run.dir=run")
    assert [status("run")[name] for name in ("state", "value", "error")] == ["completed", 0.25, None]
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

    monkeypatch.setattr(assemble, "TrainStream", stream)
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


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """What each training was begun with; nothing is trained."""
    begun: list[SimpleNamespace] = []
    names = ("state", "forward", "stream", "schedule", "evaluators", "checkpoints", "tracker", "settings")

    def fit(*told: Any, **named: Any) -> dict[str, float]:
        begun.append(SimpleNamespace(**dict(zip(names, told, strict=True)), **named))
        return {"val/loss": 0.5, "val/mIoU": 7.0}

    monkeypatch.setattr(composition, "fit", fit)
    return begun


def test_a_training_begins_with_what_the_configuration_says(train, fitted):
    words = ["seed=5", "engine.ema_decay=0.875", "engine.global_batch=4", "data.batch_size=2", "schedule.total=9"]
    assert train(*TINY_MAE, *words, "hydra.run.dir=run") == 0
    [begun] = fitted
    assert (begun.seed, begun.run_dir, begun.schedule.steps) == (5, Path("run").absolute(), 9)
    assert (begun.cut.micro_batch, begun.cut.accumulate, begun.cut.world_size) == (2, 2, 1)
    assert begun.state.average is not None
    assert begun.settings.ema_decay == 0.875
    assert begun.config == yaml.safe_load(Path("run/config.yaml").read_text())
    assert list(begun.evaluators) == ["validation"]
    assert status("run")["value"] == 0.5  # of the monitored metric
    assert json.loads(Path("run/starts.jsonl").read_text())["step"] == 0
    assert train(*TINY_MAE, "hydra.run.dir=other") == 0
    assert fitted[1].state.average is None


@pytest.mark.parametrize(("words", "chosen_anew"), [([], False), (["evaluation.validation.boundary=true"], True)])
def test_the_best_of_other_scores_is_no_longer_the_best(train, trained_upernet, fitted, words, chosen_anew, capsys):
    shutil.copytree(trained_upernet, "run")
    found = status("run")
    Path("run/status.json").write_text(json.dumps(found | {"state": "interrupted", "value": None}))
    Path("run/results.json").unlink()
    assert train("resume=run", *words) == 0
    [begun] = fitted
    assert begun.state.step == torch.load("run/checkpoints/last.pt", weights_only=True)["step"]
    assert (begun.checkpoints.best is None) is chosen_anew
    assert ("best.pt is chosen anew from here on" in capsys.readouterr().out) is chosen_anew


@pytest.mark.parametrize("adapt", [["classes"], []])
def test_weights_are_adapted_where_that_is_asked_for(train, monkeypatch, adapt):
    given = SimpleNamespace(meta={})
    monkeypatch.setattr(assemble, "read_checkpoint", lambda path, **told: given)

    def transfer(*told: Any) -> Any:
        raise Asked(*told[1:])

    monkeypatch.setattr(assemble, "transfer", transfer)
    words = ["model=upernet_vitt", *TINY_UPERNET, "init_from=some.pt", f"init_adapt=[{','.join(adapt)}]"]
    with pytest.raises(Asked) as caught:
        train(*words, "hydra.run.dir=run")
    checkpoint, adapted, names = caught.value.args
    assert checkpoint is given
    assert (adapted, names[0], len(names)) == (adapt, "sky", 12)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=upernet_vitt", *TINY_UPERNET, "data=scene_classes"], "needs label maps, and this data set has none"),
        (["model=classifier_vitt", *TINY_CLASSES, "data=scenes"], "needs a class for every image, and this data set"),
        (["model=upernet_vitt", *TINY_UPERNET, "+augment.smaller=[32]"], "augment.smaller"),
    ],
)
def test_what_a_model_cannot_learn_from_is_said_by_name(train, capsys, words, said):
    assert train(*words) == 1
    assert said in capsys.readouterr().err


def named(runs: SimpleNamespace) -> list[tuple[str, str]]:
    return [(each.plain["logger"]["wandb"]["name"], each.plain["group"]) for each in runs.asked]


def test_the_jobs_of_a_sweep_are_called_by_what_was_swept(train, runs):
    """In the group of its directory, where no sweep file names one; a name that was typed stays."""
    words = [*TINY_MAE, "logger=wandb_offline", "hydra.sweep.dir=outputs/lr"]
    assert train("-m", *words, "model.mask_ratio=0.5,0.75", "seed=1") == 0
    assert train("-m", *words, "seed=2", "logger.wandb.name=mine", "group=ours") == 0
    assert train("-m", "+sweep=mask_ratio", "model.mask_ratio=0.6", *words[:-1]) == 0
    assert train(*words[:-1], "seed=7") == 0
    assert named(runs) == [
        ("mask_ratio-0.5", "lr"),
        ("mask_ratio-0.75", "lr"),
        ("mine", "ours"),
        ("mask_ratio-0.6", "mask_ratio"),
        ("mae_vitt", None),
    ]


def test_what_follows_a_job_is_called_after_it(train, runs, monkeypatch):
    (folder := Path("outputs/lr/job")).mkdir(parents=True)
    (folder / "status.json").write_text('{"state": "completed"}')
    before = {"name": "mae_vitt", "group": "lr", "logger": {"wandb": {"name": "mask_ratio-0.5"}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(before))
    monkeypatch.setenv("MAE_HYDRA_SWEPT", '["seed"]')
    assert train(*TINY_MAE, "logger=wandb_offline", f"hydra.run.dir={folder}/upernet", "seed=1") == 0
    assert train(*TINY_MAE, "logger=wandb_offline", "hydra.run.dir=outputs/lr/seed", "seed=1") == 0
    assert named(runs) == [("mask_ratio-0.5/upernet", "lr"), ("seed-1", "lr")]


def test_a_run_that_the_agent_of_w_and_b_hands_out_again_goes_on_in_its_directory(train, runs, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc123")
    monkeypatch.setenv("WANDB_RUN_ID", "run-1")
    words = [*TINY_MAE, "seed=3", "_wandb={'method': 'grid'}"]
    runs.answers += [Interrupted(2, signal.SIGTERM)]
    assert train(*words) == 75
    assert train(*words) == 0
    assert [str(each.run_dir.relative_to(Path.cwd())) for each in runs.asked] == ["outputs/sweeps/abc123/run-1"] * 2
    assert status(runs.asked[0].run_dir)["attempt"] == 2
    monkeypatch.setenv("WANDB_RUN_ID", "../evil")
    assert train(*words) == 0
    assert "runs/mae_vitt" in str(runs.asked[2].run_dir)

"""`logger=wandb_offline` through the whole program; what is in the records is read back in tests/tracking."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import TINY, TINY_MAE, TINY_UPERNET, WITH_FIGURES

from mae_hydra.tracking import dashboards
from mae_hydra.tracking.offline_records import records

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.slow
def test_every_job_of_a_sweep_gets_a_wandb_run_of_its_own(train, tmp_path):
    overrides = [*TINY_MAE, "schedule.total=2", "logger=wandb_offline"]
    assert train("-m", "+sweep=mask_ratio", "model.mask_ratio=0.5,0.75", *overrides) == 0
    jobs = [path.parent for path in (tmp_path / "outputs").rglob("status.json")]
    ids = {(job / "wandb_id.txt").read_text() for job in jobs}
    assert len(jobs) == len(ids) == 2
    for job in jobs:
        [record] = job.rglob("run-*.wandb")
        assert (job / "wandb_id.txt").read_text().strip() in record.name


@pytest.mark.slow
def test_a_segmentation_run_keeps_its_masks_and_its_configuration(train, tmp_path):
    overrides = [*TINY_UPERNET, WITH_FIGURES, "schedule.total=2", "logger=wandb_offline", "hydra.run.dir=outputs/seg"]
    assert train("model=upernet_vitt", *overrides) == 0
    run = Path("outputs/seg")
    assert list(run.rglob("media/images/mask/**/*.png"))
    assert list(run.rglob("media/images/**/*.png"))
    assert yaml.safe_load((run / "config.yaml").read_text())["logger"]["wandb"]["mode"] == "offline"
    assert json.loads((run / "results.json").read_text())["val/mIoU"] >= 0


PROBES = {
    "pretrain_probe": ("data=scene_classes", {"val/knn", "val/linear", "val/rankme"}),
    "pretrain_dense_probe": ("data=scenes", {"val/knn_mIoU", "val/linear_mIoU"}),
}
OF_SOME_RUNS = {"perf/mfu", "train/nonfinite_steps"}  # on devices of a known peak; where a step was skipped
OF_SOME_RUNS |= set().union(*(keys for _, keys in PROBES.values()))
KINDS = {
    "pretrain": ("model=mae_vitt", TINY_MAE, "val/loss", "min"),
    "segment": ("model=upernet_vitt", [*TINY_UPERNET, WITH_FIGURES], "val/mIoU", "max"),
    "classify": ("model=classifier_vitt", [*TINY, "backbone.out_indices=[1]"], "val/top1", "max"),
}


def texts(node: object) -> list[str]:
    if isinstance(node, dict):
        return [text for part in node.values() for text in texts(part)]
    if isinstance(node, list):
        return [text for part in node for text in texts(part)]
    return [node] if isinstance(node, str) else []


def written(run: str) -> list[Any]:
    import wandb  # which takes a second of every process that collects tests

    wandb.teardown()  # its own process writes the files, and has time until then
    [path] = Path(run).rglob("run-*.wandb")
    return list(records(path))


def logged(found: list[Any]) -> set[str]:
    return {item.key or "/".join(item.nested_key) for record in found for item in record.history.item}


@pytest.mark.slow
@pytest.mark.parametrize("evaluation", PROBES)
def test_the_keys_of_probes_that_a_panel_shows_are_written_by_runs_that_probe(train, tmp_path, evaluation):
    data, keys = PROBES[evaluation]
    words = [
        data,
        "data.num_train=64",
        f"evaluation={evaluation}",
        "schedule.total=2",
        "logger=wandb_offline",
        "hydra.run.dir=run",
    ]
    assert train(*TINY_MAE, *words) == 0
    history = logged(written("run"))
    assert keys <= history
    assert any(key.startswith(("probe/neighbours", "probe/dense_probe")) for key in history)
    where = {"entity": "me", "project": "p", "group": None, "keys": ["seed"], "metric": "val/loss", "mode": "min"}
    assert keys <= set(texts(dashboards.described(dashboards.workspace("pretrain", **where))))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_every_key_that_a_panel_shows_is_one_that_its_runs_write(train, tmp_path, kind):
    model, tiny, metric, mode = KINDS[kind]
    assert train(model, *tiny, "schedule.total=2", "logger=wandb_offline", "hydra.run.dir=run") == 0
    found = written("run")
    history = logged(found)
    media = {key.rpartition("/")[0] for key in history if key.endswith("/_type")}
    # W&B makes {min, max, last} of a score that has a best value: as a summary of its own name no panel can draw it.
    scores = {key for key in history if key.startswith("val/")}
    summary = {item.key or ".".join(item.nested_key) for record in found for item in record.summary.update} - scores
    where = {
        "entity": "me",
        "project": "p",
        "group": None,
        "keys": ["model.mask_ratio"],
        "metric": metric,
        "mode": mode,
    }
    made = [dashboards.workspace(each, **where) for each in (kind, "sweep")] + [dashboards.report(**where)]
    asked = {text for each in made for text in texts(dashboards.described(each))}
    drawn = {text for text in asked if text.startswith(("train/", "val/", "perf/", "validation/"))} - OF_SOME_RUNS
    best = {text.removeprefix("summary:") for text in asked if text.startswith(("summary:", "min/", "max/"))}
    assert len(drawn) >= 6
    assert {key for key in drawn if not key.startswith("validation/segmentation_")} <= history | media
    assert best
    assert best <= summary
    if kind == "segment":  # as many as the evaluation has pictures, of which a smoke test has four
        shown = {key for key in drawn if key.startswith("validation/segmentation_")}
        assert {f"validation/segmentation_{number}" for number in range(4)} == shown & media

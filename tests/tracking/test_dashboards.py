"""Dashboards as code: built without an account, and every metric they show is one that a run logs."""

import json
from pathlib import Path

import pytest

from mae_hydra.commands import main

pytest.importorskip("wandb_workspaces")
pytestmark = pytest.mark.filterwarnings("ignore")


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [found for part in value.values() for found in strings(part)]
    if isinstance(value, list):
        return [found for part in value for found in strings(part)]
    return [value] if isinstance(value, str) else []


def test_workspaces_and_a_report_are_made_without_an_account(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    words = ["dashboard", "--entity", "me", "--group", "grid", "--keys", "model.mask_ratio,head.depth"]
    assert main([*words, "--metric", "val/mIoU"]) == 0
    assert "nothing was sent" in capsys.readouterr().out
    made = {path.stem: json.loads(path.read_text()) for path in Path("outputs/dashboards").glob("*.json")}
    assert set(made) == {"pretrain", "segment", "classify", "sweep", "report"}
    sections = made["segment"]["spec"]["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == ["Scores", "Pictures and classes", "Loss", "Course and cost"]
    assert all(section["panels"] for section in sections)
    for name in ("sweep", "report"):
        told = strings(made[name])
        assert "config:model.value.mask_ratio" in told
        assert "config:head.value.depth" in told
        assert "summary:max/val/mIoU" in told
    assert "grid" in json.dumps(made["sweep"])


def test_saving_without_an_account_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert main(["dashboard", "--entity", "me", "--save"]) == 1
    assert "W&B did not take the pretrain" in capsys.readouterr().err


SWEPT = {"entity": "me", "project": "p", "keys": ["model.mask_ratio", "head.depth"]}


def panels(made: dict) -> list[dict]:
    return [
        p["config"] for section in made["spec"]["section"]["panelBankConfig"]["sections"] for p in section["panels"]
    ]


def under(found: list[dict], key: str) -> list:
    return [panel[key] for panel in found if panel.get(key)]


@pytest.mark.parametrize(("metric", "mode"), [("val/loss", "min"), ("val/mIoU", "max")])
def test_the_panels_of_a_sweep_draw_each_key_against_the_best_value(metric, mode):
    from mae_hydra.tracking import dashboards

    found = panels(dashboards.described(dashboards.workspace("sweep", group="g", metric=metric, mode=mode, **SWEPT)))
    keys, best = ["config:model.value.mask_ratio", "config:head.value.depth"], f"summary:{mode}/{metric}"
    assert [[column["accessor"] for column in each] for each in under(found, "columns")] == [[*keys, best]]
    scatter = [(p["chartTitle"], p["xAxis"], p["yAxis"]) for p in found if "xAxis" in p and "yAxis" in p and p["yAxis"]]
    assert [(x, y) for _, x, y in scatter if x in keys] == [(key, best) for key in keys]
    assert under(found, "targetKey") == [f"{mode}/{metric}"]


def test_every_workspace_shows_the_runs_of_its_task_and_what_they_log():
    from mae_hydra.tracking import dashboards

    course = ["train/lr", "train/grad_norm", "perf/images_per_second", "perf/memory_gb", "perf/mfu",
              "train/nonfinite_steps"]  # fmt: skip
    expected = {
        "pretrain": [
            "train/loss",
            "val/loss",
            "val/knn",
            "val/knn_mIoU",
            "val/linear",
            "val/linear_mIoU",
            "val/rankme",
            *course,
        ],
        "segment": ["max/val/mIoU", "val/mIoU", "val/mAcc", "val/aAcc", "train/loss", *course],
        "classify": ["max/val/top1", "val/top1", "val/top5", "train/loss", "val/loss", *course],
    }
    media = {
        "pretrain": [["probe/neighbours", "probe/dense_probe"], ["validation/reconstructions"]],
        "segment": [["validation/segmentation", *(f"validation/segmentation_{n}" for n in range(8))],
                    ["validation/confusions"]],
        "classify": [["validation/predictions"]],
    }  # fmt: skip
    for kind, metrics in expected.items():
        for group in (None, "g"):
            more = SWEPT | {"group": group, "metric": "val/loss", "mode": "min"}
            made = dashboards.described(dashboards.workspace(kind, **more))
            found = panels(made)
            assert [name for names in under(found, "metrics") for name in names] == metrics, kind
            assert under(found, "mediaKeys") == media[kind]
            [runs] = made["spec"]["section"]["runSets"]
            filters = json.dumps(runs["filters"])
            assert f'"{kind}"' in filters
            assert ('"g"' in filters) is (group is not None)
            wanted = {each["key"]["name"].lower(): each["value"] for each in runs["filters"]["filters"]}
            assert list(wanted.values()) == [*([group] if group else []), kind]
            assert len(set(wanted)) == len(wanted)
            if group:
                assert wanted["group"] == "g"
            else:
                assert "group" not in wanted


@pytest.fixture
def sweep(tmp_path):
    """Two settings, two seeds each, as training records them; one job has failed."""
    for ratio, seed, value in ((0.5, 0, 30.0), (0.5, 1, 32.0), (0.75, 0, 40.0), (0.75, 1, None)):
        job = tmp_path / "my|sweep" / f"{ratio}-{seed}"
        job.mkdir(parents=True)
        words = [f"model.mask_ratio={ratio}", f"seed={seed}", "engine.log_every=1"]
        status = {"state": "failed" if value is None else "completed", "value": value, "overrides": words}
        (job / "status.json").write_text(json.dumps(status))
        wandb = {"wandb": {"entity": "lab", "project": "mine", "name": "x"}}
        config = {"checkpoint": {"monitor": "val/mIoU", "mode": "max"}, "group": "my|sweep", "logger": wandb}
        (job / "config.yaml").write_text(json.dumps(config))
    return tmp_path / "my|sweep"


def test_a_sweep_tells_its_keys_metric_and_group_itself(sweep, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["dashboard", str(sweep)]) == 0
    said = capsys.readouterr().out
    assert "model.mask_ratio, seed, judged by val/mIoU (max), group my|sweep" in said
    made = {path.stem: json.loads(path.read_text()) for path in Path("outputs/dashboards").glob("*.json")}
    told = strings(made["sweep"])
    assert {"config:model.value.mask_ratio", "config:seed.value", "summary:max/val/mIoU"} <= set(told)
    assert "my|sweep" in json.dumps(made["sweep"])
    [text] = made["report"]["texts"]
    assert text.splitlines() == [
        "| model.mask\\_ratio | seeds | val/mIoU |",
        "| --- | --- | --- |",
        "| 0.5 | 2 | 31 ± 1.4 |",
        "| 0.75 | 1 | 40 |",
    ]
    assert main(["dashboard", str(sweep), "--metric", "val/aAcc", "--keys", "seed", "--group", "g"]) == 0
    assert "seed, judged by val/aAcc (max), group g" in capsys.readouterr().out


def test_whose_project_it_is_has_to_be_known(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["dashboard"]) == 1
    assert "give --entity" in capsys.readouterr().err
    assert main(["dashboard", "nowhere"]) == 1
    assert "nowhere is no sweep" in capsys.readouterr().err


def test_a_setting_is_no_markup_in_a_report():
    from mae_hydra.tracking import dashboards

    told = (["a|b"], [["[x](http://evil)"], ["<script>"], ["a\nb"], [None]])
    made = dashboards.described(dashboards.report(group="g", metric="val/loss", mode="min", over_seeds=told, **SWEPT))
    [text] = made["texts"]
    assert text.splitlines() == [
        "| a\\|b |",
        "| --- |",
        "| \\[x\\]\\(http://evil\\) |",
        "| \\<script\\> |",
        "| a b |",
        "|  |",
    ]

"""Dashboards as code: built without an account, and every metric they show is one that a run logs."""

import json
from pathlib import Path
from types import SimpleNamespace

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
    assert all(section["panels"] and section["isOpen"] for section in sections)
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
    assert (under(found, "showLinearRegression"), under(found, "diffOnly")) == ([True, True], ["split"])


@pytest.mark.parametrize(
    ("metric", "judged"),
    [
        ("val/mIoU", ["max/val/mIoU", "val/mIoU", "val/mAcc", "val/aAcc"]),
        ("val/top1", ["max/val/top1", "val/top1", "val/top5"]),
        ("val/loss", ["train/loss", "val/loss"]),
    ],
)
def test_a_report_is_of_the_runs_of_its_sweep_with_three_panels_beside_each_other(metric, judged):
    from mae_hydra.tracking import dashboards

    for group in ("g", None):
        made = dashboards.report(group=group, metric=metric, mode="max", **SWEPT)
        assert made.title == f"{group or 'p'}: {metric}"
        grids = [block for block in made.blocks if hasattr(block, "panels")]
        told = [(runs.entity, runs.project, runs.name, runs.filters) for grid in grids for runs in grid.runsets]
        assert told == [("me", "p", group or "all runs", "Metric('Group') == 'g'" if group else "")] * 3
        assert (made.entity, made.project) == ("me", "p")
        _, scores, course = ([(p.layout.x, p.layout.y, p.layout.w, p.layout.h) for p in grid.panels] for grid in grids)
        assert course == [(8 * (n % 3), 6 * (n // 3), 8, 6) for n in range(6)]
        assert scores == course[: len(scores)]
        shown = [
            name for panel in grids[1].panels for name in ([panel.metric] if hasattr(panel, "metric") else panel.y)
        ]
        assert [getattr(name, "name", name) for name in shown] == judged
        assert [panel.log_y for panel in grids[2].panels] == [False, True, False, False, False, False]
    space = dashboards.workspace("segment", group=None, metric=metric, mode="max", **SWEPT)
    assert (space.settings.x_axis, space.settings.smoothing_type) == ("step", "none")
    assert strings(dashboards.described(space)).count("validation/per_class") == 1


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
    assert made["pretrain"]["spec"]["section"]["runSets"][0]["filters"]["filters"][0]["value"] == "pretrain"
    for words, said in (
        (["--metric", "val/aAcc", "--keys", "seed,,x", "--group", "g"], "seed, x, judged by val/aAcc (max), group g"),
        (["--metric", "val/loss"], "judged by val/loss (min), group my|sweep"),  # the recorded mode is of another
        (["--mode", "min"], "judged by val/mIoU (min)"),
        (["--metric", "val/loss", "--mode", "max"], "judged by val/loss (max)"),
    ):
        assert main(["dashboard", str(sweep), *words]) == 0
        assert said in capsys.readouterr().out
    monkeypatch.chdir(sweep)
    for job in sweep.iterdir():
        config = json.loads((job / "config.yaml").read_text())
        (job / "config.yaml").write_text(json.dumps(config | {"group": None}))
    words = ["--entity", "me", "--project", "ours", "--out", str(tmp_path / "out")]
    assert main(["dashboard", ".", *words]) == 0
    assert "group my|sweep" in capsys.readouterr().out  # where it was given no name its folder's
    board = json.loads((tmp_path / "out/sweep.json").read_text())
    assert (board["entity"], board["project"]) == ("me", "ours")


def test_a_job_that_never_began_tells_nothing_of_its_sweep_and_others_files_stay(sweep, tmp_path, monkeypatch, capsys):
    for name, content in (("0-never", None), ("00-empty", {})):
        (sweep / name).mkdir()
        (sweep / name / "status.json").write_text(json.dumps({"state": "failed", "value": None, "overrides": []}))
        if content is not None:
            (sweep / name / "config.yaml").write_text(json.dumps(content))
    for name, logger in (("0.1", None), ("0.2", {"tensorboard": {}})):  # whose job had another one
        (sweep / name).mkdir()
        (sweep / name / "status.json").write_text((sweep / "0.5-0/status.json").read_text())
        config = json.loads((sweep / "0.5-0/config.yaml").read_text())
        (sweep / name / "config.yaml").write_text(json.dumps(config | {"logger": logger, "group": None}))
    out = tmp_path / "out"
    out.mkdir()
    assert main(["dashboard", str(sweep), "--out", str(out)]) == 0
    board = json.loads((out / "sweep.json").read_text())
    assert (board["entity"], board["project"]) == ("lab", "mine")
    assert "judged by val/mIoU (max), group my|sweep" in capsys.readouterr().out
    (out / ".mae-hydra-dashboard").unlink()
    assert main(["dashboard", str(sweep), "--out", str(out)]) == 1
    assert "it was not mae-hydra dashboard that wrote it" in capsys.readouterr().err


def test_whose_project_it_is_has_to_be_known(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["dashboard"]) == 1
    assert "give --entity" in capsys.readouterr().err
    assert main(["dashboard", "nowhere"]) == 1
    assert "nowhere is no sweep" in capsys.readouterr().err


def test_boards_are_saved_one_by_one_with_their_addresses_and_none_without_its_package(tmp_path, monkeypatch, capsys):
    from mae_hydra.tracking import dashboards

    monkeypatch.chdir(tmp_path)
    saved = []

    def board(kind, **told):
        return SimpleNamespace(save=lambda: saved.append(kind), url=f"http://wandb/{kind}")

    monkeypatch.setattr(dashboards, "workspace", board)
    monkeypatch.setattr(dashboards, "report", lambda **told: board("report"))
    monkeypatch.setattr(dashboards, "described", lambda made: {"at": made.url})
    for words, kinds in (
        ([], ["pretrain", "segment", "classify"]),
        (["--group", "g"], ["pretrain", "segment", "classify", "sweep", "report"]),
    ):
        saved.clear()
        assert main(["dashboard", "--entity", "me", "--save", *words]) == 0
        assert saved == kinds
        assert capsys.readouterr().out.splitlines() == [f"{kind}: http://wandb/{kind}" for kind in kinds]
        for kind in kinds:
            assert json.loads(Path(f"outputs/dashboards/{kind}.json").read_text()) == {"at": f"http://wandb/{kind}"}

    def lacking(kind, **told):
        raise ImportError("No module named 'wandb_workspaces'")

    monkeypatch.setattr(dashboards, "workspace", lacking)
    assert main(["dashboard", "--entity", "me"]) == 1
    assert "pip install 'mae-hydra[dashboards]'" in capsys.readouterr().err


def test_without_a_sweep_and_words_the_boards_are_of_what_is_usual(tmp_path, monkeypatch):
    from mae_hydra.tracking import dashboards

    monkeypatch.chdir(tmp_path)
    told = []
    monkeypatch.setattr(dashboards, "workspace", lambda kind, **more: told.append((kind, more)))
    monkeypatch.setattr(dashboards, "report", lambda **more: told.append(("report", more)))
    monkeypatch.setattr(dashboards, "described", lambda made: made)
    assert main(["dashboard", "--entity", "me", "--group", "g"]) == 0
    usual = {"entity": "me", "project": "mae_hydra", "keys": ["model.mask_ratio"], "metric": "val/loss", "mode": "min"}
    assert told == [
        *((kind, usual | {"group": None}) for kind in ("pretrain", "segment", "classify")),
        ("sweep", usual | {"group": "g"}), ("report", usual | {"group": "g", "over_seeds": None}),
    ]  # fmt: skip


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

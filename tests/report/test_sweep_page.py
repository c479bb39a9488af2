"""The page of a sweep, part by part: what is compared, in which order, and what is left out. Nothing is drawn."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from drawn import Drawn
from made_runs import made_run
from PIL import Image

from mae_hydra.errors import UserError
from mae_hydra.experiment.read_runs import read_sweep
from mae_hydra.figures import TrialPoint
from mae_hydra.launching.trials import FILE, Study, Trial
from mae_hydra.owned import Owned
from mae_hydra.report import sweep_page as module
from mae_hydra.report.page import Page
from mae_hydra.report.sweep_page import CELL, overlaid_curves, same_pictures, sweep_page, task_of

FIGURES = ("curves", "marginals", "heat_map", "parallel_coordinates", "search_figure")


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure is what it would be drawn from."""
    for name in FIGURES:
        monkeypatch.setattr(module, name, lambda *given, **more: (*given, more))


def job(folder: Path, name: str, words: list[str], value: float | None, **more: Any) -> Path:
    return made_run(folder / name, words, value=value, cells=False, **more)


def told(folder: Path, *linked: str) -> Drawn:
    page = Drawn(folder / "page")
    (folder / "page").mkdir(exist_ok=True)
    sweep_page(page, read_sweep(folder), folder / "page", lambda run: f"/{run.name}/" if run.name in linked else None)
    return page


def without(page: Drawn, title: str) -> bool:
    return title not in [section.title for section in page.sections]


def test_settings_have_the_seeds_they_have_and_only_what_all_jobs_share_is_told_once(tmp_path: Path) -> None:
    """Of a job that never began nothing is known: it shares what the others do, and its code is no other code."""
    for name, words, value, data in (("a", ["lr=0", "seed=0"], 20.0, "d"), ("b", ["lr=0", "seed=1"], 25.0, "d"),
                                     ("A", ["lr=2", "seed=0"], 30.0, "e")):  # fmt: skip
        choices = {"choices": {"model": "m", "data": data}}
        (job(tmp_path, name, words, value) / "environment.json").write_text(json.dumps(choices))
    never = job(tmp_path, "d", ["lr=3", "seed=0"], None, state="failed", error="no room")
    for name in ("config.yaml", "environment.json", "git.json"):
        (never / name).unlink()
    page = told(tmp_path, "A")
    assert page.facts == [
        ("jobs", "3 completed, 1 failed"), ("swept", "lr, seed"), ("best final val/mIoU", "30.00 %"),
        ("runs of a setting", "1 to 2"), ("model", "m"), ("took", "4 min"),
    ]  # fmt: skip
    assert "how much of a difference is chance" not in page.body("The best run")  # there are two of a setting
    assert page.rows("Over seeds") == [["lr", "seeds", "val/mIoU, %"], ["0", "2", "22.5 ± 3.5"], ["2", "1", "30"]]
    assert "--pages" not in page.body("All jobs")  # one has a page
    assert [row[:3] for row in page.rows("All jobs")[1:]] == [
        ["1", "0", "0"], ["2", "0", "1"], ['<a href="/A/">3</a>', "2", "0"], ["4", "3", "0"]
    ]  # fmt: skip
    assert "states of the code" not in page.body("Where it came from")
    panels, *_ = page.figures["marginals"]  # type: ignore[misc]
    assert [(each.key, each.metric, each.points) for each in panels] == [
        ("lr", "val/mIoU, %", {0: [20.0, 25.0], 2: [30.0]})
    ]
    assert "standard deviations" in page.captions["marginals"]  # of the one setting that has two
    assert page.legends == {"marginals": True, "curves": False}  # whose names stand below, with their addresses


def test_one_run_alone_is_warned_of_nothing_and_the_pictures_of_the_best_are_those_of_its_last_stage(
    tmp_path: Path,
) -> None:
    first = job(tmp_path, "a", ["lr=1"], 0.5, monitor="val/loss", mode="min")
    made_run(first / "upernet", [], value=30.0)
    Image.fromarray(np.zeros((3, 3, 3), np.uint8)).save(first / "figures" / "reconstructions.png")
    page = told(tmp_path)
    assert "chance" not in page.body("The best run")
    assert page.body("The best run").startswith("a\n")  # nothing was swept by which to call it
    assert [series.name for series in page.figures["curves"][0][0].series] == ["a"]  # type: ignore[index]
    assert page.facts[:3] == [
        ("jobs", "1 completed"),
        ("swept", "nothing"),
        ("best final upernet: val/mIoU", "30.00 %"),
    ]
    assert list(page.pictures) == ["best_segmentation"]
    assert "--pages" in page.body("All jobs")


def test_a_sweep_of_which_no_job_is_complete_has_a_page_without_a_best(tmp_path: Path) -> None:
    for name in "ab":
        job(tmp_path, name, [f"lr={name}"], 3.0, state="interrupted")
        (tmp_path / name / "config.yaml").unlink()  # which they never came to write
    page = told(tmp_path)
    assert page.facts == [
        ("jobs", "2 interrupted"), ("swept", "lr"), ("judged by", "value"), ("runs of a setting", "1"),
        ("took", "2 min"),
    ]  # fmt: skip
    titles = [section.title for section in page.sections]
    assert titles == ["All jobs", "Curves", "Where it came from"]
    assert "class=best" not in page.body("All jobs")


def test_a_job_whose_stage_failed_is_told_with_the_error_of_the_stage(tmp_path: Path) -> None:
    for name, error in (("a", None), ("b", "no room in the stage")):
        job(tmp_path, name, [f"lr={name}"], 0.5)
        state = "failed" if error else "completed"
        made_run(tmp_path / name / "probe", [], value=30.0, state=state, error=error, cells=False)
    assert told(tmp_path).code("What did not complete") == ["b\nno room in the stage"]


def test_every_pair_of_the_first_four_keys_has_a_map_of_the_complete_jobs_that_have_both(tmp_path: Path) -> None:
    """One key differs in a job alone that still trains: no pair with it has two values to compare."""
    for number, (a, b, d) in enumerate(((1, 1, 1), (1, 2, 2), (2, 1, 2))):
        words = [f"a.x.y={a}", f"b={b}", "c=1", f"d={d}", f"e={d}"]
        job(tmp_path, f"j{number}", words, 10.0 * number)
    job(tmp_path, "odd", ["a.x.y=2"], 9.0)
    job(tmp_path, "trains", ["a.x.y=3", "b=3", "c=2", "d=3", "e=3"], 70.0, state="interrupted")
    page = told(tmp_path)
    maps = {name: figure for name, figure in page.figures.items() if name.startswith("heat_map")}
    assert list(maps) == ["heat_map_a_x_y_b", "heat_map_a_x_y_d", "heat_map_b_d"]
    values, more = maps["heat_map_a_x_y_d"]  # type: ignore[misc]
    assert values == {(1, 1): 0.0, (1, 2): 10.0, (2, 2): 20.0}
    assert more == {"keys": ("a.x.y", "d"), "metric": "val/mIoU, %", "higher_is_better": True}
    panels, *_ = page.figures["marginals"]  # type: ignore[misc]
    both = {1: [0.0], 2: [10.0, 20.0]}
    assert {panel.key: panel.points for panel in panels} == {
        "a.x.y": {1: [0.0, 10.0], 2: [20.0, 9.0]}, "b": {1: [0.0, 20.0], 2: [10.0]}, "d": both, "e": both
    }  # fmt: skip
    rows, more = page.figures["parallel"]  # type: ignore[misc]
    assert [row["val/mIoU, %"] for row in rows] == [0.0, 10.0, 20.0]
    assert more == {"keys": ["a.x.y", "b", "c", "d", "e"], "metric": "val/mIoU, %", "higher_is_better": True}
    assert [row[0] for row in page.rows("All jobs")[1:]] == ["1", "2", "3", "4", "5"]  # in no order, as there is none
    names = [series.name for series in page.figures["curves"][0][-1].series]  # type: ignore[index]
    assert names[:2] == ["y 1 b 1 c 1 d 1 e 1", "y 1 b 2 c 1 d 2 e 2"]
    assert "a.x.y = 2, b = 1, c = 1, d = 2, e = 2" in page.body("The best run")


def test_numbers_come_before_words_in_rows_curves_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, rate in enumerate(("constant", 10, 9)):
        cells = np.full((CELL, 2 * CELL, 3), number, np.uint8)
        run = job(tmp_path, f"j{number}", [f"lr={rate}"], 1.0 + (rate == 10))
        Image.fromarray(cells).save(run / "figures" / "cells.png")
    strips: list[list[str]] = []
    monkeypatch.setattr(module, "strip", lambda pictures, names, addresses: strips.append(names))
    page, names = told(tmp_path, "j1"), ["lr 9", "lr 10", "lr constant"]
    assert '<a href="/j1/">lr = 10</a>' in page.body("The best run")
    assert page.code("The best run") == ["python train.py lr=10"]
    [panel], *_ = page.figures["marginals"]  # type: ignore[misc]
    assert list(panel.points.items()) == [(9, [1.0]), (10, [2.0]), ("constant", [1.0])]
    assert [row[1] for row in page.rows("All jobs")[1:]] == ["9", "10", "constant"]
    marked = page.body("All jobs").partition("<tr class=best>")[2].partition("</tr>")[0]
    assert ">10<" in marked  # which is the second, also of the directories
    assert strips == [["image", *names]]
    assert [series.name for series in page.figures["curves"][0][0].series] == names  # type: ignore[index]


def test_a_search_is_told_trial_by_trial_in_place_of_means_over_other_settings(tmp_path: Path) -> None:
    for number, rate in enumerate((0.1, 0.2)):
        job(tmp_path, f"j{number}", [f"lr={rate}"], 30.0 + number)
    trials = [
        Trial(0, 0, {"lr": 0.1}, "j0", "complete", 30.0, [(1, 9.0)]), Trial(1, 0, {"lr": 0.2}, "j1", "complete", 31.0),
        Trial(2, 1, {"lr": 0.3}, "j2", "pruned", None, [(1, 5.0), (2, 6.0)]), Trial(3, 1, {"lr": 0.4}, "j3", "failed"),
        Trial(4, 1, {"lr": 0.5}, "j4"),
    ]  # fmt: skip
    space = {"lr": "tag(log, interval(0.1, 1))", "depth": "range(1, 4)"}
    Study("maximize", "val/mIoU", space, [], trials).write(tmp_path)
    page = told(tmp_path)
    assert page.figures["search"] == (  # the one that runs has nothing yet
        [TrialPoint(0, {"lr": 0.1}, "complete", 30.0), TrialPoint(1, {"lr": 0.2}, "complete", 31.0),
         TrialPoint(2, {"lr": 0.3}, "pruned", 6.0), TrialPoint(3, {"lr": 0.4}, "failed", None)],
        {"metric": "val/mIoU, %", "higher_is_better": True, "logarithmic": ["lr"]},
    )  # fmt: skip
    assert page.captions["search"].startswith("5 trials: 2 complete, 1 pruned, 1 failed, 1 running. ")
    assert without(page, "What each setting is worth")


@pytest.mark.parametrize(("content", "said"), [(None, ""), ("[", f"{FILE} cannot be read"), ("running", "")])
def test_a_search_that_has_not_ended_a_trial_or_cannot_be_read_leaves_the_means(
    tmp_path: Path, content: str | None, said: str
) -> None:
    for number in (1, 2):
        job(tmp_path, f"j{number}", [f"lr={number}"], 30.0)
    if content == "running":
        Study("minimize", "val/mIoU", {}, [], [Trial(0, 0, {"lr": 1}, "j1")]).write(tmp_path)
    elif content is not None:
        (tmp_path / FILE).write_text(content)
    page = told(tmp_path)
    assert without(page, "The search") is not bool(said)
    assert not said or said in page.body("The search")
    assert without(page, "What each setting is worth") is bool(said)


def test_the_first_of_many_jobs_have_curves_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        run = job(tmp_path, f"j{number}", [f"lr={number}"], 30.0, monitor="val/loss")
    (run / "metrics.jsonl").write_text('{"step": 10, "train/loss": 2.0, "val/loss": 3.0}\n')  # one value, so far
    runs = read_sweep(tmp_path)
    for most, names, said in ((2, ["j1", "j2"], ""), (1, ["j1"], "The first 1 of 2.")):
        monkeypatch.setattr(module, "MOST_CURVES", most)
        _, legend = overlaid_curves(page := Drawn(tmp_path), runs, lambda run: run.name, lambda directory: None)
        panels, _ = page.figures["curves"]  # type: ignore[misc]
        assert [(each.title, each.smooth, [line.name for line in each.series]) for each in panels] == [
            ("train/loss", True, names), ("val/loss", False, names)
        ]  # fmt: skip
        assert page.captions["curves"] == said
        assert legend.count("<li>") == most


def test_a_row_of_pictures_is_of_one_image_and_names_whose_each_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job with other pictures is left out; of many images, and of many jobs, the first ones are shown."""
    for name, tall, wide in (("a", 2, 2), ("b", 2, 2), ("c", 1, 2), ("d", 2, 3)):
        cells = np.zeros((tall * CELL, wide * CELL, 3), np.uint8)
        for row in range(tall):
            cells[row * CELL : (row + 1) * CELL] = 100 * row
        Image.fromarray(cells).save(job(tmp_path, name, [f"lr={ord(name)}"], 1.0) / "figures" / "cells.png")
    strips: list[Any] = []
    monkeypatch.setattr(
        module, "strip", lambda pictures, *told: strips.append(([int(p.mean()) for p in pictures], *told))
    )
    monkeypatch.setattr(module, "sheet", lambda rows, **more: np.array([len(rows)]))
    names, addresses = ["image", "a", "b"], [None, "/a/", "/b/"]
    for most in (2, 1):
        monkeypatch.setattr(module, "MOST_ROWS", most)
        page = Drawn(tmp_path)
        same_pictures(page, read_sweep(tmp_path), lambda run: run.name, lambda directory: f"/{directory.name}/")
        assert strips == [([0] * 3, names, addresses), ([100] * 3, names, addresses)][:most]
        assert page.pictures["strips_run"].tolist() == [most]
        assert len(page.strips["strips_run"]) == most
        strips.clear()
    monkeypatch.setattr(module, "MOST_STRIPS", 2)
    run = job(tmp_path, "e", [], 1.0)
    shutil.copy(tmp_path / "a/figures/cells.png", run / "figures")
    same_pictures(page, read_sweep(tmp_path), lambda run: run.name, lambda directory: None)
    assert [each[1] for each in strips] == [names]


def test_losses_compare_within_a_task_and_a_loss_that_was_chosen(tmp_path: Path) -> None:
    run = job(tmp_path, "a", [], 1.0)
    kinds = [("segment", "x", "dice", "segment, dice"), ("segment", "x", "none", "segment"), ("", "mae", None, "mae")]
    for status, config, choice, task in kinds:
        content = json.loads((run / "status.json").read_text())
        (run / "status.json").write_text(json.dumps(content | {"task": status}))
        (run / "config.yaml").write_text(yaml.safe_dump({"task": config}))
        (run / "environment.json").write_text(json.dumps({"choices": {"loss": choice}}))
        [found] = read_sweep(tmp_path)
        assert task_of(found) == task


def test_the_pictures_of_a_stage_are_shown_where_the_runs_before_it_left_none(tmp_path: Path) -> None:
    for name, stages in (("a", ["upernet"]), ("b", ["probe"]), ("c", ["probe"])):
        for stage in ("", *stages):
            made_run(tmp_path / name / stage, [f"lr={name}"], value=ord(name), cells=bool(stage))
    page = Drawn(tmp_path / "page")
    same_pictures(page, read_sweep(tmp_path), lambda run: run.name, lambda directory: None)
    assert page.captions == {"strips_probe": "probe"}  # one picture of upernet compares with nothing
    overlaid_curves(page, read_sweep(tmp_path), lambda run: run.name, lambda directory: None)
    panels, _ = page.figures["curves"]  # type: ignore[misc]
    assert [(each.title, [line.name for line in each.series]) for each in panels] == [
        (f"{stage}{metric}", names) for stage, names in (("", ["a", "b", "c"]), ("upernet: ", ["a"]),
                                                         ("probe: ", ["b", "c"]))
        for metric in ("train/loss", "val/mIoU, %")
    ]  # fmt: skip


def test_runs_that_are_judged_by_different_scores_have_a_plot_for_each(tmp_path: Path) -> None:
    for name, monitor in (("a", "val/mIoU"), ("b", "val/top1"), ("c", "val/loss"), ("d", "val/loss")):
        run = job(tmp_path, name, [f"lr={name}"], 1.0, monitor=monitor)
        status = json.loads((run / "status.json").read_text())
        (run / "status.json").write_text(json.dumps(status | {"task": "segment" if name == "c" else "pretrain"}))
    overlaid_curves(page := Drawn(tmp_path), read_sweep(tmp_path), lambda run: run.name, lambda directory: None)
    panels, _ = page.figures["curves"]  # type: ignore[misc]
    assert [(each.title, [line.name for line in each.series]) for each in panels] == [
        ("train/loss (pretrain)", ["a", "b", "d"]), ("train/loss (segment)", ["c"]), ("val/mIoU, %", ["a"]),
        ("val/top1, %", ["b"]), ("val/loss (segment)", ["c"]), ("val/loss (pretrain)", ["d"]),
    ]  # fmt: skip


def test_a_key_of_which_one_value_was_swept_has_a_column_in_the_table_and_is_not_told_as_swept(tmp_path: Path) -> None:
    grid = {"hydra": {"sweeper": {"params": {"depth": "2", "+lr": "1,2"}}}}
    (tmp_path / "multirun.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))
    for seed, code in ((0, "abc"), (1, "def")):
        run = job(tmp_path, f"j{seed}", ["depth=2", "lr=1", f"seed={seed}"], 10.0 + seed)
        (run / "git.json").write_text(json.dumps({"commit": code}))
    page = told(tmp_path)
    assert dict(page.facts)["swept"] == "seed"
    assert ["commit", "abc"] in page.rows("Where it came from")  # of the first, beside that there are two
    rows = json.loads((tmp_path / "page" / "results.json").read_text())
    assert [(row["depth"], row["lr"], row["seed"]) for row in rows] == [(2, 1, 0), (2, 1, 1)]
    (tmp_path / "j1" / "status.json").unlink()
    assert dict(told(tmp_path).facts)["swept"] == "depth, lr"  # of one job alone nothing differs


@pytest.mark.parametrize("name", ["results.json", "results.csv"])
def test_a_sweep_replaces_no_table_that_is_not_its_own(tmp_path: Path, name: str) -> None:
    job(tmp_path, "a", ["lr=1"], 1.0)
    (tmp_path / name).write_text("mine")
    page = Page(Owned(tmp_path, "report"))
    with pytest.raises(UserError, match=f"{name} is there"):
        sweep_page(page, read_sweep(tmp_path), tmp_path, lambda directory: None)
    assert (tmp_path / name).read_text() == "mine"

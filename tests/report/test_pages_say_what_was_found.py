"""Every fact, row, curve and picture of a page is the one that the runs left behind, in its place."""

import base64
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from drawn import Drawn, curves_of
from made_runs import made_run
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from mae_hydra.errors import UserError
from mae_hydra.evaluation.pictures import shares_of
from mae_hydra.experiment.read_runs import read_run, read_sweep, table_of, write_table
from mae_hydra.figures import Panel, Series, curves, variables
from mae_hydra.owned import Owned
from mae_hydra.report import run_page as run_page_module
from mae_hydra.report import sweep_page as sweep_page_module
from mae_hydra.report.found_pages import found_page
from mae_hydra.report.page import (
    Page,
    as_json,
    code,
    duration,
    legend,
    link_of,
    pairs,
    sentence,
    shown,
    strip,
    table,
)
from mae_hydra.report.report import write_report
from mae_hydra.report.run_page import class_charts, command_of, provenance, read_pixels, run_page, scores_of, what_of
from mae_hydra.report.sweep_page import CELL, sweep_page

ENVIRONMENT = {
    "command": ["python", "train.py", "seed=7"], "folder": "/started/here", "python": "3.12.1", "platform": "Linux-6",
    "host": "box", "cpus": 64, "threads": 3, "accelerators": ["H100", "H200"], "config_folders": ["/mine"],
    "packages": {"torch": "2.11", "wandb": None}, "variables": {"OMP_NUM_THREADS": "4"},
    "choices": {"model": "mae_vitt", "data": "camvid"},
}  # fmt: skip
DATA = {
    "train": {"images": 120, "listing": "aaa", "contents": "ccc"},
    "validation": {"images": 30, "listing": "bbb", "contents": "ddd"},
}


def nowhere(directory: Path) -> None:
    """No run has a page."""


def written(run: Path, **tables: object) -> Path:
    for name, content in tables.items():
        (run / f"{name}.json").write_text(json.dumps(content))
    return run


def timed(run: Path, seconds: float, **more: object) -> Path:
    status = json.loads((run / "status.json").read_text())
    return written(run, status=status | {"start": 1000.0, "end": 1000.0 + seconds, **more})


@pytest.fixture
def told(tmp_path: Path) -> Drawn:
    """The page of a run that is followed by a probe and left every record there is."""
    run = made_run(tmp_path / "run", ["seed=7"])
    (run / "config.yaml").write_text(yaml.safe_dump(
        {"name": "made", "seed": 7, "checkpoint": {"monitor": "val/mIoU", "mode": "max"},
         "data": {"image_size": [96, 128]}}, sort_keys=False
    ))  # fmt: skip
    (run / "git.diff").write_bytes(b"- a < b\n+ a > \xff\n")  # of a file in no Unicode
    shutil.copy(run / "figures/segmentation.png", run / "figures/boundaries.png")
    steps = range(1, 31)
    lines = [
        {"step": n, "train/loss": 1 / n, "train/grad_norm": 2.0 * n, "train/lr": n / 100,
         "perf/images_per_second": 50.0 + n, "perf/memory_gb": 3.0} for n in steps
    ]  # fmt: skip
    lines[9] |= {"val/mIoU": 20.0}
    lines[29] |= {"val/mIoU": 30.0, "val/aAcc": None, "val/rankme": 8.5}
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    parent = {"path": "/runs/first/checkpoints/last.pt", "sha256": "e0e0", "step": 99}
    written(run, environment=ENVIRONMENT, git={"commit": "abc", "branch": "trunk", "dirty": True}, data=DATA,
            parent=parent)  # fmt: skip
    timed(run, 7200)
    timed(made_run(run / "probe", ["model=probe"], monitor="val/top1", value=12.5), 3600)
    second = made_run(run / "second", ["model=s"], monitor="val/top1", value=2.0, error="no room", cells=False)
    timed(second, 60, state="failed")
    with (second / "metrics.jsonl").open("a") as file:
        file.write('\n{"step": 30, "train/loss": 0.5, "perf/images_per_second": null}\n')
    found = read_run(run)
    assert found is not None
    page = Drawn(tmp_path / "page")
    run_page(page, found)
    return page


def test_the_head_of_a_page_has_the_state_the_scores_the_steps_the_time_and_the_seed(told: Drawn) -> None:
    assert told.facts == [
        ("state", "second failed"), ("best and last val/mIoU", "30.00 % at step 30"),
        ("probe: best and last val/top1", "12.50 % at step 20"),
        ("second: best and last val/top1", "2.00 % at step 20"), ("model", "mae_vitt"),
        ("data", "camvid, 120 images, 96x128"), ("began from", "first, step 99"), ("steps", "30"), ("took", "2.0 h"),
        ("seed", "7"),
    ]  # fmt: skip
    assert told.code("What was typed") == ["python train.py --config-dir /mine seed=7"]
    assert "<p>no room</p>" in told.body("What was typed")


def test_where_a_run_came_from_is_told_fact_by_fact(told: Drawn) -> None:
    assert told.rows("Where it came from") == [
        ["host", "box"], ["platform", "Linux-6"], ["python", "3.12.1"], ["cpus", "64"], ["accelerators", "H100, H200"],
        ["commit", "abc"], ["branch", "trunk"], ["changed since the commit", "yes"],
        ["train images", "120 (digest of their names: aaa)"],
        ["validation images", "30 (digest of their names: bbb)"],
        ["began from", "path /runs/first/checkpoints/last.pt, sha256 e0e0, step 99"],
        ["command", "python train.py seed=7"],
        ["started in", "/started/here"], ["own option files", "/mine"], ["$OMP_NUM_THREADS", "4"], ["torch", "2.11"],
    ]  # fmt: skip
    configuration, diff = told.code("Where it came from")
    assert yaml.safe_load(configuration)["checkpoint"] == {"monitor": "val/mIoU", "mode": "max"}
    assert list(yaml.safe_load(configuration)) == ["name", "seed", "checkpoint", "data"]  # in the order of the recipe
    assert diff == "- a < b\n+ a > \ufffd\n"
    assert told.body("Where it came from").count("<details>") == 2  # which are long


def test_the_curves_of_a_run_are_its_own_and_those_of_a_stage_the_stages(told: Drawn) -> None:
    steps = [float(n) for n in range(1, 31)]
    found = curves_of(told.figures["curves"])
    assert list(found) == ["Training loss", "val/mIoU, %", "Norm of the gradient", "Learning rate", "Images a second"]
    assert [line[1:] for line in found["Norm of the gradient"]] == [(steps, [2.0 * n for n in steps])]
    assert [line[1:] for line in found["Learning rate"]] == [(steps, [n / 100 for n in steps])]
    assert [line[1:] for line in found["Images a second"]] == [(steps, [50.0 + n for n in steps])]
    assert [line[1:] for line in found["val/mIoU, %"]] == [([10.0, 30.0], [20.0, 30.0])]
    assert told.rows("Curves") == [["val/rankme", "8.5 at step 30"]]  # found once, so it is no curve
    places = [axes.get_subplotspec().get_geometry() for axes in told.figures["curves"].axes]  # type: ignore[union-attr]
    assert places == [(2, 3, n, n) for n in range(5)]
    raw, smooth = found["Training loss"]  # the only noisy one
    assert raw[2] == [1 / n for n in steps]
    assert smooth[2] != raw[2]
    of_the_stage = curves_of(told.figures["probe_curves"])
    assert [line[1:] for line in of_the_stage["val/top1, %"]] == [([10.0, 20.0], [7.5, 12.5])]
    assert list(curves_of(told.figures["second_curves"])) == ["Training loss", "val/top1, %", "Learning rate"]
    found_by_it = ["best and last val/top1", "12.50 % at step 20"]
    assert told.rows("Then: probe") == [found_by_it, ["state", "completed"], ["took", "60 min"]]
    assert told.code("Then: probe") == ["python train.py model=probe"]
    found_by_it = ["best and last val/top1", "2.00 % at step 20"]
    assert told.rows("Then: second") == [found_by_it, ["state", "failed"], ["took", "60 s"]]
    assert told.code("Then: second") == ["python train.py model=s"]
    assert list(told.pictures) == ["boundaries", "segmentation", "probe_segmentation"]  # cells are for sweeps


@pytest.mark.parametrize(("score", "word"), [("IoU", "IoU"), ("accuracy", "Accuracy")])
def test_of_many_classes_the_worst_are_drawn_and_all_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, score: str, word: str
) -> None:
    drawn: list[tuple[dict, str, str]] = []
    monkeypatch.setattr(
        run_page_module, "class_bars", lambda runs, title, x_label: drawn.append((runs, title, x_label))
    )
    rows = [{"name": f"c{n}", score: None if n == 7 else (37 * n % 200) / 2} for n in range(200)]
    known = sorted((row[score], row["name"]) for row in rows if row[score] is not None)
    for count, names, title in (
        (200, [name for _, name in known[:150]], f"{score} of the 150 worst of 200 classes"),
        (150, [row["name"] for row in rows[:150]], f"{word} of every class"),
    ):
        written(tmp_path, per_class=rows[:count])
        listing = class_charts(page := Drawn(tmp_path / "page"), tmp_path / "per_class.json")
        assert drawn.pop() == ({score: {row["name"]: row[score] for row in rows if row["name"] in names}}, title,
                               f"{score}, %")  # fmt: skip
        page.add("Classes", *listing)
        assert [cells[0] for cells in page.rows("Classes")[1:]] == [row["name"] for row in rows[:count]]


def test_tables_have_a_column_for_all_that_any_row_has_and_units_for_what_is_percent(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", [], cells=False)
    (run / "tables").mkdir()
    parts = [{"name": "x", "Precision": 12.5}, {"name": "y", "old IoU": 7.0}, {"name": "z", "mAcc": 1.0}]
    classes = [{"name": "cat", "accuracy": 50.0}, {"name": "dog", "accuracy": None, "images": 3}]
    written(run / "tables", per_class=classes, of_parts=parts, zones=[{"name": "north", "Dice": 5.0}])
    found, page = read_run(run), Drawn(tmp_path / "page")
    assert found is not None
    run_page(page, found)
    assert page.rows("Classes") == [["name", "accuracy, %", "images"], ["cat", "50.00", ""], ["dog", "", "3"]]
    assert page.rows("Table: of parts") == [
        ["name", "Precision, %", "old IoU, %", "mAcc"],
        ["x", "12.50", "", ""], ["y", "", "7.00", ""], ["z", "", "", "1"],
    ]  # fmt: skip
    assert dict(page.facts)["steps"] == "20"  # of two lines
    assert [each.title for each in page.sections if each.title.startswith("Table")] == [
        "Table: of parts", "Table: zones"
    ]  # fmt: skip
    assert page.rows("Table: zones") == [["name", "Dice, %"], ["north", "5.00"]]
    names = ["name", "IoU", "BIoU", "Acc", "Dice", "Precision", "accuracy", "mIoU", "images"]
    written(run / "tables", per_class=[dict.fromkeys(names[:1], "sky") | dict.fromkeys(names[3:5], 25.0)])
    run_page(page := Drawn(tmp_path / "page"), found)
    assert page.rows("Classes") == [["name", "Acc, %", "Dice, %"], ["sky", "25.00", "25.00"]]
    assert "classes" not in page.figures  # there is nothing to draw
    written(run / "tables", of_parts=[dict.fromkeys(names[:1], "sky") | dict.fromkeys(names[1:], 1.0)])
    run_page(page := Drawn(tmp_path / "page"), found)
    assert page.rows("Table: of parts")[0] == ["name", *(f"{each}, %" for each in names[1:7]), "mIoU", "images"]
    written(run / "tables", per_class=[{"name": "sky", "IoU": 1.0}, {"name": "sea", "IoU": "much"}])
    with pytest.raises(UserError, match=r"per_class\.json"):
        class_charts(page, run / "tables" / "per_class.json")


def test_a_run_that_began_from_a_file_tells_the_file_its_clean_code_and_every_folder_of_options(tmp_path: Path) -> None:
    run = timed(made_run(tmp_path / "run", ["sweep=lr"], value=None, cells=False), 60, value=0.0)
    settings = {"checkpoint": {"monitor": "val/mIoU", "mode": "max"}, "data": {"image_size": 64}}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    environment = {"accelerators": [], "config_folders": ["/a", "/b"], "choices": {"model": "m", "data": "d"}}
    written(run, environment=environment, git={"dirty": False}, data={"validation": DATA["validation"]},
            parent={"path": "/models/timm/vit.pt", "step": 0})  # fmt: skip
    (run / "git.diff").write_text("")
    found, page = read_run(run), Drawn(tmp_path / "page")
    assert found is not None
    assert what_of(found) == [("model", "m"), ("data", "d, 64x64"), ("began from", "vit.pt, step 0")]
    assert scores_of(found) == [("val/mIoU", "0.00 %")]  # of a run without lines what its status says
    assert command_of(found) == "python train.py -m --config-dir /a --config-dir /b sweep=lr"
    page.add("From", *provenance(found))
    assert page.rows("From") == [
        ["accelerators", "none"], ["changed since the commit", "no"],
        ["validation images", "30 (digest of their names: bbb)"],
        ["began from", "path /models/timm/vit.pt, step 0"], ["own option files", "/a, /b"],
    ]  # fmt: skip
    assert [yaml.safe_load(text) for text in page.code("From")] == [settings]  # and nothing of a difference


def test_a_job_of_a_sweep_file_is_started_again_as_a_sweep(tmp_path: Path) -> None:
    for name, words, begin in (
        ("a", ["+sweep=lr", "seed=1"], "python train.py -m "),
        ("b", ["seed=1", "x=sweep=lr"], "python train.py seed"),
    ):
        found = read_run(made_run(tmp_path / name, words))
        assert found is not None
        assert command_of(found).startswith(begin)


def test_numbers_durations_and_marks_are_written_as_a_person_reads_them() -> None:
    assert [duration(s) for s in (None, 89.4, 90, 7140, 7200, 9000)] == [
        "",
        "89 s",
        "2 min",
        "119 min",
        "2.0 h",
        "2.5 h",
    ]
    assert [shown(value) for value in (None, True, 0.123456, 3, "x")] == ["", "true", "0.1235", "3", "x"]
    made = str(table(["n", "yes", "word", "long"], [[1.5, True, "x" * 40, "x" * 41]] * 2, marked=1))
    kinds = [("number", "n", "1.5"), ("text", "yes", "true"), ("text", "word", "x" * 40), ("long", "long", "x" * 41)]
    cells = [f'<td class="{kind}" data-name="{name}">{text}<' for kind, name, text in kinds]
    assert all(made.count(each) == 2 for each in cells)
    assert made.index("<tr class=best>") > made.index("<tr><td")
    assert 'class="cards"' in made
    assert '<table class="">' in table(["n", "yes"], [[1, 2]])  # two columns need no cards on a phone
    assert re.findall('class="(\\w+)" data-name="loss, %">([^<]*)<', str(table(["loss, %"], [[2.0], [3], [None]]))) == [
        ("number", "2.00"), ("number", "3"), ("text", "")
    ]  # fmt: skip
    assert not pairs({})
    assert as_json({"a": "</b>&"}) == '{"a":"\\u003c/b\\u003e\\u0026"}'
    assert [sentence(text) for text in ("", "one seed. two", "there.")] == ["", "One seed. two.", "There."]
    colours = re.findall(r"--series-(\d)", legend({"own": None, "from scratch": None, "pre-trained": None}))
    assert colours == ["2", "1", "0"]  # what has its colour everywhere has it here
    assert re.findall(r"--series-(\d)[^>]*></i>(\w)", legend({"b": None, "a": None})) == [("0", "b"), ("1", "a")]


def test_a_chart_is_part_of_the_page_and_a_sheet_lies_on_its_paper(tmp_path: Path) -> None:
    page = Page(Owned(tmp_path, "report", trusted=True))
    photo = str(page.picture(np.zeros((10, 64, 3), np.uint8), "photo"))
    assert 'alt="photo" width="64" height="10"' in photo
    assert "mask-image" not in photo
    paper = np.full((40, 64, 3), 255, np.uint8)
    sheet = str(page.picture(paper, "sheet"))
    assert "mask-image: url(data:image/png" in sheet
    layers = [Image.open(io.BytesIO(base64.b64decode(each))) for each in
              re.findall(r"data:image/png;base64,([\w+/=]+)", sheet)]  # fmt: skip
    assert [(each.mode, np.asarray(each).max()) for each in layers] == [("RGBA", 0), ("LA", 0)]  # no paper of its own
    rows = page.beside(paper, [Markup("<i>1</i>"), Markup("<i>2</i>")], "s", "of both")
    assert rows == "<figure><i>1</i><i>2</i><figcaption>of both</figcaption></figure>"
    named = strip([np.full((8, 8, 3), shade, np.uint8) for shade in (0, 200)], ["image", "a"], [None, "/a/"])
    shown_ones = re.findall("data:image/jpeg;base64,([\\w+/=]+)", named)
    assert [np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))).mean().round() for each in shown_ones] == [
        0,
        200,
    ]
    assert re.findall("<figcaption>(.*?)</figcaption>", named) == ["image", '<a href="/a/">a</a>']
    places = [set(re.findall(r"(?:full|fit)-(\d+)", each)) for each in (photo, sheet)]
    assert places == [{"1"}, {"2"}]  # a click enlarges the picture itself and no other
    assert [each.count('class="sheet white"') for each in (photo, sheet)] == [0, 0]
    plain = str(page.picture(paper, "matrix", "who is who", sheet=False))
    assert "mask-image" not in plain
    assert 'alt="who is who"' in plain
    assert 'class="sheet white"' in plain
    panels = [Panel(name, [Series("run", (1.0, 2.0), (3.0, 4.0))]) for name in ("loss", "mIoU")]
    chart = str(page.chart(curves(panels), "c", "caption"))
    assert chart.count("<svg") == 2  # which stand below each other on a phone
    assert "<figcaption>caption</figcaption>" in chart
    assert {path.name for path in tmp_path.glob("c.*")} == {"c.png", "c.svg"}
    two = [Series(name, (1.0, 2.0), (3.0, 4.0)) for name in ("one", "two")]
    charts = [str(page.chart(curves([Panel("loss", two)]), "d", legend=kept)) for kept in (True, False)]
    assert [">two</text>" in each for each in charts] == [True, False]
    page.facts = [("state", "completed"), ("of model.drop_2", "0.125"), ("nothing", "")]
    page.add("Nothing", "", Markup(""))
    page.add("The title", "text", "")
    text = page.write(title="t", kind="sweep").read_text()
    assert re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", text)[1:] == [("of model.<wbr>drop_2", "0.125")]
    assert [(each.anchor, str(each.body)) for each in page.sections] == [("the-title", "<p>text</p>")]
    assert '<section id="the-title">' in text
    assert "<dt>state</dt><dd>completed</dd>" in text
    assert '<div class="quiet made">sweep ·' in text


def test_a_page_leads_to_its_sections_and_tells_what_it_is_in_light_and_dark(tmp_path: Path) -> None:
    page = Page(Owned(tmp_path, "report", trusted=True))
    page.facts = [("short", "x" * 24), ("long", "y" * 25), ("broken", "a_b_c" * 4)]
    for title in ("All jobs", "Then: <b>"):
        page.add(title, "text")
    text = page.rendered(title="a_b.c <b>", kind="sweep")
    assert "<title>a_b.c &lt;b&gt; · mae_hydra</title>" in text  # a tab breaks no line
    assert "<h1>a_<wbr>b.<wbr>c &lt;b&gt;</h1>" in text
    assert re.findall(r'<a href="#([^"]*)">([^<]*)</a>', text) == [
        ("all-jobs", "All jobs"), ("then---b-", "Then: &lt;b&gt;")
    ]  # fmt: skip
    assert re.findall(r'<section id="([^"]*)">\s*<h2>([^<]*)</h2>\s*<p>text</p>', text) == [
        ("all-jobs", "All jobs"), ("then---b-", "Then: &lt;b&gt;")
    ]  # fmt: skip
    assert re.findall(r"<dt>(\w+)</dt><dd( class=long)?>", text) == [
        ("short", ""),
        ("long", " class=long"),
        ("broken", ""),
    ]
    light, dark = variables()
    begin, _, rest = text.partition("@media (prefers-color-scheme: dark)")
    assert (light in begin, dark in begin, dark in rest) == (True, False, True)
    assert "script-src &#39;none&#39;" in text
    assert not re.search("<script|data-refresh|renewed", text)
    page.refresh, page.data, page.script = 7, {"a": "<"}, "run()"
    text = page.rendered(title="t", kind="sweep")
    assert 'data-refresh="7"' in text
    assert "renewed every 7 s" in text
    assert '<script id="data" type="application/json">{"a":"\\u003c"}</script>' in text
    assert "<script>run()</script>" in text


def test_letters_that_no_page_shows_are_left_out_of_every_part(tmp_path: Path) -> None:
    bad = "a\x1b[31mb\u202e"
    page = Page(Owned(tmp_path, "report", trusted=True))
    page.facts = [(bad, bad)]
    pixels = np.zeros((2, 2, 3), np.uint8)
    parts = [
        table([bad, "n"], [[bad, 1]]), pairs({bad: bad}), link_of(bad, None), link_of(bad, "/a/"), code(bad),
        strip([pixels], [bad], [None]), legend({bad: None}), page.picture(pixels, "p", bad),
        page.beside(pixels, [], "q", bad),
    ]  # fmt: skip
    page.add("all", bad, *parts)
    text = page.rendered(title=bad, kind="run")
    assert not {"\x1b", "\u202e"} & set(text)
    assert all("ab" in part for part in parts)
    assert all(told in text for told in ("<dt>ab", "<dd>ab", "<p>ab", "<h1>ab", "<title>ab"))


def test_a_page_replaces_no_file_that_it_has_not_written_and_gives_names_that_every_disk_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mae_hydra.report.page.save", lambda figure, path: path.write_text("ours"))
    pixels = np.zeros((2, 2, 3), np.uint8)
    for name, act in (
        ("a.png", lambda page: page.chart(Figure(), "a")), ("a.svg", lambda page: page.chart(Figure(), "a")),
        ("b.png", lambda page: page.picture(pixels, "b")), ("c.png", lambda page: page.beside(pixels, [], "c", "")),
        ("index.html", lambda page: page.write(title="t", kind="run")),
    ):  # fmt: skip
        (tmp_path / name).write_text("mine")
        with pytest.raises(UserError, match=f"{name} is there, and it was not mae-hydra report that wrote it"):
            act(Page(Owned(tmp_path, "report")))
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    Page(Owned(tmp_path / "pages", "report")).picture(pixels, "long" * 100)
    [path] = (tmp_path / "pages").glob("*.png")
    assert len(path.name) <= 240  # which every disk takes


@pytest.mark.usefixtures("undrawn")
def test_a_folder_lists_the_newest_runs_first_and_a_sweep_is_called_one(tmp_path: Path) -> None:
    for place in range(4):
        run = made_run(tmp_path / "runs" / "x" / str(place), ["seed=1"], cells=False)
        status = json.loads((run / "status.json").read_text())
        (run / "status.json").write_text(json.dumps(status | {"start": 1000 + place}))
    text = write_report(tmp_path / "runs").read_text()
    places = [text.index(f'<td class="run" data-name="run">x/{place}</td>') for place in (3, 2, 1, 0)]
    assert places == sorted(places)
    assert '<div class="quiet made">folder of 4 runs ·' in text
    text = write_report(tmp_path / "runs" / "x").read_text()
    assert '<div class="quiet made">sweep ·' in text
    assert "<h1>x</h1>" in text
    made_run(tmp_path / "runs" / "x" / "sweep" / "job", ["seed=2"], cells=False)  # of the run that is missing above it
    assert '<div class="quiet made">folder of 5 runs ·' in write_report(tmp_path / "runs" / "x").read_text()


SWEPT = [(0.5, "a", 0.60, 10.0), (0.5, "b", 0.50, 20.0), (0.75, "a", 0.55, 30.0), (0.75, "b", 0.45, 25.0)]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two keys by two seeds, each followed by a transfer whose best is another job than that of the first run; the job
    under way has the best values of all so far."""
    for ratio, kind, loss, score in SWEPT:
        for seed in (0, 1):
            job = tmp_path / "sweep" / f"{ratio}-{kind}-{seed}"
            words = [f"model.mask_ratio={ratio}", f"head.kind={kind}", f"seed={seed}"]
            timed(made_run(job, words, monitor="val/loss", mode="min", value=loss, cells=False), 60)
            cells = np.zeros((2 * CELL, 3 * CELL, 3), np.uint8)
            for column in range(3):
                cells[:, column * CELL : (column + 1) * CELL] = 60 * column + int(10 * ratio) + seed
            Image.fromarray(cells).save(job / "figures" / "cells.png")
            timed(made_run(job / "upernet", ["model=x"], value=score + seed, cells=False), 120)
    job = made_run(tmp_path / "sweep/z", ["model.mask_ratio=0.5", "head.kind=a", "seed=2"], value=0.01,
                   monitor="val/loss", mode="min", cells=False)  # fmt: skip
    timed(job, 30)
    timed(made_run(job / "upernet", ["model=x"], value=99.0, cells=False), 30, state="interrupted", value=None)
    written(job, git={"commit": "def"})
    words = ["model.mask_ratio=0.9", "head.kind=a", "seed=0"]
    bad = made_run(tmp_path / "sweep/bad", words, value=None, state="failed", monitor="val/loss", mode="min",
                   error="ValueError: no", cells=False)  # fmt: skip
    timed(bad, 10)
    return tmp_path / "sweep"


@pytest.fixture
def compared(sweep: Path, tmp_path: Path) -> Drawn:
    page = Drawn(tmp_path / "page")
    (tmp_path / "page").mkdir()
    sweep_page(page, read_sweep(sweep), tmp_path / "page", nowhere)
    return page


def test_the_head_of_a_sweep_counts_its_jobs_and_judges_by_its_last_stage(compared: Drawn) -> None:
    assert compared.facts == [
        ("jobs", "8 completed, 1 failed, 1 upernet interrupted"), ("swept", "model.mask_ratio, head.kind, seed"),
        ("best final upernet: val/mIoU", "31.00 %"), ("runs of a setting", "2"), ("took", "25 min"),
    ]  # fmt: skip
    assert "model.mask_ratio = 0.75, head.kind = a, seed = 1" in compared.body("The best run")
    assert compared.code("What did not complete") == ["bad\nValueError: no"]
    assert "Jobs were trained with 2 states of the code: [&#39;abc&#39;, &#39;def&#39;]." in compared.body(
        "Where it came from"
    )


def test_every_job_of_a_sweep_has_a_row_with_its_whole_time(compared: Drawn) -> None:
    rows = compared.rows("All jobs")
    assert rows[0] == [
        "job",
        "model.mask_ratio",
        "head.kind",
        "seed",
        "state",
        "val/loss",
        "upernet: val/mIoU, %",
        "took",
    ]
    assert rows[1] == ["1", "0.5", "a", "0", "completed", "0.6", "10.00", "3 min"]  # a minute, and two of its stage
    assert [row[4] for row in rows[1:]].count("completed") == 8
    marked = compared.body("All jobs").partition("<tr class=best>")[2].partition("</tr>")[0]
    assert [">0.75<" in marked, ">a<" in marked, ">1<" in marked] == [True] * 3


def test_what_a_setting_is_worth_is_told_of_complete_jobs_and_not_of_seeds(compared: Drawn) -> None:
    axes = compared.figures["marginals"].axes
    assert [(each.get_xlabel(), each.get_title(loc="left")) for each in axes] == [
        (key, metric) for key in ("model.mask_ratio", "head.kind") for metric in ("val/loss", "upernet: val/mIoU, %")
    ]
    drawn = [each.containers[0].lines[0].get_ydata().tolist() for each in axes]
    assert drawn == [pytest.approx(means) for means in ([0.55, 0.5], [15.5, 28], [0.575, 0.475], [20.5, 23])]
    best = [each.texts[0].get_text() for each in axes]  # of a loss the smallest, of a score the largest
    assert best == ["0.5", "28", "0.475", "23"]
    assert "standard deviations" in compared.captions["marginals"]


def test_pairs_of_settings_are_told_of_complete_jobs_by_the_last_stage(compared: Drawn) -> None:
    [axes] = compared.figures["heat_map_model_mask_ratio_head_kind"].axes
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("model.mask_ratio", "head.kind")
    assert axes.get_title(loc="left") == "upernet: val/mIoU, %"
    assert {text.get_position(): text.get_text() for text in axes.texts} == {
        (0, 0): "10.5", (1, 0): "20.5", (0, 1): "30.5", (1, 1): "25.5"
    }  # fmt: skip
    assert [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"] == ["30.5"]
    [axes] = compared.figures["parallel"].axes
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "model.mask_ratio", "head.kind", "upernet: val/mIoU, %"
    ]  # fmt: skip


def test_the_curves_of_a_sweep_are_of_every_job_and_every_stage(compared: Drawn) -> None:
    found = curves_of(compared.figures["curves"])
    assert list(found) == ["train/loss", "val/loss", "upernet: train/loss", "upernet: val/mIoU, %"]
    assert [len(lines) for lines in found.values()] == [9, 9, 9, 9]  # the one that failed has nothing
    by_name = {name: y for name, _, y in found["upernet: val/mIoU, %"]}
    assert by_name["mask_ratio 0.75 kind a seed 1"] == [26.0, 31.0]


def test_the_same_pictures_stand_once_and_what_each_job_made_beside_them(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}

    def sheet(rows: Any, **more: Any) -> np.ndarray:
        drawn.update(more, rows=rows)
        return np.zeros((2, 2, 3), np.uint8)

    monkeypatch.setattr(sweep_page_module, "sheet", sheet)
    monkeypatch.setattr(sweep_page_module, "overlaid_curves", lambda *told: [])
    page = Drawn(tmp_path / "page")
    (tmp_path / "page").mkdir()
    sweep_page(page, read_sweep(sweep), tmp_path / "page", nowhere)
    # Image and truth of the first job, and of every job the last column alone.
    assert [[int(cell[0, 0, 0]) for cell in row] for row in drawn["rows"]] == [
        [5, 65, 125, 126, 125, 126, 127, 128, 127, 128]
    ] * 2
    names = [f"mask_ratio {ratio} kind {kind} seed {seed}" for ratio, kind, *_ in SWEPT for seed in (0, 1)]
    assert drawn["columns"] == ["image", "truth", *names]
    assert list(page.pictures) == ["strips_run"]  # the best one left no sheet


def test_the_table_of_a_sweep_has_complete_jobs_first_with_their_whole_time(sweep: Path) -> None:
    rows = table_of(read_sweep(sweep))
    assert [row["job"] for row in rows][-2:] == ["z", "bad"]  # of which nothing is known
    assert [row["state"] for row in rows] == ["completed"] * 8 + ["upernet interrupted", "failed"]
    assert rows[0] == {
        "job": "0.5-a-0", "state": "completed", "model.mask_ratio": 0.5, "head.kind": "a", "seed": 0, "val/loss": 0.6,
        "upernet: val/mIoU": 10.0, "value": 0.6, "seconds": 180.0,
        "overrides": ["model.mask_ratio=0.5", "head.kind=a", "seed=0"], "error": None,
    }  # fmt: skip
    write_table(rows, sweep)
    head, first = (sweep / "results.csv").read_text().splitlines()[:2]
    assert head.startswith("job,state,model.mask_ratio,head.kind,seed,val/loss,upernet: val/mIoU,value,seconds,")
    assert first == "0.5-a-0,completed,0.5,a,0,0.6,10.0,0.6,180.0,model.mask_ratio=0.5 head.kind=a seed=0,"


def test_a_job_whose_stage_has_failed_is_told_as_failed_with_its_error(tmp_path: Path) -> None:
    job = made_run(tmp_path / "a", ["optimizer.lr=1e-3"], cells=False)
    made_run(job / "probe", ["x=1"], value=None, state="failed", error="ValueError: in the stage", cells=False)
    made_run(tmp_path / "b", ["optimizer.lr=2e-3"], cells=False)
    first, second = table_of(read_sweep(tmp_path))
    assert (first["job"], first["state"]) == ("b", "completed")
    assert (second["job"], second["state"], second["error"]) == ("a", "probe failed", "ValueError: in the stage")
    assert (first["optimizer.lr"], second["optimizer.lr"]) == (0.002, 0.001)  # a number, though YAML reads a text


def test_a_run_that_does_not_say_what_is_better_is_judged_as_of_a_loss(tmp_path: Path) -> None:
    for mode, higher in (("max", True), ("min", False), (None, False)):
        run = made_run(tmp_path / str(mode), ["seed=1"], cells=False)
        settings = {"monitor": "val/mIoU"} | ({} if mode is None else {"mode": mode})
        (run / "config.yaml").write_text(yaml.safe_dump({"checkpoint": settings}))
        found = read_run(run)
        assert found is not None
        assert (found.monitor, found.higher_is_better) == ("val/mIoU", higher)


def test_the_latest_value_is_the_last_that_was_a_number(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", ["seed=1"], value=None, state="interrupted", cells=False)
    rows = [{"step": 1, "val/mIoU": 4.0, "train/loss": 2.0}, {"step": 2, "val/mIoU": None, "train/loss": 1.0}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_run(run)
    assert found is not None
    assert found.metrics == {"step": 2, "val/mIoU": 4.0, "train/loss": 1.0}
    assert found.value == 4.0


def test_losses_of_different_tasks_have_an_axis_each_and_scores_share_theirs(tmp_path: Path) -> None:
    for name, task, loss in (("a", "segment", "dice"), ("b", "segment", "cross_entropy"), ("c", "pretrain", "none")):
        run = made_run(tmp_path / "sweep" / name, [f"model={name}"], cells=False)
        written(run, environment={"choices": {"loss": loss}})
        timed(run, 60, task=task)
    page = Drawn(tmp_path / "page")
    (tmp_path / "page").mkdir()
    sweep_page(page, read_sweep(tmp_path / "sweep"), tmp_path / "page", nowhere)
    found = {title: [name for name, *_ in lines] for title, lines in curves_of(page.figures["curves"]).items()}
    assert found == {
        "train/loss (segment, dice)": ["model a"], "train/loss (segment, cross_entropy)": ["model b"],
        "train/loss (pretrain)": ["model c"], "val/mIoU, %": ["model a", "model b", "model c"],
    }  # fmt: skip


def test_the_best_run_shows_its_pictures_and_each_row_leads_to_the_page_of_its_job(tmp_path: Path) -> None:
    for ratio, value in ((0.5, 20.0), (0.75, 30.0)):
        made_run(tmp_path / "sweep" / str(ratio), [f"model.mask_ratio={ratio}"], value=value)
    page = Drawn(tmp_path / "page")
    (tmp_path / "page").mkdir()
    sweep_page(page, read_sweep(tmp_path / "sweep"), tmp_path / "page", lambda directory: f"/{directory.name}/")
    assert page.rows("The best run") == [["best and last val/mIoU", "30.00 % at step 20"]]
    assert "how much of a difference is chance" in page.body("The best run")  # of one seed
    assert [row[0] for row in page.rows("All jobs")] == ["job", '<a href="/0.5/">1</a>', '<a href="/0.75/">2</a>']
    assert "--pages" not in page.body("All jobs")
    assert list(page.pictures) == ["best_segmentation", "strips_run"]
    best = np.asarray(Image.open(tmp_path / "sweep/0.75/figures/segmentation.png"))
    assert (page.pictures["best_segmentation"] == best).all()
    assert '<a href="/0.75/">mask_ratio 0.75</a>' in page.body("Curves")


def test_of_losses_that_do_not_compare_none_is_the_best(tmp_path: Path) -> None:
    for ratio, value in ((0.5, 0.4), (0.75, 0.6)):
        job = tmp_path / "sweep" / str(ratio)
        made_run(job, [f"model.mask_ratio={ratio}"], monitor="val/loss", mode="min", value=value, cells=False)
        checkpoint = {"monitor": "val/loss", "mode": "min"}
        parts = {"model": {"mask_ratio": ratio}, "inference": {"mask_ratio": None}}
        config = {"task": "pretrain", "checkpoint": checkpoint} | parts
        (job / "config.yaml").write_text(yaml.safe_dump(config))
    page = Drawn(tmp_path / "page")
    (tmp_path / "page").mkdir()
    sweep_page(page, read_sweep(tmp_path / "sweep"), tmp_path / "page", nowhere)
    assert "each job's own model.mask_ratio" in page.body("Losses that do not compare").replace("&#39;", "'")
    assert "The best run" not in [section.title for section in page.sections]
    assert "best final val/loss" not in dict(page.facts)
    assert dict(page.facts)["judged by"] == "val/loss"
    assert "class=best" not in page.body("All jobs")
    for ratio in (0.5, 0.75):  # the loss of what follows them is one quantity
        made_run(tmp_path / "sweep" / str(ratio) / "after", [], monitor="val/loss", mode="min", cells=False)
    page = Drawn(tmp_path / "page")
    sweep_page(page, read_sweep(tmp_path / "sweep"), tmp_path / "page", nowhere)
    assert "Losses that do not compare" not in [section.title for section in page.sections]
    assert dict(page.facts)["best final after: val/loss"] == "30"


def test_best_and_last_are_told_with_their_steps(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", ["seed=1"], cells=False)
    for last in (8.0, 9.0):  # of equal ones the first is the best
        rows = [{"step": step, "val/mIoU": value} for step, value in ((1, 4.0), (2, 9.0), (3, last))]
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        found = read_run(run)
        assert found is not None
        assert scores_of(found) == [("best val/mIoU", "9.00 % at step 2"), ("last val/mIoU", f"{last:.2f} % at step 3")]
    run = made_run(tmp_path / "loss", ["seed=1"], monitor="val/loss", mode="min", cells=False)
    rows = [{"step": step, "val/loss": value} for step, value in ((1, 4.0), (2, 0.5), (3, 8.0))]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_run(run)
    assert found is not None
    assert scores_of(found) == [("best val/loss", "0.5 at step 2"), ("last val/loss", "8 at step 3")]


@pytest.mark.parametrize("state", ["interrupted", "failed"])
def test_the_page_of_a_run_that_has_not_ended_says_how_it_goes_on(tmp_path: Path, state: str) -> None:
    run = made_run(tmp_path / "a run", ["seed=1"], state=state, cells=False)
    timed(run, 60, end=None)
    (run / "checkpoints").mkdir()
    for saved in (False, True):
        if saved:
            (run / "checkpoints" / "last.pt").touch()
        found, page = read_run(run), Drawn(tmp_path / "page")
        assert found is not None
        run_page(page, found)
        way_on = [f"python train.py resume='{run}'"] if saved else []
        assert page.code("What was typed") == ["python train.py seed=1", *way_on]
    assert "<dt>took</dt>" not in page.rendered(title="t", kind="run")  # nobody knows


def test_confusions_of_a_run_are_drawn_from_their_shares(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", ["seed=1"], value=None, cells=False)
    counts = torch.tensor([[3, 1, 0], [0, 2, 2], [0, 0, 0]])
    Image.fromarray(shares_of(counts)).save(run / "figures" / "confusion_shares.png")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(run / "figures" / "confusions.png")  # for who looks by hand
    (run / "tables").mkdir()
    written(run / "tables", per_class=[{"name": name, "IoU": 1.0} for name in ("sky", "sea", "tree")])
    found, page = read_run(run), Drawn(tmp_path / "page")
    assert found is not None
    run_page(page, found)
    assert "confusions" not in page.pictures
    axes = page.figures["confusions"].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["sky", "sea", "tree"]
    assert axes.get_title(loc="left") == "Which class was taken for which"
    assert {text.get_position(): text.get_text() for text in axes.texts} == {
        (0, 0): "75", (1, 0): "25", (1, 1): "50", (2, 1): "50"
    }  # fmt: skip
    Image.fromarray(shares_of(counts)[:, :2]).save(run / "figures" / "confusion_shares.png")  # of other classes
    run_page(page := Drawn(tmp_path / "page"), found)
    assert "confusions" not in {*page.pictures, *page.figures}
    (run / "figures" / "confusion_shares.png").unlink()
    run_page(page := Drawn(tmp_path / "page"), found)
    assert page.pictures["confusions"].shape == (4, 4, 3)  # of an older run, as it was drawn
    assert not page.sheets["confusions"]


def test_the_page_of_an_evaluation_tells_its_scores_what_differs_and_the_confusions_of_every_evaluator(
    tmp_path: Path,
) -> None:
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    protocol = {"checkpoint": "/runs/a/checkpoints/best.pt", "step": 30, "split": "test", "data": {"root": "/x/photos"}}
    protocol |= {
        "crops": [1, 2],
        "validation_images": 9,
        "differs_from_training": {"data.root": {"now": "/b", "training": "/a"}},
    }
    classes = [{"name": "sky", "IoU": 50.0, "Acc": 75.0}, {"name": "sea", "IoU": None, "Acc": None}]
    written(evaluation, results={"mIoU": 40.0, "images": 5, "protocol": protocol}, per_class=classes)
    (evaluation / "confusions.csv").write_text("labelled,predicted,pixels,percent\nsky,sea,5,25.0\n")
    second = evaluation / "far"
    (second / "figures").mkdir(parents=True)
    for name in ("sheet", "confusion_matrix", "classes", "worst"):  # two are drawn anew
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(second / "figures" / f"{name}.png")
    written(second, per_class=[classes[0] | {"Acc": 100.0}])
    third = evaluation / "near"
    (third / "figures").mkdir(parents=True)
    written(third, per_class=[{"name": "sky", "BIoU": 20.0, "IoU": 10.0}])
    (third / "confusions.csv").write_text("labelled,predicted,pixels,percent\n")
    page = Drawn(tmp_path / "page")
    assert found_page(page, evaluation, nowhere) == "evaluation"
    weights = ("weights", "a, best.pt, step 30")
    assert page.facts == [("mIoU", "40.00 %"), ("images", "5 of 9"), ("data", "photos, split test"), weights]
    assert page.rows("What differs from training")[1:] == [["data.root", "/a", "/b"]]
    assert {text.get_position(): text.get_text() for text in page.figures["confusions"].axes[0].texts} == {
        (0, 0): "75", (1, 0): "25"
    }  # fmt: skip
    assert ["split", "test"] in page.rows("Protocol")
    assert list(page.pictures) == ["sheet", "worst"]
    titles = [section.title for section in page.sections]
    assert titles[1:] == [
        "Confusions", "Classes", "Pictures of far", "Classes of far", "Classes of near", "Protocol"
    ]  # fmt: skip
    assert page.rows("Classes of near")[1:] == [["sky", "20.00", "10.00"]]
    assert "validation_images" in [row[0] for row in page.rows("Protocol")]
    assert not {"crops", "data"} & {row[0] for row in page.rows("Protocol")}  # what is no single value is below it
    assert list(yaml.safe_load(page.code("Protocol")[0]).items()) == list(protocol.items())

    there = {"checkpoint": "/models/timm/vit.pth", "step": 0, "split": "train", "validation_images": 5}
    written(evaluation, results={"top1": 40.0, "images": 5, "protocol": there})
    found_page(page := Drawn(tmp_path / "page"), evaluation, nowhere)
    assert page.facts == [("top1", "40.00 %"), ("images", "5"), ("data", "split train"), ("weights", "vit.pth, step 0")]

    del there["validation_images"]  # of an older version
    written(evaluation, results={"top1": 40.0, "images": 5, "protocol": there})
    found_page(page := Drawn(tmp_path / "page"), evaluation, nowhere)
    assert dict(page.facts)["images"] == "5"
    for content in ({"protocol": 3}, {"runs": []}, {"runs": [{"seed": 0}]}):
        written(evaluation, results=content)
        with pytest.raises(UserError, match="is not as evaluate, check-data or demo leave it"):
            found_page(page, evaluation, nowhere)
    written(tmp_path, report={"x": 1}, results={"mIoU": 1.0})  # somebody else's
    assert found_page(page, tmp_path, nowhere) is None


def test_the_page_of_an_audit_has_every_fact_of_every_split(tmp_path: Path) -> None:
    findings = [{"level": level, "sentence": f"{count} files are <broken>", "count": count}
                for level, count in (("error", 2), ("note", 1), ("note", 3))]  # fmt: skip
    splits = {
        "training": {"images": 9, "width": {"min": 3, "max": 4}, "height": {"min": 3, "max": 3}, "traits": {}},
        "validation": {"images": 2, "ignored_share": 0.125},
    }
    written(tmp_path, report={"findings": findings, "splits": splits, "settings": {"root": "/x"}, "seconds": 100.0,
                              "classes": [{"class": 0, "name": "sky", "training_pixels": 7}]})  # fmt: skip
    page = Drawn(tmp_path / "page")
    assert found_page(page, tmp_path, nowhere) == "data set"
    assert page.facts == [("data", "x"), ("errors", "1"), ("warnings", "0"), ("notes", "2"), ("training images", "9"),
                          ("validation images", "2"), ("took", "2 min")]  # fmt: skip
    assert page.rows("Findings")[1:] == [
        ["error", "2 files are <broken>", "2"], ["note", "1 files are <broken>", "1"],
        ["note", "3 files are <broken>", "3"],
    ]  # fmt: skip
    assert page.rows("Splits") == [
        ["what", "training", "validation"], ["images", "9", "2"], ["width", "min 3 / max 4", ""], ["height", "3", ""],
        ["ignored share", "", "12.50 %"],
    ]  # fmt: skip
    assert page.rows("Classes") == [["class", "name", "training pixels"], ["0", "sky", "7"]]


def test_the_page_of_a_demo_compares_its_starts_over_seeds(tmp_path: Path) -> None:
    for seed in (0, 3, 4):
        for name in ("pretrain", "pretrained", "scratch", "other"):
            run = made_run(tmp_path / f"seed{seed}" / name, [f"name={name}"], value=30.0 - seed)
            with (run / "metrics.jsonl").open("a") as file:
                file.write('\n{"step": 30, "val/mIoU": 15.0}\n')
    (tmp_path / "figures").mkdir()
    for name in ("scenes", "curves"):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "figures" / f"{name}.png")
    rows = [
        {"seed": seed, "start": start, "val/mIoU": value + 2 * (seed - 3), "val/aAcc": value + 50}
        for seed in (3, 4)
        for start, value in (("pre-trained", 35.0), ("from scratch", 26.0))
    ]
    alone = "One seed cannot tell how much is chance"
    title = "Few labels, the same budget: what pre-training is worth"
    for count, facts in (
        (4, ["36.0 ± 1.4 %", "27.0 ± 1.4 %", "2", "2 min"]),
        (2, ["35.0 %", "26.0 %", "1", "2 min"]),
    ):
        written(tmp_path, results={"seconds": 100.4, "runs": rows[:count]})
        page = Drawn(tmp_path / "page")
        assert found_page(page, tmp_path, nowhere) == "demo"
        names = ["val/mIoU, pre-trained", "val/mIoU, from scratch", "seeds", "took"]
        assert page.facts == list(zip(names, facts, strict=True))
        assert page.rows(title) == [
            ["start", "seed", "val/mIoU, %", "val/aAcc, %"],
            ["pre-trained", "3", "35.00", "85.00"], ["from scratch", "3", "26.00", "76.00"],
            ["pre-trained", "4", "37.00", "85.00"], ["from scratch", "4", "28.00", "76.00"],
        ][: count + 1]  # fmt: skip
        assert (alone in page.body(title)) is (count == 2)
    assert list(page.pictures) == ["scenes"]  # curves are drawn anew
    found = [[name, "completed", "val/mIoU", "27.00 % at step 20", "60 s"]  # of the first seed that is told
             for name in ("masked autoencoder", "pre-trained", "from scratch")]  # fmt: skip
    assert page.rows("Runs") == [["run", "state", "judged by", "best", "took"], *found]
    assert [name for name, *_ in curves_of(page.figures["curves"])["val/mIoU, %"]] == [name for name, *_ in found]
    kappa = [{"seed": 0, "start": "pre-trained", "val/kappa": 0.5}]
    written(tmp_path, results={"seconds": 1.0, "runs": kappa})
    found_page(page := Drawn(tmp_path / "page"), tmp_path, nowhere)
    assert page.facts[0] == ("val/kappa, pre-trained", "0.5")


def test_a_picture_of_any_kind_is_read_in_three_colors_and_one_that_is_none_is_named(tmp_path: Path) -> None:
    for mode in ("RGB", "RGBA", "L", "P"):
        Image.new("RGB", (3, 2), (204, 204, 204)).convert(mode).save(tmp_path / "a.png")
        assert np.array_equal(read_pixels(tmp_path / "a.png"), np.full((2, 3, 3), 204, np.uint8))
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:50])
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "c.png")
    begin, *parts = (tmp_path / "c.png").read_bytes().split(b"IDAT")
    (tmp_path / "c.png").write_bytes(begin + b"IDAT" + b"\0\1\2\3".join(parts))  # torn between its parts
    for name in ("a.png", "b.png", "c.png"):
        with pytest.raises(UserError, match=rf"{name} is not the picture that a run writes \(.+; get it again"):
            read_pixels(tmp_path / name)


@pytest.mark.usefixtures("undrawn")
def test_what_commands_leave_has_a_page_of_its_kind_called_by_its_folder(tmp_path: Path) -> None:
    audit = {"findings": [], "splits": {}, "classes": [], "seconds": 1.0, "settings": {}}
    for name, kind, tables in (
        ("an_evaluation", "evaluation", {"results": {"protocol": {"checkpoint": "x.pt"}, "mIoU": 1.0}}),
        ("a_look", "data set", {"report": audit}),
        ("a_demo", "demo", {"results": {"seconds": 1.0, "runs": [{"seed": 0, "start": "s", "val/mIoU": 1.0}]}}),
    ):
        (tmp_path / name).mkdir()
        written(tmp_path / name, **tables)
        text = write_report(tmp_path / name).read_text()
        assert f"<h1>{name.replace('_', '_<wbr>')}</h1>" in text
        assert f'<div class="quiet made">{kind} ·' in text

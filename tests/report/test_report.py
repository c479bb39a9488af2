"""One page: everything is in it, nothing is fetched, and it says what the runs found."""

import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from made_runs import made_run
from written_pictures import shows_something

from mae_hydra.commands import main
from mae_hydra.errors import UserError
from mae_hydra.experiment import sweeps
from mae_hydra.experiment.read_runs import read_sweep, settings_of, table_of, varying
from mae_hydra.figures import Marginal, heat_map, marginals, parallel_coordinates
from mae_hydra.report import write_comparison, write_report


class Reader(HTMLParser):
    """What a page asks for, its headings, and the rows of its tables."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.headings: list[str] = []
        self.rows: list[list[str]] = []
        self.stack: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.asked += [value or "" for name, value in attributes if name in ("src", "href", "action")]
        self.stack.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] == "h2":
            self.headings.append(data)
        if self.stack and self.stack[-1] in ("td", "th"):
            self.rows[-1].append(data)

    def handle_endtag(self, tag: str) -> None:
        while self.stack and self.stack.pop() != tag:
            pass


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A grid of two keys with two seeds; one job failed, one is under way, and each is followed by a transfer."""
    for ratio in ("0.5", "0.75"):
        for depth in ("1", "2"):
            for seed in ("0", "1"):
                loss = 0.5 + float(ratio) / 10 + int(seed) / 100
                words = [f"model.mask_ratio={ratio}", f"head.depth={depth}", f"seed={seed}", "logger=wandb"]
                job = tmp_path / "sweep" / f"{ratio}-{depth}-{seed}"
                made_run(job, words, monitor="val/loss", mode="min", value=loss)
                made_run(job / "upernet", ["model=upernet_vitt"], value=40 * float(ratio) + int(depth))
    made_run(tmp_path / "sweep/bad", ["model.mask_ratio=<b>", "head.depth=1", "seed=0"], value=None, state="failed",
             monitor="val/loss", mode="min", error="UserError: <script>alert(1)</script>", cells=False)  # fmt: skip
    return tmp_path / "sweep"


@pytest.mark.slow
def test_a_sweep_is_told_on_one_page(sweep: Path) -> None:
    page = write_report(sweep)
    found = Reader(page)
    assert all(asked.startswith(("data:", "#")) for asked in found.asked)
    assert "<svg" in page.read_text()
    assert len([asked for asked in found.asked if asked.startswith("data:image/png")]) == 1  # of the best run
    for heading in (
        "The best run",
        "What each setting is worth",
        "Pairs of settings",
        "Over seeds",
        "All jobs",
        "Curves",
    ):
        assert heading in found.headings
    assert {"The same pictures", "What did not complete", "Where it came from"} <= set(found.headings)
    text = page.read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "model.mask_ratio = 0.75, head.depth = 2" in text  # the best by what the sweep is for
    assert ["0.75", "2", "2", "0.58 ± 0.0071", "32 ± 0"] in found.rows
    assert ["<b>", "1", "0", "failed"] in [row[1:5] for row in found.rows]
    for name in ("marginals", "curves", "heat_map_model_mask_ratio_head_depth", "parallel"):
        assert shows_something(page.parent / f"{name}.png")
        assert shows_something(page.parent / f"{name}.svg")
    rows = json.loads((sweep / "results.json").read_text())
    assert len(rows) == 9
    assert rows[0]["upernet: val/mIoU"] > 20


@pytest.mark.usefixtures("undrawn")
def test_only_complete_jobs_are_ranked_and_every_value_stands_in_its_column(tmp_path: Path) -> None:
    """The job that still trains has the lowest loss so far."""
    for ratio, seed, loss, state in (
        ("0.5", "0", 0.6, "completed"),
        ("0.75", "0", 0.5, "completed"),
        ("0.75", "1", 0.53, "completed"),
        ("0.9", "0", 0.1, "running"),
        ("0.9", "1", 0.2, "interrupted"),
    ):
        words = [f"model.mask_ratio={ratio}", f"seed={seed}"]
        job = made_run(tmp_path / "sweep" / f"{ratio}-{seed}", words, monitor="val/loss", mode="min", value=loss,
                       state=state, cells=False)  # fmt: skip
        if state != "completed":
            status = json.loads((job / "status.json").read_text())
            (job / "status.json").write_text(json.dumps(status | {"value": None}))
    page = write_report(tmp_path / "sweep")
    found = Reader(page)
    assert "model.mask_ratio = 0.75, seed = 0" in page.read_text()
    assert [row[1:5] for row in found.rows if len(row) == 6 and row[3] in ("completed", "interrupted")] == [
        ["0.5", "0", "completed", "0.6"],
        ["0.75", "0", "completed", "0.5"],
        ["0.75", "1", "completed", "0.53"],
        ["0.9", "0", "interrupted", "0.1"],
        ["0.9", "1", "interrupted", "0.2"],
    ]
    [marked] = [line for line in page.read_text().split("<tr") if line.startswith(" class=best")]
    assert all(f">{cell}<" in marked for cell in ("0.75", "0", "completed", "0.5"))
    over_seeds = [row for row in found.rows if len(row) == 3 and row[0] in ("0.5", "0.75", "0.9")]
    assert over_seeds == [["0.5", "1", "0.6"], ["0.75", "2", "0.515 ± 0.021"]]


def test_settings_are_values_and_what_does_not_compute_is_left_out(sweep: Path) -> None:
    runs = read_sweep(sweep)
    assert settings_of(runs[0]) == {"model.mask_ratio": 0.5, "head.depth": 1, "seed": 0}
    assert varying(runs) == ["model.mask_ratio", "head.depth", "seed"]


def test_a_value_that_was_not_typed_for_a_job_is_that_of_its_configuration(tmp_path: Path, capsys) -> None:
    """Seeds 1 and 2 are added to a sweep that trained seed 0 without typing it."""
    grid = ["head.depth"]
    for depth, words in ((2, []), (2, ["seed=1"]), (32, ["seed=1"]), (8, [])):
        name = "-".join([str(depth), *words])
        job = made_run(tmp_path / name, [f"head.depth={depth}", *words], monitor="val/loss", mode="min", value=0.5)
        config = yaml.safe_load((job / "config.yaml").read_text()) | {"seed": len(words), "head": {"depth": depth}}
        (job / "config.yaml").write_text(yaml.safe_dump(config))
    runs = read_sweep(tmp_path)
    table = table_of(runs, grid)
    assert [(row["head.depth"], row["seed"]) for row in table] == [(2, 0), (2, 1), (8, 0), (32, 1)]
    sweeps.show(table, tmp_path, ["val/loss"], [*grid, "seed"])
    assert "head.depth" in capsys.readouterr().out
    names = ["upernet: val/mIoU", "finetune: val/top1", "probe: val/top1"]
    sweeps.show([row | dict.fromkeys(names, 1.0) for row in table], tmp_path, names, [*grid, "seed"])
    header = capsys.readouterr().out.split("completed")[0]
    assert "depth" in header
    assert "head" not in header


@pytest.mark.slow
def test_a_run_is_told_on_one_page(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", ["model=upernet_vitt", "tags=[a,b]"])
    (run / "tables").mkdir()
    (run / "tables/per_class.json").write_text('[{"name": "sky", "IoU": 50.0}, {"name": "sea", "IoU": null}]')
    made_run(run / "probe", ["model=probe"], value=12.5)
    page = write_report(run, tmp_path / "out")
    assert page == tmp_path / "out/index.html"
    found, text = Reader(page), page.read_text()
    assert all(asked.startswith(("data:", "#")) for asked in found.asked)
    assert {"Curves", "Pictures", "Classes", "Then: probe", "Where it came from"} <= set(found.headings)
    assert "python train.py model=upernet_vitt &#39;tags=[a,b]&#39;" in text
    assert "- a &lt; b" in text
    assert ["best and last val/mIoU", "12.50 % at step 20"] in found.rows


@pytest.mark.slow
@pytest.mark.parametrize("classes", [3, 400])
def test_a_classifier_has_its_accuracy_by_class(tmp_path: Path, classes: int) -> None:
    run = made_run(tmp_path / "run", ["model=classifier_vitt"], monitor="val/top1", cells=False)
    rows = [
        {"name": f"class {n}", "accuracy": n / 4 if n else None, "images": n, "mistaken_for": None}
        for n in range(classes)
    ]
    (run / "tables").mkdir()
    (run / "tables" / "per_class.json").write_text(json.dumps(rows))
    assert main(["report", str(run)]) == 0
    page = (run / "report" / "index.html").read_text()
    assert "class 2" in page
    assert "mistaken_for" in page
    assert (run / "report" / "classes.png").stat().st_size < 600_000


def test_a_run_that_has_only_begun_has_a_page(tmp_path: Path) -> None:
    made_run(tmp_path / "run", ["seed=1"], value=None, state="interrupted", cells=False)
    assert "interrupted" in write_report(tmp_path / "run").read_text()


def test_what_is_no_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file"):
        with pytest.raises(UserError, match="is neither a run nor a sweep, and none lies below it"):
            write_report(place, tmp_path / "page")
    with pytest.raises(UserError, match=r"give another folder with --out"):  # before anything is read
        write_report(tmp_path / "nowhere", tmp_path / "file" / "page")
    with pytest.raises(UserError, match=r"give another folder with --out"):
        write_comparison([tmp_path / "nowhere"] * 2, tmp_path / "file" / "page")
    assert main(["report", str(tmp_path / "nowhere")]) == 1
    assert "nowhere is not there: expected is a directory with status.json" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="no browser here")
def test_a_browser_shows_it_without_an_error_and_without_asking_for_anything(sweep: Path, tmp_path: Path) -> None:
    page = write_report(sweep)
    log = tmp_path / "net.json"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--disable-component-update", "--disable-sync"]
    options += ["--enable-logging=stderr", "--v=0", f"--log-net-log={log}", "--dump-dom"]
    done = subprocess.run(["chromium", *options, f"file://{page}"], capture_output=True, text=True, timeout=120)
    assert "Where it came from" in done.stdout
    assert "CONSOLE" not in done.stderr
    asked = {word for word in log.read_text().split('"') if word.startswith(("http://", "https://"))}
    assert not {word for word in asked if "127.0.0.1" not in word and "google" not in word}  # the browser's own


def test_the_best_setting_of_a_marginal_follows_the_direction() -> None:
    points = {0.25: [1.0, 2.0], 0.5: [3.0], "x": [2.0]}
    assert Marginal("k", "m", points, higher_is_better=True).best == 0.5
    assert Marginal("k", "m", points, higher_is_better=False).best == 0.25
    [axes] = marginals([Marginal("k", "m", {1.0: [1.0], 100.0: [2.0], 10.0: [3.0]}, True)]).axes
    assert axes.get_xscale() == "log"


def test_plots_of_sweeps_hold_their_values() -> None:
    figure = heat_map({(1, "a"): 2.0, (2, "a"): 3.0, (1, "b"): 1.0}, keys=("d", "w"), metric="m", higher_is_better=True)
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert texts == {"2", "3", "1"}
    rows = [{"a": 1, "b": "x", "m": 0.1}, {"a": 2, "b": "y", "m": 0.9}]
    lines = parallel_coordinates(rows, keys=["a", "b"], metric="m", higher_is_better=False).axes[0].lines
    heights = [list(line.get_ydata()) for line in lines[:2]]
    assert heights == [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]  # the better one, of the smaller value, on top


def test_names_that_are_markup_are_shown_as_they_stand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the table of a sweep and on the page; the error of a job once ended the sweep in place of its table."""
    made_run(tmp_path / "[bold]a", ["data.root=[/x]"])
    error = "ValueError: [/old] <script>alert(1)</script> $x_1 \x1b[31mred\x1b[0m \udcff"
    made_run(tmp_path / "b", ["data.root=$y$"], value=None, state="failed", error=error)
    table = table_of(read_sweep(tmp_path))
    sweeps.show(table, tmp_path, ["val/mIoU"], ["data.root"])
    said = capsys.readouterr().out.replace("\n", "")
    assert "[/x]" in said
    assert "[/old]" in said
    assert "\x1b" not in said
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "ValueError: [/old] &lt;script&gt;alert(1)&lt;/script&gt; $x_1 red \\xff" in page
    assert "<script>alert" not in page


@pytest.mark.usefixtures("undrawn")
def test_a_report_replaces_no_file_that_it_has_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_run(tmp_path / "run", ["seed=1"])
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "segmentation.png").write_text("mine")
    assert main(["report", str(run), "--out", str(tmp_path / "thesis")]) == 1
    assert "segmentation.png is there, and it was not mae-hydra report that wrote it" in capsys.readouterr().err
    assert (tmp_path / "thesis" / "segmentation.png").read_text() == "mine"
    for _ in range(2):
        assert main(["report", str(run), "--out", str(tmp_path / "page")]) == 0


@pytest.mark.usefixtures("undrawn")
def test_a_damaged_line_is_left_out_and_said(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", ["seed=1"])
    file = run / "metrics.jsonl"
    file.write_bytes(b"\xff\xfe\0\n" + file.read_bytes())
    found = read_sweep(tmp_path)[0]
    assert [row["step"] for row in found.rows()] == [10, 20]
    assert found.metrics["val/mIoU"] == 30.0
    assert "1 of metrics.<wbr>jsonl, left out" in write_report(run).read_text()

"""The page of any folder of runs, and the same served while they train: read-only, safe whatever they are called."""

import base64
import hashlib
import html
import io
import json
import os
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn import Drawn
from made_runs import made_run
from PIL import Image
from test_many_runs import changed
from test_report import Reader

from mae_hydra.commands import main
from mae_hydra.errors import UserError
from mae_hydra.experiment.holder import holding
from mae_hydra.experiment.many.listing import list_runs
from mae_hydra.report import folder_page as folder_page_module
from mae_hydra.report import write_report
from mae_hydra.report.folder_page import POINTS, curves_of, folder_page, id_of
from mae_hydra.report.report import _written_page
from mae_hydra.report.serve import Site, server_of

HOSTILE = ["<img src=x onerror=alert(1)>", '"><script>alert(2)', "a&b'`{{7*7}}", "\u202egnp.exe", "x\ny", "\udcff"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page") / "out<puts>"
    for number, name in enumerate(HOSTILE):
        words = [f"seed={number}", "name=</script><script>alert(3)</script>"]
        run = made_run(root / f"deep/er/{name}", words, value=10.0 + number, cells=number < 2)
        changed(run, "status.json", task="<b>segment", start=1e9 + number)
    changed(root / "deep/er" / HOSTILE[0], "status.json", state="failed", error="Error: <script>alert(4)</script>")
    for ratio in (0.5, 0.75):
        made_run(root / f"sweeps/grid/{ratio}", [f"model.mask_ratio={ratio}"], value=40 * ratio, cells=False)
    return root


def data_of(page: str) -> dict:
    [found] = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


def test_the_page_lists_every_run_with_its_curves(folder: Path, tmp_path: Path) -> None:
    page = write_report(folder, tmp_path / "page")
    text, found = page.read_text(encoding="utf-8"), Reader(page)
    assert found.headings == ["All runs", "Curves of the chosen runs", "Sweeps", "Pictures", "What failed"]
    listed = [row for row in found.rows if len(row) > 5]
    assert listed[0][0:4] == ["sweeps/grid/0.75", "segment", "completed", "20"]
    assert re.findall(r"<th scope=\"col\"><button type=\"button\">(\w+)<", text)[:4] == ["run", "task", "state", "step"]
    assert listed[0][4:6] == ["30 at 20", "30 at 20"]
    told = data_of(text)
    assert len(told["runs"]) == len(HOSTILE) + 2
    facts = next(run for run in told["runs"] if run["facts"]["name"] == "sweeps/grid/0.75")
    assert facts["facts"]["val/mIoU"] == facts["facts"]["last"] == 30.0
    assert facts["facts"]["model.mask_ratio"] == "0.75"
    assert told["curves"][facts["id"]]["val/mIoU"] == [[10, 20], [25.0, 30.0]]
    assert text.count('src="data:image/jpeg') == 2
    assert not [asked for asked in found.asked if asked and not asked.startswith(("data:", "#"))]  # no run has a page


@pytest.fixture
def listed(tmp_path: Path) -> tuple[Path, Drawn]:
    """A sweep of three jobs judged by a loss, whose best value so far is not its last; one failed, one was killed."""
    for number, (state, end, more) in enumerate((("completed", 7200, {}), ("failed", 60, {"error": "no room"}),
                                                ("running", None, {"error": "killed", "value": None}))):  # fmt: skip
        words = ["+debug=smoke", f"seed={number}"]
        job = made_run(tmp_path / f"sweeps/grid/{number}", words, monitor="val/loss", mode="min", value=float(number))
        start = 1e9 - number
        changed(job, "status.json", state=state, start=start, end=end and start + end, **more)
    probe = made_run(tmp_path / "probe", ["+debug=smoke", "name=mine"], monitor="val/top1", value=12.5, cells=False)
    changed(probe, "status.json", start=1e8, end=1e8, task="classify", error="of the attempt before")
    (probe / "metrics.jsonl").write_text('{"step": 0, "val/top1": 0.0}\n')
    rows = [replace(row, looked=1e9 + 3 * 86400, size=10**n) for n, row in enumerate(list_runs(tmp_path))]
    page = Drawn(tmp_path / "page")
    folder_page(page, rows, lambda directory: f"/{directory.name}/" if directory.name != "2" else None)
    return tmp_path, page


def test_every_number_of_the_list_stands_in_its_column_as_a_text_and_as_a_value(listed: tuple[Path, Drawn]) -> None:
    page = listed[1]
    assert page.facts == [("runs", "4"), ("states", "2 completed, 1 dead, 1 failed"), ("size", "1.1 kB")]
    _, *rows = page.rows("All runs")
    name = '<a href="/{0}/">sweeps/grid/{0}</a>'.format
    assert [row[1:] for row in rows] == [
        [name(0), "segment", "completed", "20", "-5 at 10", "0 at 20", "<div>seed=0</div>", "3 d", "2 h", "1 byte"],
        [name(1), "segment", "failed", "20", "-4 at 10", "1 at 20", "<div>seed=1</div>", "3 d", "60 s", "10 bytes"],
        ["sweeps/grid/2", "segment", "dead", "20", "-3 at 10", "2 at 20", "<div>seed=2</div>", "3 d", "", "100 bytes"],
        ['<a href="/probe/">probe</a>', "classify", "completed", "0", "0 at 0", "0 at 0", "<div>name=mine</div>",
         "10420 d", "0 s", "1.0 kB"],
    ]  # fmt: skip
    assert "<p>Typed for all: +debug=smoke</p>" in page.body("All runs")
    values = re.findall(r'data-name="(\w+)" data-value="([^"]*)"', page.body("All runs"))
    assert [name for name, _ in values] == ["step", "best", "last", "age", "took", "size"] * 4
    assert [value for _, value in values] == [
        "20", "-5.0", "0.0", "259200.0", "7200.0", "1", "20", "-4.0", "1.0", "259201.0", "60.0", "10",
        "20", "-3.0", "2.0", "259202.0", "", "100", "0", "0.0", "0.0", "900259200.0", "0.0", "1000",
    ]  # fmt: skip
    assert page.rows("Sweeps") == [
        ["sweep", "jobs", "states", "best", "job"],
        ['<a href="/grid/">sweeps/grid</a>', "3", "1 completed, 1 dead, 1 failed", "val/loss 0 at 20", "0"],
    ]
    assert page.code("What failed") == ["sweeps/grid/1\nno room", "sweeps/grid/2\nkilled"]
    names = re.findall("<figcaption>(.*?)</figcaption>", page.body("Pictures"))
    assert names == [name(0), name(1), "sweeps/grid/2"]
    assert page.data is not None
    ids = [each["id"] for each in page.data["runs"]]  # by which the script finds the row and the picture of a run
    states = ["completed", "failed", "dead", "completed"]
    assert re.findall(r'<tr data-id="(\w+)" class="(\w+)"', page.body("All runs")) == [*zip(ids, states, strict=True)]
    assert re.findall(r'<figure data-id="(\w+)"', page.body("Pictures")) == ids[:3]


def test_a_filter_may_ask_what_was_typed_and_curves_are_of_all_that_any_run_is_judged_by(
    listed: tuple[Path, Drawn], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = listed[1].data
    assert data is not None
    first, *_, probe = data["runs"]
    assert first["facts"].items() >= {"debug": "smoke", "seed": "0", "val/loss": 0.0, "took": 7200.0}.items()
    assert probe["facts"]["name"] == "probe"  # as the list calls it
    assert (first["measures"], probe["measures"]) == ("segment", "classify")
    assert list(data["curves"]) == [each["id"] for each in data["runs"]]
    assert data["curves"][first["id"]] == {"train/loss": [[10, 20], [2.0, 1.0]], "val/loss": [[10, 20], [-5.0, 0.0]]}
    assert data["curves"][probe["id"]] == {"val/top1": [[0], [0.0]]}
    assert all(re.fullmatch("[0-9a-f]{12}", each["id"]) for each in data["runs"])
    assert folder_page_module.MOST_CURVES >= 200  # as many as a browser draws at once, see below
    monkeypatch.setattr(folder_page_module, "MOST_CURVES", 1)
    folder_page(page := Drawn(listed[0] / "page"), list_runs(listed[0]), lambda directory: None)
    assert page.data is not None
    assert list(page.data["curves"]) == [first["id"]]  # the newest


def thumbs(page: Drawn) -> list[Image.Image]:
    found = re.findall(r"data:image/jpeg;base64,([^\"]*)", page.body("Pictures"))
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]


def test_the_newest_runs_have_a_picture_of_today_and_the_newest_errors_are_told(
    listed: tuple[Path, Drawn], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many pictures the upper two rows; of a run that has no cells the sheet; a damaged one is left out."""
    folder, jobs = listed[0], [listed[0] / f"sweeps/grid/{number}/figures" for number in range(3)]
    Image.fromarray(np.zeros((3 * 224, 2 * 224, 3), np.uint8)).save(jobs[0] / "cells.png")
    (jobs[1] / "cells.png").write_bytes(b"<html>")
    (jobs[2] / "cells.png").unlink()
    Image.fromarray(np.zeros((900, 400, 3), np.uint8)).save(jobs[2] / "segmentation.png")
    for most, sizes, failed, left_out in (
        (2, [(360, 360), (320, 720)], 2, ""),  # twice as high as wide at most
        (1, [(360, 360)], 1, "The newest 1 of 2"),
    ):
        monkeypatch.setattr(folder_page_module, "MOST_PICTURES", most)
        monkeypatch.setattr(folder_page_module, "MOST_FAILED", most)
        page = Drawn(folder / "page")
        folder_page(page, list_runs(folder), lambda directory: None)
        assert [thumb.size for thumb in thumbs(page)] == sizes
        assert page.code("What failed") == ["sweeps/grid/1\nno room", "sweeps/grid/2\nkilled"][:failed]
        assert left_out in page.body("What failed")
        assert ("newest" in page.body("What failed")) is bool(left_out)
    dark = (jobs[0] / "cells.png").stat()
    Image.fromarray(np.full((3 * 224, 2 * 224, 3), 255, np.uint8)).save(jobs[0] / "cells.png")
    metrics = jobs[0].parent / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace("2.0", "3.0"))
    for file, about in ((jobs[0] / "cells.png", dark), (metrics, metrics.stat())):
        os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns + 1))
    folder_page(page := Drawn(folder / "page"), list_runs(folder), lambda directory: None)
    assert np.asarray(thumbs(page)[0]).min() > 250
    assert page.data is not None
    assert next(iter(page.data["curves"].values()))["train/loss"][1] == [3.0, 1.0]
    at = metrics.stat()
    metrics.write_text(metrics.read_text().replace("3.0", "3.55"))
    os.utime(metrics, ns=(at.st_atime_ns, at.st_mtime_ns))  # of another size alone
    (jobs[1].parent / "metrics.jsonl").unlink()
    folder_page(page := Drawn(folder / "page"), list_runs(folder), lambda directory: None)
    assert page.data is not None
    found = {each["facts"]["name"]: page.data["curves"].get(each["id"], {}) for each in page.data["runs"]}
    assert found["sweeps/grid/0"]["train/loss"][1] == [3.55, 1.0]
    assert not found["sweeps/grid/1"]  # which has none
    assert found["probe"]  # the others do

    def gone(*told: object) -> str:
        raise FileNotFoundError("replaced just now")

    monkeypatch.setattr(folder_page_module, "_thumb", gone)
    folder_page(page := Drawn(folder / "page"), list_runs(folder), lambda directory: None)
    assert "Pictures" not in [section.title for section in page.sections]


def test_no_name_is_anything_but_text(folder: Path, tmp_path: Path) -> None:
    text = write_report(folder, tmp_path / "page").read_text(encoding="utf-8")
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert '"use strict"' in script[:20]
    for hostile in ("<img src=x", "<script>alert", "<b>segment", "\u202e", "\udcff"):
        assert hostile not in text
    assert html.escape("<img src=x onerror=alert(1)>") in text
    assert "\\u003cimg src=x" in text
    [policy] = re.findall(r'Security-Policy" content="([^"]*)"', text)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert html.unescape(policy) == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; "
        f"form-action 'none'; script-src 'sha256-{digest}'"
    )


def test_pages_of_the_runs_are_linked_where_they_are_and_made_anew_where_they_are_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of sweeps too, whatever has changed in any job; one that cannot be made is said and stops no other."""
    made: list[str] = []

    def fake(page: object, run: object, *more: object) -> None:
        made.append(str((run.directory if hasattr(run, "directory") else more[0]).name))  # type: ignore[attr-defined]
        if made[-1] in ("bad", "worse"):
            raise {"bad": UserError, "worse": OSError}[made[-1]](f"a picture is {made[-1]}")

    def made_by(*words: str) -> list[str]:
        before = len(made)
        assert main(["report", *words]) == 0
        return sorted(made[before:])

    monkeypatch.setattr("mae_hydra.report.report.run_page", fake)
    monkeypatch.setattr("mae_hydra.report.report.sweep_page", fake)
    root, jobs = str(tmp_path), [tmp_path / "sweeps/grid" / name for name in ("job", "job2")]
    for name in ("bad", "worse"):
        changed(made_run(tmp_path / "runs" / name, [], cells=False), "status.json", start=2e9)  # the newest
    for place in (tmp_path / "runs/a b", *jobs, jobs[1] / "stage"):
        made_run(place, ["seed=1"], cells=False, state="failed" if place == jobs[1] else "completed")
    assert made_by(root) == []
    capsys.readouterr()
    assert made_by(root, "--pages") == ["a b", "bad", "grid", "job", "job2", "stage", "worse"]
    said = capsys.readouterr()
    assert sorted(said.err.splitlines()) == ["no page: a picture is bad", "no page: a picture is worse"]
    assert [line.split(":")[0] for line in said.out.splitlines()[:7]] == [f"{number} of 7" for number in range(1, 8)]
    asked = [each for each in Reader(tmp_path / "report/index.html").asked if each.endswith("index.html")]
    places = ("runs/a%20b", *(f"sweeps/grid{job}" for job in ("", "/job", "/job2", "/job2/stage")))
    assert set(asked) == {f"../{place}/report/index.html" for place in places}
    assert made_by(root, "--pages") == ["bad", "worse"]  # nothing has changed since
    (tmp_path / "runs/a b/metrics.jsonl").touch()
    assert made_by(root, "--pages") == ["a b", "bad", "worse"]
    for name in ("metrics.jsonl", "status.json"):
        (jobs[1] / name).touch()
        assert made_by(root, "--pages") == ["bad", "grid", "job2", "worse"]
    for job in jobs:
        (job / "status.json").touch()
    assert made_by(str(jobs[0].parent), "--pages") == ["grid", "job", "job2"]


@pytest.mark.parametrize("kind", ["sweep", "study"])
def test_tables_go_where_the_page_goes_and_a_folder_of_a_persons_is_not_the_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    told: list[tuple[Path, bool]] = []
    module = "mae_hydra.report.report"
    monkeypatch.setattr(f"{module}.{kind}_page", lambda page, *more: told.append((more[-2], page.owned.trusted)))
    monkeypatch.setattr(f"{module}.run_page", lambda *arguments: None)
    monkeypatch.setattr(f"{module}.is_study", lambda directory: kind == "study")
    monkeypatch.setattr(f"{module}.read_study", lambda directory: None)
    job = made_run(tmp_path / "all/job", [], cells=False)
    for out in (None, tmp_path / "out"):
        page = write_report(tmp_path / "all", out)
        assert "<h1>all</h1>" in page.read_text()
        assert told[-1] == (out or tmp_path / "all", out is None)
        assert not (job / "report").exists()
    write_report(tmp_path / "all", with_pages=True)
    assert "<h1>made</h1>" in (job / "report/index.html").read_text()  # a run is called by its name
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "link").symlink_to("deep/er")  # links lead from where the page is
    assert _written_page(tmp_path / "link", job) == "../../all/job/report/index.html"
    assert _written_page(tmp_path / "link", tmp_path) is None


def test_a_long_curve_is_thinned_to_means(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", ["seed=1"], cells=False)
    lines = [{"step": step, "train/loss": float(step % 2)} for step in range(1, 1001)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    [row] = list_runs(tmp_path)
    steps, values = curves_of([row])[id_of(row)]["train/loss"]
    assert POINTS == 150  # so every seventh has the mean of its neighbors
    assert (steps[:2], steps[-2:], len(steps)) == ([7, 14], [994, 1000], 143)
    assert (values[:2], values[-1]) == ([0.57143, 0.42857], 0.5)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    site = Site(folder, 1)
    with server_of(site, 0) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            site.close()


def asked(address: str, host: str | None = None, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(address, headers={} if host is None else {"Host": host}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_served_folder_follows_what_happens_and_writes_nothing(tmp_path: Path) -> None:
    run = made_run(tmp_path / "out/run", ["seed=1"], state="running", value=20.0, cells=False)
    changed(run, "status.json", end=None, value=None)
    before = sorted(tmp_path.rglob("*"))
    with served(tmp_path / "out") as address:
        code, page = asked(address + "/")
        assert code == 200
        assert 'data-refresh="1"' in page
        [told] = data_of(page)["runs"]
        assert (told["facts"]["state"], told["facts"]["last"]) == ("dead", 20.0)
        with holding(run):
            assert data_of(asked(address + "/")[1])["runs"][0]["facts"]["state"] == "running"
        with (run / "metrics.jsonl").open("a") as file:
            file.write('\n{"step": 30, "val/mIoU": 25.0}\n')
        made_run(tmp_path / "out/new", ["seed=1"], cells=False)
        told = {
            each["facts"]["name"]: each["facts"]["last"] for each in data_of(asked(address + "/?filter=x")[1])["runs"]
        }
        assert told == {"run": 25.0, "new": 30.0}
        shutil.rmtree(tmp_path / "out/new")
        for path in ("/../etc/passwd", "/run/status.json", "/%2e%2e/", "/0123456789ab/"):
            assert asked(address + path)[0] == 404
        assert asked(address + "/", host="evil.example:80")[0] == 403
        assert asked(address + "/", host="localhost:9")[0] == 200
        assert asked(address + "/", method="POST")[0] == 501
    left = [path for path in sorted(tmp_path.rglob("*")) if not path.name.startswith((".lock", ".heartbeat"))]
    assert left == before


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_run(tmp_path / "run", ["seed=1"], cells=False)
    with served(tmp_path) as address:
        port = address.rpartition(":")[2]
        assert main(["report", str(tmp_path), "--serve", "--port", port]) == 1
    assert f"port {port} of 127.0.0.1 cannot be had" in capsys.readouterr().err
    with pytest.raises(UserError, match="is no folder"):
        Site(tmp_path / "nowhere", 1)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="no browser here")
def test_a_browser_sorts_filters_and_draws_two_hundred_runs(folder: Path, tmp_path: Path) -> None:
    """Names with HTML among them; the filter of the address is the one of the field."""
    root = tmp_path / "outputs"
    shutil.copytree(folder, root, symlinks=True)
    for number in range(200 - len(list_runs(root))):
        words = [f"model.mask_ratio={number / 200}", f"seed={number}"]
        made_run(root / f"runs/{number:03d}", words, value=20 + number / 10, cells=number % 20 == 0)
    with served(root) as address:
        shown = {}
        for name, query in (
            ("all", ""),
            ("some", "?filter=val/mIoU%3E%3D30+seed%3C%3D105"),
            ("words", "?filter=%3Cimg"),
        ):
            options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--virtual-time-budget=2500"]
            options += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--v=0", "--dump-dom"]
            done = subprocess.run(
                ["chromium", *options, f"{address}/{query}"], capture_output=True, text=True, timeout=120
            )
            assert "CONSOLE" not in done.stderr
            shown[name] = done.stdout
        [run] = [row for row in list_runs(root) if row.name == "runs/100"]
        code, own = asked(f"{address}/{id_of(run)}/")
    assert (code, "Where it came from" in own) == (200, True)
    counts = {name: re.findall(r'id="count"[^>]*>([^<]*)', page) for name, page in shown.items()}
    assert counts == {"all": ["200 of 200"], "some": ["6 of 200"], "words": ["1 of 200"]}
    assert {name: page.count("<polyline") for name, page in shown.items()} == {"all": 16, "some": 12, "words": 2}
    assert "<script>alert" not in shown["all"]

"""The page of any folder of runs, and the same served while they train: read-only, safe whatever they are called."""

import html
import json
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from made_runs import made_run
from test_many_runs import changed
from test_report import Reader

from mae_hydra.commands import main
from mae_hydra.errors import UserError
from mae_hydra.experiment.holder import holding
from mae_hydra.experiment.many.listing import list_runs
from mae_hydra.report import write_report
from mae_hydra.report.folder_page import POINTS, curves_of, id_of
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


def test_no_name_is_anything_but_text(folder: Path, tmp_path: Path) -> None:
    text = write_report(folder, tmp_path / "page").read_text(encoding="utf-8")
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert '"use strict"' in script[:20]
    for hostile in ("<img src=x", "<script>alert", "<b>segment", "\u202e", "\udcff"):
        assert hostile not in text
    assert html.escape("<img src=x onerror=alert(1)>") in text
    assert "\\u003cimg src=x" in text
    [policy] = re.findall(r'Security-Policy" content="([^"]*)"', text)
    assert "default-src &#39;none&#39;" in policy
    assert "unsafe" not in policy.partition("script-src")[2]


def test_pages_of_the_runs_are_linked_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def fake(page: object, run: object, *more: object) -> None:
        made.append(run.directory if hasattr(run, "directory") else more[0])  # type: ignore[attr-defined, arg-type]

    monkeypatch.setattr("mae_hydra.report.report.run_page", fake)
    monkeypatch.setattr("mae_hydra.report.report.sweep_page", fake)
    made_run(tmp_path / "runs/a b", ["seed=1"], cells=False)
    made_run(tmp_path / "sweeps/grid/job", ["seed=1"], cells=False)
    assert main(["report", str(tmp_path)]) == 0
    assert not made
    assert main(["report", str(tmp_path), "--pages"]) == 0
    assert sorted(path.name for path in made) == ["a b", "grid", "job"]
    asked = [each for each in Reader(tmp_path / "report/index.html").asked if each.endswith("index.html")]
    assert sorted(set(asked)) == ["../runs/a%20b/report/index.html", "../sweeps/grid/job/report/index.html",
                                  "../sweeps/grid/report/index.html"]  # fmt: skip
    assert main(["report", str(tmp_path), "--pages"]) == 0
    assert len(made) == 3  # nothing has changed since
    (tmp_path / "runs/a b/metrics.jsonl").touch()
    changed(tmp_path / "runs/a b", "status.json", state="failed")
    assert main(["report", str(tmp_path), "--pages"]) == 0
    assert [path.name for path in made[3:]] == ["a b"]


def test_a_long_curve_is_thinned_to_means(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", ["seed=1"], cells=False)
    lines = [{"step": step, "train/loss": float(step % 2)} for step in range(1, 1001)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    [row] = list_runs(tmp_path)
    steps, values = curves_of([row])[id_of(row)]["train/loss"]
    assert len(steps) <= POINTS
    assert steps[-1] == 1000
    assert all(0.4 < value < 0.6 for value in values)


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

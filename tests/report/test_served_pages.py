"""The pages of single runs while they are served."""

import http.client
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_runs import made_run

from mae_hydra.errors import UserError
from mae_hydra.experiment.holder import holding
from mae_hydra.report import serve as module
from mae_hydra.report.folder_page import id_of_path
from mae_hydra.report.serve import HEADERS, Site, serve, server_of


def test_a_served_sweep_has_a_page_that_is_made_anew_only_when_one_of_its_jobs_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def write(directory: Path, out: Path, link: Callable[[Path], str | None]) -> Path:
        made.append(directory)
        assert link(directory) == f"/{id_of_path(directory)}/"
        out.mkdir(exist_ok=True)
        (out / "index.html").write_text(str(len(made)))
        return out / "index.html"

    monkeypatch.setattr(module, "write_report", write)
    (tmp_path / "outputs").mkdir()
    monkeypatch.chdir(tmp_path / "outputs")
    grid = Path("sweeps", "grid")
    job, other = (made_run(grid / name, [], cells=False, state=state) for name, state in
                  (("a", "completed"), ("b", "running")))  # fmt: skip
    (job / "tables").mkdir()
    status = json.loads((other / "status.json").read_text())
    (other / "status.json").write_text(json.dumps(status | {"end": None, "value": None}))
    (job / "status.json").write_text(json.dumps(status | {"state": "completed", "start": 1000, "end": 1060}))
    site = Site(Path(), 7)

    def asked(directory: Path) -> str | None:
        return site.answer(f"/{id_of_path(directory)}/")

    assert [asked(place) for place in (grid, job, grid, job)] == ["1", "2", "1", "2"]
    for number, file in enumerate((job / "metrics.jsonl", job / "status.json"), 3):
        at = file.stat()
        os.utime(file, ns=(at.st_atime_ns, at.st_mtime_ns + 1))  # as large as before
        assert asked(grid) == str(number)
    assert asked(job) == "5"
    for number, file in enumerate(("config.yaml", "figures/new.png"), 6):
        (job / file).write_text("checkpoint: {monitor: val/x}")
        assert [asked(grid), asked(job)] == ["4", str(number)]
    assert asked(other) == "8"
    with holding(other):  # no file of the sweep changes, but one of its jobs lives
        assert [asked(grid), asked(other)] == ["9", "10"]
    assert asked(other) == "11"  # it died, which is in no file either
    lines = (job / "metrics.jsonl").read_text().partition("\n")[0]
    (job / "metrics.jsonl").write_text(lines.replace("10", "55") + "\n")
    told = str(site.answer("/"))
    assert '"step":55' in told  # of one that is complete, too
    assert "<h1>outputs</h1>" in told
    assert 'data-refresh="7"' in told
    assert all(f'href="/{id_of_path(Path(each))}/"' in told for each in ("sweeps/grid", "sweeps/grid/a"))
    assert "folder of 2 runs" in told
    assert told.index(">sweeps/grid/b<") < told.index(">sweeps/grid/a<")  # the newest first
    assert asked(job) == "12"
    at = (job / "status.json").stat()
    (job / "status.json").write_text((job / "status.json").read_text() + " ")
    os.utime(job / "status.json", ns=(at.st_atime_ns, at.st_mtime_ns))  # as old as before
    assert asked(job) == "13"
    site.close()


def test_a_server_answers_for_a_browser_of_this_machine_alone_and_gives_nothing_to_keep_or_to_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, 1)

    def answer(path: str) -> str | None:
        if path == "/broken/":
            raise UserError("a picture is broken")
        if path == "/gone/":
            raise FileNotFoundError("it was removed")
        return "ä page\udcff" if path == "/" else None

    monkeypatch.setattr(site, "answer", answer)
    with server_of(site, 0) as server:
        assert server.server_address[0] == "127.0.0.1"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        found, hosts = {}, {}
        for method, path in (("GET", "/?x=1"), ("HEAD", "/"), ("GET", "/no/"), ("GET", "/broken/"), ("GET", "/gone/")):
            connection = http.client.HTTPConnection(*server.server_address[:2])
            connection.request(method, path)
            told = connection.getresponse()
            assert {name: told.headers[name] for name in HEADERS if name != "Content-Type"} == {
                "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
                "Referrer-Policy": "no-referrer",
            }  # fmt: skip
            found[method, path] = told.status, told.headers["Content-Type"].split(";")[0], told.read().decode()
            connection.close()
        for host in ("127.0.0.1", "localhost:80", "[::1]:9", "", "127.0.0.1.example", "[::2]:9", "0.0.0.0"):
            connection = http.client.HTTPConnection(*server.server_address[:2])
            connection.request("GET", "/", headers={"Host": host})
            hosts[host] = connection.getresponse().status
            connection.close()
        server.shutdown()
    site.close()
    assert list(found.values()) == [
        (200, "text/html", "ä page\\udcff"), (200, "text/html", ""), (404, "text/plain", "there is no such page"),
        (500, "text/plain", "a picture is broken"), (500, "text/plain", "it was removed"),
    ]  # fmt: skip
    assert list(hosts.values()) == [200, 200, 200, 403, 403, 403, 403]


def test_what_cannot_be_served_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pages").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "pages"))
    (tmp_path / "file").touch()
    for name in ("file", "nothing"):
        with pytest.raises(UserError, match=rf"^\S+/{name} is no folder; give one that holds runs$"):
            Site(tmp_path / name, 1)
    site = Site(tmp_path, 1)
    with server_of(site, 0) as taken:
        for port in (taken.server_address[1], 65536, -1):
            with pytest.raises(UserError, match=rf"^port {port} of 127\.0\.0\.1 cannot be had \(.+--port, 0 for any$"):
                server_of(site, port)
        with pytest.raises(UserError, match="port 65536 of"):
            serve(tmp_path, 65536, 1)
    site.close()
    assert not list((tmp_path / "pages").iterdir())


def test_a_served_folder_leaves_nothing_behind_when_it_is_asked_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "pages"))
    (tmp_path / "pages").mkdir()
    left: list[int] = []
    sites: list[tuple[Path, int]] = []

    def site(folder: Path, every: int) -> Site:
        sites.append((folder, every))
        return Site(folder, every)

    def stopped(server: Any) -> None:
        left.append(len(list((tmp_path / "pages").iterdir())))
        ports.append(server.server_address[1])
        signal.raise_signal(signal.SIGTERM)

    ports: list[int] = []
    monkeypatch.setattr(module, "Site", site)
    monkeypatch.setattr(module.ThreadingHTTPServer, "serve_forever", stopped)
    before = signal.getsignal(signal.SIGTERM)
    try:
        serve(tmp_path, 0, 7)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert left == [1]
    assert not list((tmp_path / "pages").iterdir())
    first, second = capsys.readouterr().out.splitlines()
    [port] = ports
    assert first.startswith(f"http://127.0.0.1:{port}/ shows {tmp_path}, read-only, for this machine")
    assert f"ssh -L {port}:127.0.0.1:{port} " in second
    assert sites == [(tmp_path, 7)]

"""`mae-hydra report --serve`: the same pages while runs train, for a browser on this machine.

Bound to 127.0.0.1. It answers GET alone, for addresses that it has given out itself: no part of one is ever a path.
Nothing is written but to a folder for temporary files, where the pages of runs are made when they are asked for.
"""

import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mae_hydra.errors import UserError
from mae_hydra.experiment.many.listing import Row, newest_first, read_row, run_directories, sweeps_of
from mae_hydra.names import clean
from mae_hydra.owned import Owned
from mae_hydra.report.folder_page import folder_page, id_of_path
from mae_hydra.report.page import Page
from mae_hydra.report.report import write_report

ADDRESS = "127.0.0.1"
NAMES = {ADDRESS, "localhost", "[::1]"}  # of this machine: another one in a request is another site's
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
BY_HEARTBEAT = ("running", "dead")  # no file of the run tells which
Stamp = tuple[tuple[int, int], ...]


class Site:
    """The pages of a folder of runs, made anew when what they tell has changed. `every`: seconds between two looks."""

    def __init__(self, folder: Path, every: int) -> None:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder; give one that holds runs")
        self.folder, self.every = folder, every
        self._pages = tempfile.TemporaryDirectory(prefix="mae_hydra-pages-")
        self._rows: dict[Path, tuple[Stamp, Row]] = {}
        self._made: dict[Path, tuple[tuple[Stamp, list[str]], Path]] = {}
        self._lock = threading.Lock()  # one page is made at a time: figures are no matter of threads

    def answer(self, path: str) -> str | None:
        """The page at the path of an address; None where there is none."""
        with self._lock:
            if path == "/":
                return self._list()
            places = {_address(place): place for place in self._places()}
            return self._own_page(places[path]) if path in places else None

    def close(self) -> None:
        self._pages.cleanup()

    def _all(self) -> list[Row]:
        rows = {}
        for directory in run_directories(self.folder):
            stamp = _stamp(directory)
            known = self._rows.get(directory)
            if known is None or known[0] != stamp or known[1].state in BY_HEARTBEAT:
                known = stamp, read_row(directory, self.folder)
            rows[directory] = known
        self._rows = rows
        return newest_first(row for _, row in rows.values())

    def _places(self) -> list[Path]:
        rows = self._all()
        return [row.run.directory for row in rows] + [sweep.directory for sweep in sweeps_of(rows)]

    def _list(self) -> str:
        rows = self._all()
        page = Page(Owned(Path(self._pages.name), "report", trusted=True), refresh=self.every)
        folder_page(page, rows, _address)
        return page.rendered(title=self.folder.resolve().name, kind=f"folder of {len(rows)} runs")

    def _own_page(self, directory: Path) -> str:
        states = [row.state for place, (_, row) in self._rows.items() if directory in (place, *place.parents)]
        stamp = _stamp(directory), states
        known = self._made.get(directory)
        if known is None or known[0] != stamp:
            known = stamp, write_report(directory, Path(self._pages.name) / id_of_path(directory), link=_address)
            self._made[directory] = known
        return known[1].read_text(encoding="utf-8")


def _address(directory: Path) -> str:
    """Of the page of a run or a sweep; it is no path."""
    return f"/{id_of_path(directory)}/"


def _stamp(directory: Path) -> Stamp:
    """The sizes and times of what a page tells of; of a sweep those of its jobs."""
    files = [directory / name for name in ("status.json", "config.yaml", "metrics.jsonl", "figures")]
    files += [*directory.glob("*/status.json"), *directory.glob("*/metrics.jsonl")]
    found = []
    for file in files:
        try:
            about = file.stat()
        except OSError:
            continue
        found.append((about.st_mtime_ns, about.st_size))
    return tuple(found)


def server_of(site: Site, port: int) -> ThreadingHTTPServer:
    """A server that is bound, and answers once it is told to; UserError where the port is taken."""
    try:
        return ThreadingHTTPServer((ADDRESS, port), _handler(site.answer))
    except (OSError, OverflowError) as error:
        raise UserError(
            f"port {port} of {ADDRESS} cannot be had ({error}); take another one with --port, 0 for any"
        ) from error


def serve(folder: Path, port: int, every: int) -> None:
    """Answer until Ctrl-C or SIGTERM."""
    site = Site(folder, every)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with server_of(site, port) as server:
            found = server.server_address[1]
            print(f"http://{ADDRESS}:{found}/ shows {clean(folder)}, read-only, for this machine; Ctrl-C ends it")
            print(f"from another one: ssh -L {found}:{ADDRESS}:{found} {socket.gethostname()}", flush=True)
            with suppress(KeyboardInterrupt):
                server.serve_forever()
    finally:
        site.close()


def _handler(answer: Callable[[str], str | None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "mae_hydra", ""

        def do_GET(self) -> None:
            name = (self.headers.get("Host") or "").rpartition(":")
            if (name[0] or name[2]) not in NAMES:  # a site elsewhere whose name was made to lead here
                return self._send(403, "this is for a browser on the machine itself")
            try:
                page = answer(self.path.partition("?")[0])
            except (UserError, OSError) as error:
                return self._send(500, clean(error))
            return self._send(404, "there is no such page") if page is None else self._send(200, page)

        do_HEAD = do_GET

        def _send(self, code: int, text: str) -> None:
            content = text.encode(errors="backslashreplace")
            self.send_response(code)
            kind = {} if code == 200 else {"Content-Type": "text/plain; charset=utf-8"}
            for header, value in (HEADERS | kind).items():
                self.send_header(header, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    return Handler

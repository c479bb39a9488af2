"""A web server and a hub on this machine, with the faults that real ones have."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Served:
    """`files`: by path. `repositories`: by org/name, files by name. `asked`: (method, path, Range) of every request.

    `break_after`: bytes after which an answer stops, once for each number. `told_size`: what is said in place of the
    size. `sends_on`: path -> where it redirects to. `untold`: whether sizes are left out. `fails_with`:
    the numbers of the next answers.
    """

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    break_after: list[int] = field(default_factory=list)
    told_size: int | None = None
    told_sha256: str | None = None
    sends_on: dict[str, str] = field(default_factory=dict)
    untold: bool = False
    fails_with: list[int] = field(default_factory=list)
    commit: str = COMMIT

    def bodies(self) -> list[tuple[str, str, str | None]]:
        """The requests that would have a file's bytes."""
        return [each for each in self.asked if each[0] == "GET" and not each[1].startswith("/api/")]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Served

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.served.asked.append((self.command, path, self.headers.get("Range")))
        if self.served.fails_with:
            self._send(self.served.fails_with.pop(0), b"", {}, with_body)
        elif path in self.served.sends_on:
            self._send(302, b"", {"Location": self.served.sends_on[path]}, with_body)
        elif path.startswith("/api/models/"):
            self._describe(path.removeprefix("/api/models/"), with_body)
        elif "/resolve/" in path:
            repository, _, rest = path.lstrip("/").partition("/resolve/")
            name = rest.partition("/")[2]
            content = self.served.repositories.get(repository, {}).get(name)
            self._file(content, {"X-Repo-Commit": self.served.commit}, with_body)
        else:
            self._file(self.served.files.get(path), {}, with_body)

    def _describe(self, rest: str, with_body: bool) -> None:
        repository, _, revision = rest.partition("/revision/")
        files = self.served.repositories.get(repository)
        if files is None:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, with_body)
            return
        if revision not in ("", "main", "v1", self.served.commit):
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"}, with_body)
            return
        siblings: list[dict[str, Any]] = []
        for name, content in files.items():
            digest = self.served.told_sha256 or sha256(content)
            large = {"lfs": {"size": len(content), "sha256": digest, "pointerSize": 130}}
            small = name.endswith(".json")
            siblings.append({"rfilename": name, "size": len(content), "blobId": "0", **({} if small else large)})
        told = {"id": repository, "modelId": repository, "sha": self.served.commit, "siblings": siblings, "tags": []}
        self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"}, with_body)

    def _file(self, content: bytes | None, headers: dict[str, str], with_body: bool) -> None:
        if content is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, with_body)
            return
        tag = f'"{sha256(content)}"'
        headers = {**headers, "ETag": tag, "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range")
        same = self.headers.get("If-Range", tag) == tag
        if wanted and same and with_body:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= len(content):
                self._send(416, b"", headers, with_body)
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._send(206, content[start:], headers, with_body)
            return
        self._send(200, content, headers, with_body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        of_a_file = "ETag" in headers and status in (200, 206)
        if self.served.untold and of_a_file:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            told = self.served.told_size if of_a_file else None
            self.send_header("Content-Length", str(len(content) if told is None else told))
            self.close_connection = told is not None
        self.end_headers()
        if with_body:
            if of_a_file and self.served.break_after:
                content = content[: self.served.break_after.pop(0)]
                self.close_connection = True
            self.wfile.write(content)


@contextmanager
def serving() -> Iterator[Served]:
    """The server, until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    served = Served(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = type("Handler", (_Handler,), {"served": served})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

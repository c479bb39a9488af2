"""One file from a web server: within the size that it tells, from where an earlier attempt broke off, checked."""

import http.client
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from mae_hydra.errors import UserError, short
from mae_hydra.terminal import watched
from mae_hydra.weights.named.address import is_loopback
from mae_hydra.weights.named.cache import check_room

TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 3
PIECE = 1 << 20  # bytes
STATE = "download.json"  # beside a part of a file: of which version, and of how many bytes it is
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class Unreachable(Exception):
    """Why there is no answer, in a few words."""


class _Told(NamedTuple):
    """What an answer says of the file: all its bytes (None: untold), where in it the body begins, which version."""

    size: int | None
    start: int
    version: str


class _Redirects(HTTPRedirectHandler):
    """Followed to nowhere that is less safe than the address that was typed."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        parts = urlsplit(newurl)
        if parts.scheme != "https" and not (parts.scheme == req.type == "http" and is_loopback(parts.hostname or "")):
            raise Unreachable(f"it sends on to {short(newurl)}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def file_name(url: str) -> str:
    """What the file is called in the cache."""
    name = re.sub(r"[^\w.+-]", "_", unquote(urlsplit(url).path.rpartition("/")[2]), flags=re.ASCII).lstrip(".")
    return name[-120:] or "weights"


def download(url: str, file: Path, *, unsized: bool) -> None:
    """Have what lies at `url` in `file`, going on with what an earlier attempt has left there.

    `unsized`: whether a server may leave the size untold, because the digest is known. Unreachable, after which what
    has come stays for the next attempt; UserError where the answer is none, or too large.
    """
    opener = build_opener(_Redirects)
    for attempt in range(ATTEMPTS):
        try:
            with _opened(opener, url, file) as (answer, header):
                if header.size is None and not unsized:
                    raise UserError(
                        f"{short(url)} comes without its size, so that a part could be taken for the whole; add "
                        "#sha256=<hex>, or download it yourself"
                    )
                _receive(answer, header, url, file)
            file.with_name(STATE).unlink(missing_ok=True)
            return
        except (URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            if isinstance(error, HTTPError):
                error.close()
                if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and attempt + 1 < ATTEMPTS:
                    file.unlink(missing_ok=True)
                    continue
                if error.code >= http.client.INTERNAL_SERVER_ERROR or error.code == http.client.TOO_MANY_REQUESTS:
                    raise Unreachable(f"the server says {error.code} {error.reason}") from error
                raise UserError(f"{short(url)} cannot be had: the server says {error.code} {error.reason}") from error
            if attempt + 1 == ATTEMPTS:
                raise Unreachable(str(getattr(error, "reason", error)) or type(error).__name__) from error


@contextmanager
def _opened(opener: OpenerDirector, url: str, file: Path) -> Iterator[tuple[IO[bytes], _Told]]:
    headers = {"User-Agent": "mae-hydra", "Accept-Encoding": "identity"}
    have = file.stat().st_size if file.is_file() else 0
    version = _state(file).get("version")
    if have and isinstance(version, str) and version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    with opener.open(Request(url, headers=headers), timeout=TIMEOUT) as answer:
        yield answer, _told(answer, have)


def _told(answer: Any, have: int) -> _Told:
    headers = answer.headers
    version = headers.get("ETag") or headers.get("Last-Modified") or ""
    version = "" if version.startswith("W/") else version  # a weak one stands for several versions
    part = RANGE.fullmatch(headers.get("Content-Range") or "")
    if answer.status == http.client.PARTIAL_CONTENT:
        if part is None or int(part[1]) != have:
            raise http.client.HTTPException("it sends another part than was asked for")
        return _Told(int(part[2]), have, version)
    length = headers.get("Content-Length") or ""
    return _Told(int(length) if length.isdecimal() else None, 0, version)


def _receive(answer: IO[bytes], header: _Told, url: str, file: Path) -> None:
    check_room((header.size or 0) - header.start, file.parent, url)
    columns = (TextColumn(short(file.name, 40)), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True, disable=not watched())
    if not header.start:
        size = "" if header.size is None else f" ({header.size / 1e6:.1f} MB)"
        print(f"downloading {short(url, 300)}{size}", file=sys.stderr)
    file.with_name(STATE).write_text(json.dumps({"version": header.version}))
    have = header.start
    with bar, open(file, "r+b" if header.start else "wb") as out:
        out.seek(header.start)
        task = bar.add_task("", total=header.size, completed=have)
        while piece := answer.read(PIECE):
            have += len(piece)
            if header.size is not None and have > header.size:
                raise UserError(f"{short(url)} sends more than the {header.size} bytes that it told; it is not taken")
            out.write(piece)
            bar.update(task, completed=have)
    if header.size is not None and have < header.size:
        raise http.client.HTTPException(f"it broke off after {have} of {header.size} bytes")


def _state(file: Path) -> Mapping[str, Any]:
    try:
        state = json.loads(file.with_name(STATE).read_bytes())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}

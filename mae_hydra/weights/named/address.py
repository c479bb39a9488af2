"""An address of weights, taken apart: `hf-hub:<org>/<name>[@revision]`, `timm/<name>`, `https://…`, each with `#…`.

Behind the # stand, joined by &: `sha256=<64 hex digits>`, which what comes has to have; `file=<name>`, which of the
files of a repository is meant; `part=<name>`, which of the state dicts in a file, as behind the @ of a path.
"""

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from mae_hydra.errors import UserError, short

HUB, TIMM, WEB = "hf-hub:", "timm/", ("https://", "http://")
NAME = r"[A-Za-z0-9_][\w.-]*"
REPOSITORY = re.compile(rf"(?P<where>{NAME}(?:/{NAME})?)(?:@(?P<revision>[\w][\w./-]*))?", re.ASCII)
OF_TIMM = re.compile(r"timm/[\w.]+(#.*)?", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}")
OPTIONS = ("sha256", "file", "part")


class Address(NamedTuple):
    """`text`: as it was typed, without what stands behind the #. `where`: org/name, a name of timm's, or the URL."""

    text: str
    kind: Literal["hf-hub", "timm", "web"]
    where: str
    revision: str = "main"
    sha256: str = ""
    file: str = ""
    part: str = ""


def is_address(text: object) -> bool:
    """Whether `text` stands for weights that lie elsewhere; a file or folder of that very name is meant before."""
    if not isinstance(text, str):
        return False
    if text.lower().startswith((HUB, *WEB)):
        return True
    return OF_TIMM.fullmatch(text) is not None and not Path(text).exists()


def parse(text: str) -> Address:
    """UserError where it is no whole address."""
    where, _, fragment = text.partition("#")
    options = _options(text, fragment)
    if where.lower().startswith(WEB):
        if "file" in options:
            raise UserError(f"{short(text)} is one file: #file= is for repositories; leave it out")
        _check_transport(where, options)
        return Address(where, "web", where, **options)
    if where.startswith(TIMM):
        return Address(where, "timm", where.removeprefix(TIMM), **options)
    match = REPOSITORY.fullmatch(where[len(HUB) :])
    if match is None or ".." in where:
        raise UserError(
            f"{short(text)} is no address; the form is hf-hub:<org>/<name> or hf-hub:<org>/<name>@<revision>"
        )
    return Address(where, "hf-hub", match["where"], match["revision"] or "main", **options)


def _options(text: str, fragment: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in filter(None, fragment.split("&")):
        key, _, value = pair.partition("=")
        if key not in OPTIONS or not value:
            raise UserError(f"{short(text)}: behind the # stand sha256=<hex>, file=<name>, part=<name>, with & between")
        options[key] = value.lower() if key == "sha256" else value
    if "sha256" in options and not SHA256.fullmatch(options["sha256"]):
        raise UserError(f"{short(text)}: sha256= takes the 64 hexadecimal digits that sha256sum prints")
    if not lies_within(options.get("file", "")):
        raise UserError(f"{short(text)}: file= takes the name of a file within the repository")
    return options


def lies_within(name: str) -> bool:
    """Whether a name leads to nowhere but below the folder that it is in."""
    return not name.startswith("/") and "\\" not in name and not {"..", "."} & set(name.split("/"))


def _check_transport(url: str, options: dict[str, str]) -> None:
    """UserError where anybody on the way could put something else in the place of the weights."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UserError(f"{short(url)} is no address ({error})") from error
    if not host or parts.path in ("", "/"):
        raise UserError(f"{short(url)} names no file; the form is https://<host>/<file>")
    if parts.username is not None:
        raise UserError(
            "an address with a user name or a password would be recorded with the run; download it yourself"
        )
    if parts.scheme.lower() == "http" and not is_loopback(host) and "sha256" not in options:
        raise UserError(
            f"{short(url)} is not encrypted, so anybody on the way could send something else; use https://, or add "
            "#sha256=<hex>"
        )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False

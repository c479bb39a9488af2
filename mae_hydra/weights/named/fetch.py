"""From an address to a file in the cache, which is downloaded where it is not there yet and a person asked for it."""

import hashlib
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from mae_hydra.errors import UserError, short
from mae_hydra.weights.named import hub, web
from mae_hydra.weights.named.address import Address, parse
from mae_hydra.weights.named.cache import Entry, digest_of, root
from mae_hydra.weights.named.known import check_published
from mae_hydra.weights.named.timm_names import looked_up


class Fetched(NamedTuple):
    """`path`: the file, or the folder of a repository whose weights are in several. `name`: the address that was typed.

    `revision`: the commit of a repository, "" where it is not known. `part`: which state dict of the file is meant.
    `verified`: whether it has the SHA-256 that the address says.
    """

    path: Path
    name: str
    revision: str
    part: str
    verified: bool


def fetch(text: str, *, download: bool) -> Fetched:
    """The file that the address `text` stands for. `download`: whether a person asked for it in this very command.

    UserError where it is not in the cache and may not or cannot be downloaded, or is not what the address says.
    """
    said = parse(text)
    address = looked_up(said) if said.kind == "timm" else said
    entry = Entry(place_of(address))
    fresh = False  # of this very call, and checked
    if _whole(entry, address) is None:
        if not download:
            raise UserError(
                f"{short(text)} is not in the cache ({entry.folder}), and nothing is downloaded because a file says "
                f"so; where that is right, type it: init_from={short(text)}"
            )
        with entry.alone():
            if _whole(entry, address) is None:  # another process may just have had it
                _download(address, entry)
                fresh = True
    main = _whole(entry, address)
    assert main is not None
    if not fresh:
        entry.check(text)
        _check_kept(entry.folder / main, address, entry)
    several = main.endswith(hub.INDEX)
    path = (entry.folder / main).parent if several else entry.folder / main
    revision = entry.record.get("revision")
    return Fetched(path, said.text, revision if isinstance(revision, str) else "", address.part, bool(address.sha256))


def place_of(address: Address) -> Path:
    """The folder in the cache of a repository or of a file: one that a person can find, of this address alone."""
    if address.kind == "hf-hub":
        version = quote(address.revision, safe="").replace("%", "-")
        version += f"--{hashlib.sha256(address.file.encode()).hexdigest()[:12]}" if address.file else ""
        return root() / Path("hf-hub", address.where.replace("/", "--"), version)
    digest = hashlib.sha256(address.where.encode()).hexdigest()[:12]
    return root() / Path("web", quote(urlsplit(address.where).hostname or "", safe="").replace("%", "-"), digest)


def _whole(entry: Entry, address: Address) -> str | None:
    """The file by which an entry is known, where it is there."""
    if not entry.folder.is_dir():
        return None
    main = entry.record.get("main")
    if main is None and address.kind == "web":
        main = web.file_name(address.where)
    elif main is None:
        names = [path.relative_to(entry.folder).as_posix() for path in entry.folder.rglob("*") if path.is_file()]
        main = hub.main_file(names, address.file)
    return main if main is not None and (entry.folder / main).is_file() else None


def _download(address: Address, entry: Entry) -> None:
    try:
        if address.kind == "hf-hub":
            hub.download(address, entry)
        else:
            _from_the_web(address, entry)
    except web.Unreachable as error:
        raise UserError(_by_hand(address, entry, str(error))) from error


def _from_the_web(address: Address, entry: Entry) -> None:
    name = web.file_name(address.where)
    file = entry.partial / name
    try:
        web.download(address.where, file, unsized=bool(address.sha256))
    except UserError:
        entry.drop()
        raise
    digest = digest_of(file)
    hub.check_digest(address, digest, entry)
    try:
        if not address.sha256:
            check_published(address.where, file, digest)
        refuse_text(file)
    except UserError:
        entry.drop()
        raise
    entry.keep(name, {name: digest}, {"address": address.text})


def refuse_text(file: Path) -> None:
    """UserError where a page has come in place of weights, as from a server that asks for a login."""
    with file.open("rb") as stream:
        begin = stream.read(512).lstrip().lower()
    if begin.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise UserError(
            "what came is a web page and no weights: the address is wrong or asks for a login; nothing is kept"
        )


def _check_kept(file: Path, address: Address, entry: Entry) -> None:
    """Compare a file of the cache with what is known of it. It is not removed: by another address it may be right."""
    if not address.sha256:
        return
    digest = entry.record.get("files", {}).get(file.name) or digest_of(file)  # as noted, which has just been compared
    if digest != address.sha256:
        raise UserError(
            f"{file} has sha256 {digest}, and the address says {address.sha256}; it is not used. Where the address is "
            f"right, remove {entry.folder}, and it is downloaded again"
        )


def _by_hand(address: Address, entry: Entry, reason: str) -> str:
    if address.kind == "web":
        return (
            f"{short(address.where, 300)} cannot be reached ({short(reason)}); the same command goes on from where it "
            f"broke off, or put the file at {entry.folder / web.file_name(address.where)}"
        )
    file = address.file or "model.safetensors (or pytorch_model.bin) and config.json"
    return (
        f"{address.text} cannot be reached ({short(reason)}); the same command goes on from where it broke off, or put "
        f"{file} of https://huggingface.co/{address.where} into {entry.folder}"
    )

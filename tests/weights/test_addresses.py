"""Addresses, servers' answers and the cache, each rule by hand: without a server and without a download."""

import http.client
import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from served import sha256

from mae_hydra.errors import UserError
from mae_hydra.weights.named import KNOWN, cache, fetch, hub, known, parse, web
from mae_hydra.weights.named.address import Address, is_loopback, lies_within
from mae_hydra.weights.named.fetch import Fetched, place_of, refuse_text
from mae_hydra.weights.named.timm_names import looked_up

DIGEST = "ab" * 32


def test_an_address_is_taken_apart_at_its_signs() -> None:
    assert parse(f"hf-hub:org/name@v1/x#file=a/b.bin&part=ema&sha256={DIGEST}") == Address(
        "hf-hub:org/name@v1/x", "hf-hub", "org/name", "v1/x", DIGEST, "a/b.bin", "ema"
    )
    assert parse("HF-HUB:name") == Address("HF-HUB:name", "hf-hub", "name")
    url = "https://a.b:8443/c.pth?d=1"
    assert parse(f"{url}#part=ema") == Address(url, "web", url, part="ema")
    assert parse("timm/vit.mae") == Address("timm/vit.mae", "timm", "vit.mae")
    with pytest.raises(UserError, match="is one file: #file= is for repositories"):
        parse(f"{url}#file=a")
    for text in ("hf-hub:a/b#part=", "hf-hub:a/b#part", "hf-hub:a/b#x=1", "hf-hub:a/b#part=a&x=1"):
        with pytest.raises(UserError, match="behind the # stand"):
            parse(text)


def test_what_is_not_encrypted_comes_from_this_machine_or_has_a_digest() -> None:
    for url in ("http://localhost/a", "http://127.0.0.1:80/a", "http://[::1]/a", "https://a.b/c",
                f"http://a.b/c#sha256={DIGEST}"):  # fmt: skip
        assert parse(url).kind == "web"
    for url in ("http://a.b/c", "http://localhost.b/c", "HTTP://10.0.0.1/c#part=ema"):
        with pytest.raises(UserError, match="is not encrypted"):
            parse(url)
    for url in ("https://me@a.b/c", "https://me:secret@a.b/c", "https://@a.b/c"):
        with pytest.raises(UserError, match="would be recorded"):
            parse(url)
    assert [is_loopback(host) for host in ("localhost", "127.9.9.9", "::1", "8.8.8.8", "a.localhost")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_a_name_of_a_file_leads_to_nowhere_but_below() -> None:
    within, elsewhere = ["", "a", "a/b.c", "a..b/..c"], ["/a", "..", "a/../b", "a/..", "./a", "a/.", "a\\b"]
    assert [lies_within(name) for name in within + elsewhere] == [True] * 4 + [False] * 7
    names = {
        url: web.file_name(url) for url in ("https://a/b/c d.pth", "https://a/", "https://a/" + "x" * 200 + ".pth")
    }
    assert list(names.values()) == ["c_d.pth", "weights", "x" * 116 + ".pth"]


def test_each_address_has_a_place_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MAE_HYDRA_CACHE", str(tmp_path))
    addresses = ["hf-hub:a/b", "hf-hub:a/b@v1", "hf-hub:a/b#file=x", "hf-hub:a/b#file=y", "hf-hub:b/a", "https://a.b/c",
                 "https://a.b/d"]  # fmt: skip
    assert len({place_of(parse(text)) for text in addresses}) == len(addresses)
    same = [place_of(parse(f"hf-hub:a/b{more}")) for more in ("", "@main", "#part=ema", f"#sha256={DIGEST}")]
    assert same == [tmp_path / "hf-hub/a--b/main"] * 4


def test_each_file_of_an_entry_is_compared_and_the_one_it_is_known_by_comes_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entry = cache.Entry(tmp_path / "entry")
    entry.partial.mkdir()
    contents = {"model.safetensors": b"weights", "config.json": b"{}", "more/x": b"x"}
    for name, content in contents.items():
        (entry.partial / name).parent.mkdir(exist_ok=True)
        (entry.partial / name).write_bytes(content)
    moved: list[str] = []
    replaced = cache.os.replace
    monkeypatch.setattr(cache.os, "replace", lambda old, new: (moved.append(Path(new).name), replaced(old, new)))
    digests = {name: sha256(content) for name, content in contents.items()}
    entry.keep("model.safetensors", digests, {"address": "said"})
    assert [name for name in moved if name in ("model.safetensors", "config.json", "x")] == [
        "config.json", "x", "model.safetensors",
    ]  # fmt: skip
    assert entry.record == {"address": "said", "main": "model.safetensors", "files": digests}
    assert not entry.partial.exists()
    entry.check("said")
    for name, content in contents.items():
        (entry.folder / name).write_bytes(content + b" ")
        with pytest.raises(UserError, match=rf"{name} is not what was downloaded for said"):
            entry.check("said")
        (entry.folder / name).write_bytes(content)
    for wrong in ("[]", "{}", '{"files": {}}', '{"files": [], "main": "a"}', "{"):
        (entry.folder / cache.RECORD).write_text(wrong)
        assert entry.record == {}


def test_a_digest_is_of_the_kind_that_the_table_tells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    file.write_bytes(b"abc")
    md5, sha = "900150983cd24fb0d6963f7d28e17f72", sha256(b"abc")  # of RFC 1321
    assert (cache.digest_of(file), cache.digest_of(file, "md5")) == (sha, md5)
    for digest, told in (
        (f"md5 {md5[:6]}", ""),
        (f"sha256 {sha[:8]}", ""),
        ("", ""),
        (f"md5 {sha[:6]}", f"its md5 is {md5}, and should begin with {sha[:6]}; "),
        (f"sha256 {md5[:8]}", f"its sha256 is {sha}, and should begin with {md5[:8]}; "),
    ):
        monkeypatch.setattr(known, "KNOWN", (KNOWN[0]._replace(address="https://a.b/c", digest=digest),))
        known.check_published("https://a.b/other", file, sha)
        with pytest.raises(UserError, match=told) if told else nullcontext():
            known.check_published("https://a.b/c", file, sha)


def test_a_file_that_was_put_into_the_cache_by_hand_is_compared_with_what_its_address_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MAE_HYDRA_CACHE", str(tmp_path))
    address = "https://a.b/c.pth"
    entry = cache.Entry(place_of(parse(address)))
    entry.folder.mkdir(parents=True)
    file = entry.folder / "c.pth"
    file.write_bytes(b"abc")
    for more, verified in (("", False), (f"#sha256={sha256(b'abc')}", True)):
        assert fetch(f"{address}{more}", download=False) == Fetched(file, address, "", "", verified)
    with pytest.raises(UserError, match=f"has sha256 {sha256(b'abc')}, and the address says {DIGEST}; it is not used"):
        fetch(f"{address}#sha256={DIGEST}", download=False)
    assert file.read_bytes() == b"abc"


def test_a_download_leaves_room_on_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage._replace(free=10**9))
    cache.check_room(10**9 - cache.SPARE, tmp_path, "it")
    with pytest.raises(UserError, match=r"it needs 0\.93 GB more, and .* has 1\.00 GB free"):
        cache.check_room(10**9 - cache.SPARE + 1, tmp_path, "it")


def test_an_answer_tells_its_size_its_beginning_and_its_version() -> None:
    def told(have: int = 0, status: int = http.client.OK, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web._told(SimpleNamespace(headers=named, status=status), have)

    assert told(Content_Length="12", ETag='"a"') == (12, 0, '"a"')
    assert told(Content_Length="12", Last_Modified="Monday") == (12, 0, "Monday")
    assert told(5, ETag='W/"a"') == (None, 0, "")  # a weak one stands for several versions
    assert told(Content_Length="-1") == (None, 0, "")
    part = http.client.PARTIAL_CONTENT
    assert told(5, part, Content_Range="bytes 5-11/12", ETag='"a"') == (12, 5, '"a"')
    for given in ("bytes 4-11/12", "bytes 5-11/*", "bytes */12", ""):
        with pytest.raises(http.client.HTTPException, match="another part"):
            told(5, part, Content_Range=given)


def test_a_page_is_told_from_weights_by_its_beginning(tmp_path: Path) -> None:
    for begin, page in (
        (b" \n<!DOCTYPE x", True),
        (b"<HTML>", True),
        (b"<?xml", True),
        (b"<head>", True),
        (b"PK\3", False),
    ):
        (tmp_path / "a").write_bytes(begin)
        if page:
            with pytest.raises(UserError, match="is a web page and no weights"):
                refuse_text(tmp_path / "a")
        else:
            refuse_text(tmp_path / "a")


@pytest.mark.parametrize(
    ("names", "file", "main"),
    [
        (["config.json", "model.safetensors", "pytorch_model.bin"], "", "model.safetensors"),
        (["other.safetensors", "pytorch_model.bin"], "", "pytorch_model.bin"),
        (["other.safetensors", "a.pth", "b.pth"], "", "other.safetensors"),
        (["a.safetensors", "b.safetensors"], "", None),
        (["a.safetensors", "b.safetensors", "c.pth"], "", "c.pth"),
        (["a.bin", "b.pth"], "", None),
        (["a.safetensors", "b.safetensors"], "b.safetensors", "b.safetensors"),
        (["a.safetensors"], "b.safetensors", None),
        (["model.safetensors.index.json", "x-1.safetensors", "x-2.safetensors"], "", "model.safetensors.index.json"),
        ([], "", None),
    ],
)
def test_the_weights_of_a_repository_are_those_of_the_usual_name_or_the_only_ones(
    names: list[str], file: str, main: str | None
) -> None:
    assert hub.main_file(names, file) == main


def test_parts_lie_beside_their_index(tmp_path: Path) -> None:
    index, address = tmp_path / "index.json", parse("hf-hub:a/b")

    def parts(told: Any) -> list[str]:
        index.write_text(json.dumps(told))
        return hub._parts(index, address)

    assert parts({"weight_map": {"x": "b", "y": "a", "z": "b"}}) == ["a", "b"]
    for told in ({}, [], {"weight_map": []}, {"weight_map": None}):
        with pytest.raises(UserError, match="lists no parts"):
            parts(told)
    for name in ("../a", "x/a", "/a"):
        with pytest.raises(UserError, match="names files elsewhere"):
            parts({"weight_map": {"x": "b", "y": name}})
    stored = [SimpleNamespace(lfs=lfs, size=size) for lfs, size in (({"sha256": "1"}, 3), (None, None), (address, 4))]
    assert [tuple(hub._of(each)) for each in stored] == [(3, "1"), (0, ""), (4, "")]


def test_what_timm_names_keeps_what_was_said_of_it() -> None:
    found = looked_up(parse(f"timm/vit_base_patch16_224.mae#part=ema&sha256={DIGEST}&file=x.bin"))
    assert (found.kind, found.where) == ("hf-hub", "timm/vit_base_patch16_224.mae")
    assert (found.file, found.part, found.sha256) == ("x.bin", "ema", DIGEST)
    assert looked_up(parse("timm/vit_base_patch16_224.mae")).file in ("", "model.safetensors")

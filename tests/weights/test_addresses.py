"""Addresses, servers' answers and the cache, each rule by hand: without a server and without a download."""

import http.client
import io
import json
import re
import shutil
import urllib.request
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from served import sha256

from mae_hydra.errors import UserError
from mae_hydra.weights.named import KNOWN, cache, fetch, hub, known, parse, web
from mae_hydra.weights.named.address import Address, is_loopback, lies_within
from mae_hydra.weights.named.fetch import Fetched, _by_hand, place_of, refuse_text
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


def test_what_timm_describes_is_a_repository_or_a_file_of_it_or_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    described: dict[str, Any] = {
        "whole": {"hf_hub_id": "timm/a"}, "one": {"hf_hub_id": "timm/b", "hf_hub_filename": "b.pth", "url": "https://x"},
        "web": {"url": "https://a.b/c.pth"}, "none": {},
    }  # fmt: skip

    def config_of(name: str, allow_unregistered: bool) -> Any:
        if name == "strange":
            raise RuntimeError
        usual = {"hf_hub_id": None, "hf_hub_filename": None, "url": ""}
        return SimpleNamespace(**usual | described[name]) if name in described else None

    monkeypatch.setattr("timm.models.get_pretrained_cfg", config_of)
    monkeypatch.setattr("timm.models.list_pretrained", lambda: ["vit_a.mae", "vit_b.mae", "resnet"])

    def found(text: str) -> tuple[str, ...]:
        address = looked_up(parse(f"timm/{text}"))
        return address.kind, address.where, address.file, address.sha256, address.part

    assert found("whole") == ("hf-hub", "timm/a", "", "", "")
    assert found("one") == ("hf-hub", "timm/b", "b.pth", "", "")
    assert found(f"one#file=c.bin&sha256={DIGEST}") == ("hf-hub", "timm/b", "c.bin", DIGEST, "")
    assert found(f"web#part=ema&sha256={DIGEST}") == ("web", "https://a.b/c.pth", "", DIGEST, "ema")
    for name, said in (
        ("none", "timm describes none and publishes no weights of it"),
        ("strange", r"timm knows no weights strange \("),
        ("vit_c.mae", r"timm knows no weights vit_c\.mae; there are vit_[ab]\.mae, vit_[ab]\.mae \(timm\.list"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            found(name)


def test_what_a_hub_refuses_is_told_in_the_words_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import errors

    def of(kind: type[Exception], text: str, **more: Any) -> Exception:
        error = kind.__new__(kind)
        Exception.__init__(error, text)
        vars(error).update(more)
        return error

    address = parse("hf-hub:a/b@v2")
    answer: dict[str, Any] = {"response": object()}
    for error, kind, said in (
        (of(errors.GatedRepoError, "x", **answer), UserError, "a/b@v2 is for those who have agreed to its terms"),
        (of(errors.RepositoryNotFoundError, "x", **answer), UserError, "there is no repository a/b on the hub"),
        (of(errors.RevisionNotFoundError, "x", **answer), UserError, "a/b has no revision v2"),
        (of(errors.HfHubHTTPError, "500 busy\nmore", **answer), UserError, "@v2 cannot be had: the hub says 500 busy"),
        (of(errors.HfHubHTTPError, "no answer\nmore", response=None), web.Unreachable, "no answer"),
        (ConnectionError(), web.Unreachable, "ConnectionError"),
        (OSError(28, "No space left on device", "/a/b"), UserError, "name another folder with MAE_HYDRA_CACHE"),
    ):  # fmt: skip
        found = hub._explained(error, address)
        assert (type(found), said in str(found)) == (kind, True), found
        assert "\n" not in str(found)
    named, entry = parse("hf-hub:a/b#file=c.bin"), cache.Entry(Path("/cache/a--b"))
    for address, file in ((named, r"c\.bin"), (parse("hf-hub:a/b"), r"model\.safetensors .* and config\.json")):
        by_hand = _by_hand(address, entry, "no answer")
        assert re.search(rf"\(no answer\).*put {file} of https://huggingface\.co/a/b into /cache/a--b\Z", by_hand)
    assert _by_hand(parse("https://a.b/c.pth"), entry, "no answer").endswith("put the file at /cache/a--b/c.pth")
    names = [*(f"{number:02}.txt" for number in range(20)), "z.bin", "y.pth"]
    assert hub._no_weights(named, names).startswith("hf-hub:a/b has no file c.bin; it holds 00.txt, 01.txt")
    assert hub._no_weights(parse("hf-hub:a/b"), names).endswith("add #file= and one of y.pth, z.bin")
    assert hub._no_weights(parse("hf-hub:a/b"), names[:20]).startswith("hf-hub:a/b holds no weights")


def test_a_body_is_written_behind_what_is_there_and_is_as_long_as_was_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rooms: list[int] = []
    said = io.StringIO()
    monkeypatch.setattr(web, "check_room", lambda size, folder, what: rooms.append(size))
    monkeypatch.setattr(web, "sys", SimpleNamespace(stderr=said))
    monkeypatch.setattr(web, "watched", lambda: False)
    monkeypatch.setattr(web, "PIECE", 3)
    file, url = tmp_path / "a.pth", "https://a.b/a.pth"

    def received(before: bytes, body: bytes, size: int | None, start: int) -> bytes:
        file.write_bytes(before)
        web._receive(io.BytesIO(body), web._Told(size, start, "v1"), url, file)
        assert web._state(file) == {"version": "v1"}
        return file.read_bytes()

    assert received(b"abcde", b"fghijkl", 12, 5) == b"abcdefghijkl"
    assert received(b"abcdefgh", b"FGHIJKL", 12, 5) == b"abcdeFGHIJKL"  # what lies behind is written over
    assert said.getvalue() == ""
    assert received(b"of another version, and longer", b"whole", 5, 0) == b"whole"
    assert received(b"", b"untold", None, 0) == b"untold"
    assert rooms == [7, 7, 5, 0]
    assert said.getvalue() == "downloading https://a.b/a.pth (0.0 MB)\ndownloading https://a.b/a.pth\n"
    monkeypatch.setattr(web, "PIECE", 10**6)
    web._receive(io.BytesIO(b"x" * 2_500_000), web._Told(2_500_000, 0, ""), url, file)
    assert said.getvalue().endswith("(2.5 MB)\n")
    monkeypatch.setattr(web, "PIECE", 3)
    with pytest.raises(UserError, match="sends more than the 4 bytes that it told; it is not taken"):
        received(b"", b"whole", 4, 0)
    with pytest.raises(http.client.HTTPException, match="it broke off after 5 of 6 bytes"):
        received(b"", b"whole", 6, 0)
    for state in ("[]", "{", "null"):
        file.with_name(web.STATE).write_text(state)
        assert web._state(file) == {}


def test_a_redirect_is_to_an_encrypted_address_or_within_this_machine() -> None:
    for origin, target, followed in (
        ("https://a.b/c", "https://d.e/f", True), ("http://127.0.0.1/c", "https://d.e/f", True),
        ("http://127.0.0.1/c", "http://localhost:8/f", True), ("http://127.0.0.1/c", "http://d.e/f", False),
        ("https://a.b/c", "http://127.0.0.1/f", False), ("https://a.b/c", "ftp://d.e/f", False),
        ("https://a.b/c", "file:///f", False),
    ):  # fmt: skip
        asked: Any = (urllib.request.Request(origin), None, 302, "found", {}, target)
        if followed:
            request = web._Redirects().redirect_request(*asked)
            assert request is not None
            assert request.full_url == target
        else:
            with pytest.raises(web.Unreachable, match="which is not encrypted"):
                web._Redirects().redirect_request(*asked)


def test_the_cache_lies_where_it_is_said_and_what_it_cannot_hold_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable, system, place in (
        ("~/mine", "/cache", tmp_path / "mine"), ("", "/cache", Path("/cache/mae_hydra")),
        (None, "", tmp_path / ".cache/mae_hydra"), (None, None, tmp_path / ".cache/mae_hydra"),
    ):  # fmt: skip
        for name, value in ((cache.VARIABLE, variable), ("XDG_CACHE_HOME", system)):
            monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
        assert cache.root() == place
    entry = cache.Entry(tmp_path / "x" / "entry")
    with pytest.raises(UserError, match=rf"{cache.WAY_OUT}"), entry.alone():
        (entry.partial / "none" / "file").write_bytes(b"")
    with entry.alone():
        pass


def test_digests_of_published_files_are_those_of_their_publishers() -> None:
    """MAE's as in the table of its documentation, OpenMMLab's as at the end of the name."""
    mae = {"base": "ViT-B/16", "large": "ViT-L/16", "huge": "ViT-H/14"}
    told = {each.address: (each.model, each.digest) for each in KNOWN}
    for folder, name, digests in (
        ("pretrain", "mae_pretrain_vit_{}.pth", ("8cad7c", "b8b06e", "9bdbb0")),
        ("finetune", "mae_finetuned_vit_{}.pth", ("1b25e9", "51f550", "2541f2")),
        ("pretrain", "mae_pretrain_vit_{}_full.pth", ("", "", "")),
        ("visualize", "mae_visualize_vit_{}.pth", ("", "", "")),
    ):
        for (size, model), digest in zip(mae.items(), digests, strict=True):
            address = f"https://dl.fbaipublicfiles.com/mae/{folder}/{name.format(size)}"
            assert told.pop(address) == (model, digest and f"md5 {digest}")
    sizes = {"base": "ViT-B/16", "large": "ViT-L/16", "huge": "ViT-H/14", "mae-base": "ViT-B/16"}
    for address, (model, digest) in told.items():
        [size] = [size for size in ("base", "large", "huge") if size in address]
        assert model == sizes[size], address
        ends = re.search(r"-([0-9a-f]{8})\.pth\Z", address)
        assert digest == (f"sha256 {ends[1]}" if ends else "")
    kinds = {each.address: each.what for each in KNOWN}
    assert all(("decoder" in what) == ("full" in address or "visualize" in address or "hf-hub" in address)
               for address, what in kinds.items())  # fmt: skip
    assert all(("as they are" in what) == ("visualize" in address or "hf-hub" in address)
               for address, what in kinds.items())  # fmt: skip


def test_a_part_is_gone_on_with_where_its_version_is_known(tmp_path: Path) -> None:
    asked: list[dict[str, str]] = []

    def opened(request: urllib.request.Request, timeout: float) -> Any:
        asked.append({name: value for name, value in request.header_items() if "ange" in name})
        return nullcontext(SimpleNamespace(headers={"Content-Length": "9"}, status=200))

    file, opener = tmp_path / "a.pth", SimpleNamespace(open=opened)
    first = '{"version": "v1"}'
    for have, state in (("", first), ("abc", first), ("abc", '{"version": ""}'), ("abc", "{")):
        file.write_text(have)
        file.with_name(web.STATE).write_text(state)
        with web._opened(opener, "https://a.b/a.pth", file):  # type: ignore[arg-type]
            pass
    assert asked == [{}, {"Range": "bytes=3-", "If-range": "v1"}, {}, {}]

"""Weights by name: downloaded once, whole and checked, and never because a file says so."""

import json
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import make_encoder, make_mae
from safetensors.torch import save_file
from served import Served, serving, sha256

from mae_hydra.errors import UserError
from mae_hydra.experiment.provenance import parent_of
from mae_hydra.recorded.infer_configuration import overrides_of
from mae_hydra.weights import read_checkpoint, transfer
from mae_hydra.weights.named import KNOWN, cache, fetch, hub, is_address, parse, web
from mae_hydra.weights.named.fetch import place_of

NOBODY = "http://127.0.0.1:9/model.pth"  # the port of a service that discards, which nobody offers


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.setenv("MAE_HYDRA_CACHE", str(tmp_path / "cache"))
    with serving() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        yield found


@pytest.fixture
def weights(tmp_path) -> bytes:
    torch.save({"model": make_mae().state_dict()}, tmp_path / "made.pth")
    return (tmp_path / "made.pth").read_bytes()


def left_over(tmp_path: Path) -> list[str]:
    """What lies in the cache beside locks and whole entries."""
    return [str(path) for path in (tmp_path / "cache").rglob("*.partial")]


def test_a_file_is_downloaded_once_and_is_what_was_sent(served, weights):
    served.files["/a/model.pth"] = weights
    address = f"{served.address}/a/model.pth"
    first = fetch(address, download=True)
    assert first.path.read_bytes() == weights
    assert first.path.name == "model.pth"
    assert fetch(address, download=True) == fetch(address, download=False) == first
    assert len(served.asked) == 1


def test_what_is_read_from_an_address_tells_where_it_came_from(served, weights):
    served.files["/model.pth"] = weights
    address = f"{served.address}/model.pth"
    checkpoint = read_checkpoint(f"{address}#sha256={sha256(weights)}", download=True)
    expected = make_mae().state_dict()
    assert checkpoint.tensors.keys() == expected.keys()
    assert checkpoint.verified
    assert "sha256 verified)" in transfer(make_mae(), checkpoint).source
    untold = read_checkpoint(address, download=True)
    assert (untold.verified, untold.checked) == (False, True)  # by the file's own checksums
    told = parent_of(checkpoint)
    assert told["name"] == address
    assert told["sha256"] == sha256(weights)


def test_a_part_of_a_file_can_be_named(served, tmp_path):
    one, other = make_encoder().state_dict(), make_encoder().state_dict()
    torch.save({"model": one, "model_ema": other}, tmp_path / "two.pth")
    served.files["/two.pth"] = (tmp_path / "two.pth").read_bytes()
    checkpoint = read_checkpoint(f"{served.address}/two.pth#part=ema", download=True)
    name = "blocks.0.attn.qkv.weight"
    found = next(tensor for each, tensor in checkpoint.tensors.items() if each.endswith(name))
    assert torch.equal(found, other[name])
    assert not torch.equal(found, one[name])


def test_nothing_is_downloaded_because_a_file_says_so(served, weights):
    served.files["/model.pth"] = weights
    with pytest.raises(UserError, match=r"not in the cache .*nothing is downloaded because a file says so"):
        read_checkpoint(f"{served.address}/model.pth")
    assert not served.asked


def test_another_digest_is_refused_and_nothing_is_kept(served, weights, tmp_path):
    served.files["/model.pth"] = weights
    with pytest.raises(UserError, match="nothing of it is kept"):
        fetch(f"{served.address}/model.pth#sha256={'0' * 64}", download=True)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and not path.name.endswith(".lock")]


def test_a_digest_is_asked_of_what_is_in_the_cache_too(served, weights):
    served.files["/model.pth"] = weights
    kept = fetch(f"{served.address}/model.pth", download=True).path
    with pytest.raises(UserError, match="it is not used"):
        fetch(f"{served.address}/model.pth#sha256={'0' * 64}", download=True)
    assert kept.read_bytes() == weights


def test_a_file_that_was_changed_in_the_cache_is_refused(served, weights):
    served.files["/model.pth"] = weights
    kept = fetch(f"{served.address}/model.pth", download=True).path
    kept.write_bytes(b"x" + weights[1:])
    with pytest.raises(UserError, match="is not what was downloaded"):
        fetch(f"{served.address}/model.pth", download=False)


def test_a_download_that_breaks_off_goes_on_from_there(served, weights, tmp_path):
    served.files["/model.pth"] = weights
    served.break_after = [1000]
    assert fetch(f"{served.address}/model.pth", download=True).path.read_bytes() == weights
    assert [asked[2] for asked in served.asked] == [None, "bytes=1000-"]
    assert not left_over(tmp_path)


def test_the_next_command_goes_on_with_what_an_earlier_one_left(served, weights, tmp_path):
    served.files["/model.pth"] = weights
    served.break_after = [100, 200, 300]
    with pytest.raises(UserError, match="the same command goes on from where it broke off, or put the file at"):
        fetch(f"{served.address}/model.pth", download=True)
    assert left_over(tmp_path)
    assert fetch(f"{served.address}/model.pth", download=True).path.read_bytes() == weights
    assert served.asked[-1][2] == "bytes=600-"
    assert not left_over(tmp_path)


@pytest.mark.parametrize("answer", [429, 500, 503])
def test_a_server_that_is_busy_costs_nothing_of_what_has_come(served, weights, answer):
    served.files["/model.pth"] = weights
    served.break_after = [100, 200, 300]
    for _ in range(2):
        with pytest.raises(UserError, match="the same command goes on"):
            fetch(f"{served.address}/model.pth", download=True)
        served.fails_with = [answer]
    served.fails_with = []
    assert fetch(f"{served.address}/model.pth", download=True).path.read_bytes() == weights
    assert served.asked[-1][2] == "bytes=600-"


def test_a_part_of_another_version_is_not_gone_on_with(served, weights):
    served.files["/model.pth"] = b"y" * len(weights)
    served.break_after = [100, 100, 100]
    with pytest.raises(UserError):
        fetch(f"{served.address}/model.pth", download=True)
    served.files["/model.pth"] = weights
    assert fetch(f"{served.address}/model.pth", download=True).path.read_bytes() == weights


@pytest.mark.parametrize("more", [-10, 10])
def test_a_body_of_another_size_than_was_told_is_never_kept(served, weights, tmp_path, more):
    served.files["/model.pth"] = weights
    served.told_size = len(weights) + more
    if more > 0:  # the end comes too early
        with pytest.raises(UserError, match="broke off"):
            fetch(f"{served.address}/model.pth", download=True)
        assert not list((tmp_path / "cache").rglob("*.fetched.json"))
    else:  # no more is read than was told, and what is there is no checkpoint
        with pytest.raises(UserError):
            read_checkpoint(f"{served.address}/model.pth", download=True)


def test_a_size_that_is_not_told_needs_a_digest(served, weights):
    served.files["/model.pth"] = weights
    served.untold = True
    with pytest.raises(UserError, match="without its size"):
        fetch(f"{served.address}/model.pth", download=True)
    assert fetch(f"{served.address}/model.pth#sha256={sha256(weights)}", download=True).path.read_bytes() == weights


def test_a_full_disk_is_one_sentence_before_a_byte_is_written(served, weights, monkeypatch):
    served.files["/model.pth"] = weights
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage._replace(free=cache.SPARE))
    assert cache.SPARE == 64 * 2**20
    with pytest.raises(UserError, match="make room, or name another folder with MAE_HYDRA_CACHE"):
        fetch(f"{served.address}/model.pth", download=True)


def test_a_cache_that_cannot_be_written_to_is_one_sentence(served, weights, tmp_path):
    served.files["/model.pth"] = weights
    (tmp_path / "cache").write_text("")
    with pytest.raises(UserError, match="MAE_HYDRA_CACHE"):
        fetch(f"{served.address}/model.pth", download=True)


def test_without_a_connection_it_says_where_the_file_should_lie_and_takes_it_from_there(served, weights):
    with pytest.raises(UserError, match="cannot be reached") as refused:
        fetch(NOBODY, download=True)
    place = Path(str(refused.value).rpartition("put the file at ")[2])
    assert place.is_relative_to(cache.root())
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(weights)
    assert fetch(NOBODY, download=False).path == place


def test_a_web_page_is_no_weights(served, tmp_path):
    served.files["/model.pth"] = b"<!DOCTYPE html><html>please log in</html>"
    with pytest.raises(UserError, match="web page"):
        fetch(f"{served.address}/model.pth", download=True)
    assert not left_over(tmp_path)


def test_what_is_not_there_is_told_by_its_number(served):
    with pytest.raises(UserError, match="the server says 404"):
        fetch(f"{served.address}/none.pth", download=True)
    served.fails_with = [416] * 3  # whatever part is asked for
    with pytest.raises(UserError, match="the server says 416"):
        fetch(f"{served.address}/none.pth", download=True)


def test_a_redirect_leads_to_nowhere_less_safe(served, weights):
    served.files["/there.pth"] = weights
    served.sends_on = {"/near.pth": f"{served.address}/there.pth", "/far.pth": "http://example.invalid/there.pth"}
    assert fetch(f"{served.address}/near.pth", download=True).path.read_bytes() == weights
    with pytest.raises(UserError, match="not encrypted"):
        fetch(f"{served.address}/far.pth", download=True)


def test_two_at_once_download_once_and_both_have_it(served, weights, monkeypatch):
    """Of threads, each of which opens the lock for itself; of another process by the next test."""
    served.files["/model.pth"] = weights
    both_there, look = threading.Barrier(2, timeout=60), cache.Entry.alone

    def together(entry: Any) -> Any:
        both_there.wait()
        return look(entry)

    monkeypatch.setattr(cache.Entry, "alone", together)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(fetch, f"{served.address}/model.pth", download=True) for _ in range(2)]
        assert [sha256(one.result().path.read_bytes()) for one in both] == [sha256(weights)] * 2
    assert len(served.bodies()) == 1


def test_who_waits_for_a_download_goes_on_when_the_one_that_had_the_lock_is_gone(served, weights):
    served.files["/model.pth"] = weights
    address = f"{served.address}/model.pth"
    entry = cache.Entry(place_of(parse(address)))
    lock = entry.folder.with_name(f".{entry.folder.name}.lock")
    lock.parent.mkdir(parents=True)
    holder = "import fcntl, sys, time; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX)"
    holder += "; print('held', flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-S", "-c", holder, str(lock)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    waiting = threading.Thread(target=fetch, args=(address,), kwargs={"download": True})
    waiting.start()
    waiting.join(timeout=0.5)
    assert waiting.is_alive()
    process.kill()
    process.communicate()
    waiting.join(timeout=60)
    assert fetch(address, download=False).path.read_bytes() == weights


def test_a_published_digest_is_compared(served, weights, monkeypatch):
    served.files["/model.pth"] = weights
    address = f"{served.address}/model.pth"
    monkeypatch.setattr("mae_hydra.weights.named.known.KNOWN", (KNOWN[0]._replace(address=address),))
    with pytest.raises(UserError, match="is not the file that was published: its md5 is"):
        fetch(address, download=True)
    assert fetch(f"{address}#sha256={sha256(weights)}", download=True).path.read_bytes() == weights


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("hf-hub:", "the form is hf-hub:<org>/<name>"),
        ("hf-hub:a/b/c", "the form is hf-hub:<org>/<name>"),
        ("hf-hub:../b", "the form is hf-hub:<org>/<name>"),
        ("hf-hub:a/b@..", "the form is hf-hub:<org>/<name>"),
        ("hf-hub:a/b#file=../../c", "a file within the repository"),
        ("hf-hub:a/b#file=/c", "a file within the repository"),
        ("hf-hub:a/b#sha=1", "sha256=<hex>"),
        ("https://a.b/c.pth#sha256=12", "64 hexadecimal digits"),
        ("https://a.b/", "names no file"),
        ("https:///a.pth", "names no file"),
        ("https://me:secret@a.b/c.pth", "would be recorded"),
        ("http://a.b/c.pth", "not encrypted"),
        ("http://192.168.0.1/c.pth", "not encrypted"),
        ("https://a.b:port/c.pth", "is no address"),
    ],
)
def test_what_is_no_address_is_one_sentence(text, sentence):
    with pytest.raises(UserError, match=sentence):
        parse(text)


def test_a_digest_may_be_typed_in_any_letters_and_the_cache_lies_where_the_system_says(monkeypatch, tmp_path):
    assert parse(f"https://a.b/c.pth#sha256={'AB' * 32}").sha256 == "ab" * 32
    monkeypatch.delenv("MAE_HYDRA_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.root() == tmp_path / "mae_hydra"
    places = {place_of(parse(f"https://a.b{rest}")) for rest in ("/c.pth", "/c.pth?version=2", ":8443/c.pth")}
    assert len(places) == 3


def test_what_an_address_is_and_what_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert all(map(is_address, ["hf-hub:a/b", "timm/vit_base_patch16_224.mae", "https://a.b/c", "HTTPS://a.b/c"]))
    assert not any(
        map(is_address, ["timm", "timm/a/b.pth", "outputs/runs/x", "model=upernet_vitb", None, Path("timm/x")])
    )
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "mine").touch()
    assert not is_address("timm/mine")


@pytest.mark.parametrize(
    "url", ["https://a.b/..", "https://a.b/x/.hidden", "https://a.b/%2e%2e%2fx", "https://a.b/x?y=/.."]
)
def test_no_address_leads_out_of_its_folder(url):
    name = web.file_name(url)
    assert name
    assert "/" not in name
    assert not name.startswith(".")


def test_an_encoder_in_safetensors_comes_by_its_address(served, tmp_path):
    state = make_encoder().state_dict()
    save_file(state, tmp_path / "encoder.safetensors")
    served.files["/encoder.safetensors"] = (tmp_path / "encoder.safetensors").read_bytes()
    checkpoint = read_checkpoint(f"{served.address}/encoder.safetensors", download=True)
    assert checkpoint.kind == "encoder"
    assert checkpoint.path.suffix == ".safetensors"


# ---- repositories ---------------------------------------------------------------------------------------------------


def hub_with(served: Served, tmp_path: Path, *names: str) -> dict[str, bytes]:
    save_file(make_encoder().state_dict(), tmp_path / "made.safetensors")
    torch.save(make_encoder().state_dict(), tmp_path / "made.bin")
    made = {
        name: b"{}" if name.endswith(".json") else (tmp_path / f"made.{name.rpartition('.')[2]}").read_bytes()
        for name in names
    }
    served.repositories["org/name"] = made
    return made


def test_a_repository_is_downloaded_once_with_its_configuration(served, tmp_path):
    made = hub_with(served, tmp_path, "pytorch_model.bin", "model.safetensors", "config.json", "README.safetensors")
    found = fetch("hf-hub:org/name", download=True)
    assert found.path.name == "model.safetensors"
    assert found.path.read_bytes() == made["model.safetensors"]
    assert (found.path.parent / "config.json").is_file()
    assert not (found.path.parent / "pytorch_model.bin").exists()
    assert found.revision == served.commit
    assert {path.partition("/resolve/")[2].partition("/")[0] for _, path, _ in served.bodies()} == {served.commit}
    asked = len(served.asked)
    assert fetch("hf-hub:org/name", download=True) == found
    assert len(served.asked) == asked
    assert not left_over(tmp_path)


def test_a_revision_has_a_place_of_its_own(served, tmp_path):
    hub_with(served, tmp_path, "model.safetensors")
    one, other = fetch("hf-hub:org/name", download=True), fetch("hf-hub:org/name@v1", download=True)
    assert one.path != other.path
    assert other.name == "hf-hub:org/name@v1"
    with pytest.raises(UserError, match="no revision v2"):
        fetch("hf-hub:org/name@v2", download=True)


def test_a_file_can_be_named_where_there_are_several(served, tmp_path):
    made = hub_with(served, tmp_path, "a.safetensors", "b.safetensors")
    with pytest.raises(UserError, match=r"add #file= and one of a.safetensors, b.safetensors"):
        fetch("hf-hub:org/name", download=True)
    address = f"hf-hub:org/name#file=b.safetensors&sha256={sha256(made['b.safetensors'])}"
    assert fetch(address, download=True).path.name == "b.safetensors"
    with pytest.raises(UserError, match="has no file c"):
        fetch("hf-hub:org/name#file=c", download=True)
    hub_with(served, tmp_path, "config.json", "large/config.json", "large/model.safetensors")
    found = fetch("hf-hub:org/name@v1#file=large/model.safetensors", download=True).path
    assert (found.parent.name, (found.parent / "config.json").is_file()) == ("large", True)
    assert not (found.parent.parent / "config.json").exists()  # of another model


def test_weights_in_several_files_are_read_as_one(served, tmp_path, monkeypatch):
    rooms = []
    monkeypatch.setattr(hub, "check_room", lambda size, folder, what: rooms.append(size))
    state = make_encoder().state_dict()
    names = sorted(state)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    files = {}
    for part, keys in parts.items():
        save_file({key: state[key] for key in keys}, tmp_path / part)
        files[part] = (tmp_path / part).read_bytes()
    index = {"weight_map": {key: part for part, keys in parts.items() for key in keys}}
    served.repositories["org/name"] = {**files, "model.safetensors.index.json": json.dumps(index).encode()}
    checkpoint = read_checkpoint("hf-hub:org/name", download=True)
    assert len(checkpoint.tensors) == len(state)
    sizes = [len(content) for content in served.repositories["org/name"].values()]
    assert rooms == [sizes[-1], sum(sizes)]  # before the index is had, and before its parts are
    assert read_checkpoint("hf-hub:org/name").tensors.keys() == checkpoint.tensors.keys()
    with pytest.raises(UserError, match="holds its weights in several files, and #sha256= is of one"):
        fetch(f"hf-hub:org/name@v1#sha256={'0' * 64}", download=True)
    served.told_sha256 = "0" * 64  # of the parts: an index is too small to have one
    with pytest.raises(UserError, match=r"model-00001-of-00002.* has another sha256 than the hub says"):
        fetch("hf-hub:org/name@v1", download=True)
    served.told_sha256 = None
    del served.repositories["org/name"]["model-00002-of-00002.safetensors"]
    with pytest.raises(UserError, match=r"lists model-00002-of-00002\.safetensors in .* and does not hold it"):
        fetch("hf-hub:org/name@v1", download=True)
    index["weight_map"][names[0]] = "../elsewhere"
    served.repositories["org/bad"] = {"model.safetensors.index.json": json.dumps(index).encode()}
    with pytest.raises(UserError, match="names files elsewhere"):
        fetch("hf-hub:org/bad", download=True)


def test_a_file_of_another_digest_than_the_hub_says_is_not_kept(served, tmp_path):
    hub_with(served, tmp_path, "model.safetensors")
    served.told_sha256 = "0" * 64
    with pytest.raises(UserError, match="another sha256 than the hub says"):
        fetch("hf-hub:org/name", download=True)
    assert not left_over(tmp_path)


def test_a_digest_in_an_address_is_asked_of_a_repository(served, tmp_path):
    hub_with(served, tmp_path, "model.safetensors")
    with pytest.raises(UserError, match="nothing of it is kept"):
        fetch(f"hf-hub:org/name#sha256={'1' * 64}", download=True)
    assert not left_over(tmp_path)


def test_what_a_hub_has_not_is_one_sentence(served, tmp_path):
    with pytest.raises(UserError, match="no repository org/none"):
        fetch("hf-hub:org/none", download=True)
    hub_with(served, tmp_path, "config.json")
    with pytest.raises(UserError, match="holds no weights"):
        fetch("hf-hub:org/name", download=True)


def test_without_the_hub_it_says_where_the_files_should_lie(served, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"put model.safetensors .* of https://huggingface.co/org/name into") as refused:
        fetch("hf-hub:org/name", download=True)
    folder = Path(str(refused.value).rpartition(" into ")[2])
    folder.mkdir(parents=True, exist_ok=True)
    save_file(make_encoder().state_dict(), folder / "model.safetensors")
    assert read_checkpoint("hf-hub:org/name").kind == "encoder"


# ---- timm -----------------------------------------------------------------------------------------------------------


def test_timm_is_asked_where_its_weights_lie(served, tmp_path):
    hub_with(served, tmp_path, "model.safetensors", "config.json")
    served.repositories["timm/vit_base_patch16_224.mae"] = served.repositories.pop("org/name")
    found = fetch("timm/vit_base_patch16_224.mae", download=True)
    assert found.name == "timm/vit_base_patch16_224.mae"
    assert "timm--vit_base_patch16_224.mae" in str(found.path)
    assert fetch("hf-hub:timm/vit_base_patch16_224.mae", download=False).path == found.path


def test_how_timm_normalised_the_pictures_is_told_and_taken(served, tmp_path):
    hub_with(served, tmp_path, "model.safetensors", "config.json")
    described = {"architecture": "vit", "pretrained_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.5, 0.25]}}
    for stated, expected in (
        (described, ("[0.5,0.4,0.3]", "[0.5,0.5,0.25]")),
        ({"pretrained_cfg": {"mean": [0.5], "std": [0.5]}}, ("[0.485,0.456,0.406]", "[0.229,0.224,0.225]")),
        ({"pretrained_cfg": {"mean": "x", "std": [0, 0, 0]}}, ("[0.485,0.456,0.406]", "[0.229,0.224,0.225]")),
    ):
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        served.repositories["org/name"]["config.json"] = json.dumps(stated).encode()
        checkpoint = read_checkpoint("hf-hub:org/name", download=True)
        found = dict(word.split("=", 1) for word in overrides_of(checkpoint, ["backbone.num_heads=2"]))
        assert (found["data.mean"], found["data.std"]) == expected


def test_a_name_that_timm_does_not_know_is_one_sentence(served):
    with pytest.raises(UserError, match=r"there are .*vit_base_patch16_224\.mae"):
        fetch("timm/vit_base_patch16_224.mea", download=True)
    assert not served.asked


def test_every_published_address_is_one_and_timm_knows_its_own():
    from mae_hydra.weights.named.timm_names import looked_up

    for known in KNOWN:
        address = parse(known.address)
        assert address.kind != "timm" or looked_up(address).where.endswith(".mae")
    assert len({known.address for known in KNOWN}) == len(KNOWN)

"""Files that are valid in their way and no checkpoint: each is one sentence, and costs no more than its size tells."""

import argparse
import copy
import json
import math
import pickle
import random
import resource
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import make_mae
from foreign_files import TINY_MMSEG, TINY_OFFICIAL, mmseg_upernet, official
from safetensors.torch import save_file

import mae_hydra
from mae_hydra.commands import main
from mae_hydra.errors import UserError
from mae_hydra.weights import describe, read_checkpoint, to_layout, transfer

NAME = "encoder.blocks.1.attn.qkv.bias"
ENCODER = {
    "_target_": "mae_hydra.models.VisionTransformer", "image_size": 32, "patch_size": 8, "in_chans": 3, "embed_dim": 16,
    "depth": 4, "num_heads": 2, "mlp_ratio": 2.0, "out_indices": [0, 1, 2, 3], "drop_path_rate": 0.0,
    "positions": "fixed", "relative_position_bias": False, "layer_scale": None, "final_norm": True,
}  # fmt: skip
DECODER = {
    "_target_": "mae_hydra.models.MAEDecoder", "encoder_dim": 16, "embed_dim": 8, "depth": 1, "num_heads": 2,
    "mlp_ratio": 2.0, "patch_size": 8, "in_chans": 3, "image_size": [32, 32],
}  # fmt: skip
MODEL = {
    "_target_": "mae_hydra.models.MAE", "encoder": ENCODER, "decoder": DECODER, "mask_ratio": 0.75, "masking": "random",
    "norm_pix": True, "mean": [0.5] * 3, "std": [0.5] * 3,
}  # fmt: skip


def content(**changes: Any) -> dict[str, Any]:
    """What a run saves of a tiny MAE."""
    made = {
        "model": dict(make_mae().state_dict()),
        "config": {"name": "tiny", "model": copy.deepcopy(MODEL)},
        "step": 7,
    }
    return made | {"meta": {"class_names": ["sky", "wall"], "palette": [[1, 2, 3], [4, 5, 6]]}} | changes


def sentence(file: Path) -> str:
    """In which the file is refused; soon, and without gigabytes."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as caught:
        mae_hydra.load(file)
    assert time.monotonic() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB
    said = str(caught.value)
    assert str(file) in said
    assert "\n" not in said
    assert len(said) < 1500
    assert said.isprintable()
    return said


def tried(act: Callable[[], Any], otherwise: str = "") -> str:
    """What is said where `act` is refused, in one line that fits a screen."""
    try:
        act()
    except (UserError, KeyError) as error:
        said = str(error)
        assert "\n" not in said
        assert len(said) < 3000
        return said
    return otherwise


def nested() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its interface is a prototype
        return torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])


def quantised() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.zeros(4), 0.1, 0, torch.qint8)


STRANGE = {
    "meta": lambda: torch.empty(48, device="meta"),
    "sparse": lambda: torch.zeros(4, 4).to_sparse(),
    "quantised": quantised,
    "nested": nested,
    "float8_e4m3fn": lambda: torch.zeros(48).to(torch.float8_e4m3fn),
    "complex64": lambda: torch.zeros(48, dtype=torch.complex64),
}


@pytest.mark.parametrize("kind", list(STRANGE))
def test_a_tensor_that_is_no_array_of_numbers_is_named(tmp_path, kind):
    state = content()["model"] | {NAME: STRANGE[kind]()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of quantised storages
        torch.save(content(model=state), tmp_path / "file.pt")
        said = sentence(tmp_path / "file.pt")
    assert f"holds {NAME} as a {kind} tensor" in said or "is damaged or no checkpoint" in said


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**9),
        torch.zeros(1, 1).expand(10**5, 10**5),
        torch.as_strided(torch.zeros(5), (2, 3), (1, 1)),
        torch.zeros(0, 10**15),
    ],
    ids=["a row", "a square", "overlapping", "of no rows"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_tensor_is_stored_as_large_as_it_says(tmp_path, tensor, zipped, capsys):
    file = tmp_path / "file.pt"
    torch.save(content(model=content()["model"] | {NAME: tensor}), file, _use_new_zipfile_serialization=zipped)
    assert f"says that {NAME} has" in sentence(file)
    assert main(["convert", "--inspect", str(file)]) == 1
    assert f"says that {NAME} has" in capsys.readouterr().err


def test_many_views_of_one_storage_are_counted_together(tmp_path):
    large = torch.zeros(1000, 1000)
    state = content()["model"] | {f"encoder.blocks.{number}.x": large for number in range(400)}
    torch.save(content(model=state), tmp_path / "file.pt")
    assert "it would fill the memory" in sentence(tmp_path / "file.pt")


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("encoder", {"depth": 20_000}),
        ("encoder", {"depth": 10**12}),
        ("decoder", {"depth": 20_000}),
        ("encoder", {"embed_dim": 10**6, "num_heads": 1}),
        ("encoder", {"embed_dim": 10**12, "num_heads": 1}),
        ("encoder", {"image_size": 8 * 10**5}),
        ("encoder", {"mlp_ratio": 1e12}),
        ("encoder", {"mlp_ratio": math.nan}),
        ("encoder", {"mlp_ratio": 1e308}),
    ],
)
def test_what_a_configuration_describes_is_compared_with_the_weights_before_it_is_built(tmp_path, part, changes):
    config = {"model": MODEL | {part: MODEL[part] | changes}}
    torch.save(content(config=config), tmp_path / "file.pt")
    sentence(tmp_path / "file.pt")
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    main(["convert", "--inspect", str(tmp_path / "file.pt")])
    assert time.monotonic() - began < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


def doubled(value: Any, times: int) -> Any:
    for _ in range(times):
        value = [value, value] if isinstance(value, list) else (value, value)
    return value


@pytest.mark.parametrize("where", ["config", "meta", "args"])
def test_lists_that_hold_one_another_twice_come_to_an_end(tmp_path, where):
    told = doubled([1], 60)
    torch.save(content(**{where: {"a": told} if where != "args" else argparse.Namespace(a=told)}), tmp_path / "file.pt")
    if where == "config":
        sentence(tmp_path / "file.pt")
    else:
        read_checkpoint(tmp_path / "file.pt")


def test_nested_tuples_as_a_key_are_refused_before_they_are_hashed(tmp_path):
    file = tmp_path / "file.pt"
    torch.save(content(), file)
    body = b"\x80\x02}(" + b"K\x01\x85" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(1, 60)) + b"K\x01u."
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(tmp_path / "bomb.pt", "w") as archive:
        for record in whole.infolist():
            is_pickle = record.filename.endswith("data.pkl")
            archive.writestr(record.filename, body if is_pickle else whole.read(record))
    assert "would never end" in sentence(tmp_path / "bomb.pt")


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 100_000, "9" * 10_000, '"\\ud800"', "[" + "0," * 9_000_000])
def test_metadata_that_no_program_writes_tells_nothing_or_is_refused(tmp_path, text):
    save_file(make_mae().state_dict(), tmp_path / "a.safetensors", {"config": text, "step": text})
    said = tried(lambda: read_checkpoint(tmp_path / "a.safetensors").meta["step"])
    assert said == "'step'" or str(tmp_path) in said
    (tmp_path / "config.json").write_text(text)
    save_file(make_mae().state_dict(), tmp_path / "a.safetensors")
    assert "config.json" in tried(lambda: read_checkpoint(tmp_path / "a.safetensors"), "config.json")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda file: file.write_text("<!DOCTYPE html><html><body>404</body></html>"), "is a web page"),
        (lambda file: file.write_text("\n <html>\n" + "x" * 5000), "is a web page"),
        (
            lambda file: file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"),
            "git lfs pull",
        ),
        (lambda file: file.write_bytes(b""), "is damaged or no checkpoint"),
        (lambda file: file.write_bytes(pickle.dumps(getattr)), "is damaged or no checkpoint"),
        (lambda file: file.write_text("step: 3\n"), "is damaged or no checkpoint"),
        (lambda file: torch.save(torch.zeros(3), file), "holds a Tensor, not a dictionary"),
        (lambda file: torch.save({"model": doubled((1,), 5)}, file), "holds no tensors"),
    ],
)
def test_what_lies_in_place_of_a_checkpoint_is_called_by_its_name(tmp_path, write, said):
    write(tmp_path / "weights.pth")
    assert said in sentence(tmp_path / "weights.pth")


def test_an_archive_of_another_kind_is_not_unpacked(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    torch.save(content(), tmp_path / "file.pt")
    with tarfile.open(tmp_path / "model.pth", "w") as archive:
        archive.add(tmp_path / "file.pt", "storages")
    assert "is a tar archive" in sentence(tmp_path / "model.pth")
    assert list((tmp_path / "temporary").iterdir()) == []
    with zipfile.ZipFile(tmp_path / "compressed.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", b"0" * 1_000_000)
    assert "is a compressed archive" in sentence(tmp_path / "compressed.pt")
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), tmp_path / "model.pt2")
    sentence(tmp_path / "model.pt2")


@pytest.mark.parametrize(
    "name", ["x" * 5000, "a\nb\x1b[31m[/x]", "\u202eevil", "encoder.blocks.99999999999999999999.a"]
)
def test_the_name_of_a_tensor_does_not_fill_the_screen(tmp_path, name):
    torch.save({"model": {name: torch.zeros(3), "b": torch.zeros(1)}}, tmp_path / "file.pt")
    sentence(tmp_path / "file.pt")
    torch.save(content(model=content()["model"] | {name: torch.zeros(3)}), tmp_path / "file.pt")
    sentence(tmp_path / "file.pt")


def test_a_file_without_checksums_is_reported_as_one(tmp_path, capsys):
    model = make_mae()
    for name, zipped, unchecked in (("new.pt", True, False), ("legacy.pt", False, True)):
        torch.save({"model": model.state_dict()}, tmp_path / name, _use_new_zipfile_serialization=zipped)
        checkpoint = read_checkpoint(tmp_path / name)
        assert checkpoint.checked != unchecked
        assert ("without checksums" in transfer(make_mae(), checkpoint).source) == unchecked
        assert main(["convert", "--inspect", str(tmp_path / name)]) == 0
        assert ("has no checksums" in " ".join(capsys.readouterr().out.split())) == unchecked


ODD: list[Any] = [
    None, True, -1, 0, 1.5, 1e308, math.nan, math.inf, 10**9, 20_000, 2**70, 10**5000, "", "x" * 5000, "\ud800",
    "\x1b[31m[/x]", "${oc.env:HOME}", "???", [], {}, [1] * 1000, [[1, 2], [3]], {"a": {"b": 1}}, doubled([1], 40),
    b"\xff\x00", (1, 2), {1: 2}, torch.zeros(2), argparse.Namespace(a=1), "cpu", [None],
]  # fmt: skip
RESHAPED = [
    lambda t: t[None], lambda t: t.flatten(), lambda t: t * math.nan, lambda t: torch.zeros(()),
    lambda t: torch.zeros(0), lambda t: torch.zeros(7, 3), lambda t: torch.zeros(1, 2, 3, 4, 5), lambda t: t.long(),
    lambda t: "text",
    lambda t: t.half(), lambda t: torch.zeros(0, 3), lambda t: t.bool(), lambda t: None, lambda t: t.double(),
]  # fmt: skip
RENAMED = ["encoder.blocks.x.y", "", 5, (1, 2), "head.pools.0", "layers.0", "blocks.", "head.classify.weight"]


def keys_of(node: Any, path: tuple = ()) -> list[tuple]:
    pairs = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    return [found for key, value in pairs for found in [(*path, key), *keys_of(value, (*path, key))]]


def mutated(whole: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """One or two changes: a tensor of another shape or kind, another name, one missing, a value told that is odd."""
    made = copy.deepcopy(whole)
    state = made.get("model", made.get("state_dict"))
    for _ in range(dice.randrange(1, 3)):
        kind, name = dice.randrange(6), dice.choice([name for name in state if isinstance(name, str)])
        if kind == 0:
            changed = dice.choice(RESHAPED)
            state[name] = changed(state[name]) if isinstance(state[name], torch.Tensor) else None
        elif kind == 1:
            state[dice.choice(RENAMED)] = state.pop(name)
        elif kind == 2:
            del state[name]
        else:
            told = {key: value for key, value in made.items() if value is not state}
            path = dice.choice(keys_of(told) or [("config",)])
            node = made
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = dice.choice(ODD)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["run", "official", "mmseg", "huggingface"])
def test_a_file_with_something_odd_in_it_is_read_or_refused_in_one_sentence(tmp_path, kind, capsys):
    whole = {
        "run": content(),
        "official": {"model": dict(official(**TINY_OFFICIAL)), "args": argparse.Namespace(mask_ratio=0.6), "epoch": 3},
        "mmseg": {"state_dict": dict(mmseg_upernet(**TINY_MMSEG)), "meta": {"CLASSES": ("a",) * 5, "iter": 4}},
        "huggingface": {"model": dict(to_layout(make_mae().state_dict(), "huggingface").tensors)},
    }[kind]
    dice, file, refused = random.Random(kind), tmp_path / "file.pt", 0
    for number in range(20):
        torch.save(mutated(whole, dice), file, _use_new_zipfile_serialization=number % 4 > 0)
        if kind == "run" or number % 10 == 0:  # the others compose a configuration, which takes its time
            assert str(file) in tried(lambda: mae_hydra.load(file), str(file))
        code = main(["convert", "--inspect", str(file)])
        shown, said = capsys.readouterr()
        refused += code or "does not fit" in shown
        assert said.count("\n") == code, said
        assert code == 0 or str(file) in said
    assert refused > 3 or kind != "run"  # what the others tell is in few values


def test_a_config_json_of_any_content_beside_the_weights_is_read_or_refused(tmp_path):
    dice = random.Random(1)
    whole = {"model_type": "vit_mae", "num_attention_heads": 2, "image_size": 32, "patch_size": 8, "mask_ratio": 0.75}
    whole |= {"norm_pix_loss": True, "decoder_num_attention_heads": 2, "layer_norm_eps": 1e-12}
    save_file(to_layout(make_mae().state_dict(), "huggingface").tensors, tmp_path / "model.safetensors")
    plain = [odd for odd in ODD if isinstance(odd, (bool, float, str, list, dict, type(None))) and odd != {1: 2}][:-3]
    for _ in range(30):
        changed = whole | {dice.choice(list(whole)): dice.choice([*plain, 10**30, -5])}
        text = json.dumps(changed, check_circular=False) if len(repr(changed)) < 10_000 else "{}"
        (tmp_path / "config.json").write_text(text)
        assert str(tmp_path) in tried(lambda: describe(read_checkpoint(tmp_path)), str(tmp_path))
    assert str(tmp_path) in tried(lambda: mae_hydra.load(tmp_path), str(tmp_path))

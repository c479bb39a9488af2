"""Hundreds of damaged files: each is read whole or refused in one sentence, and what was written before stays."""

import random
from pathlib import Path

import pytest
import torch
from checkpoint_files import make_mae, randomise, write_run
from foreign_files import TINY_MMSEG, TINY_OFFICIAL, mmseg_upernet, official
from safetensors.torch import save_file

from mae_hydra.errors import UserError
from mae_hydra.weights import read_checkpoint, to_layout
from mae_hydra.workflows.convert import convert

HEADS = {"mmseg": ["backbone.num_heads=2"], "others": ["backbone.num_heads=2", "head.num_heads=2"]}


def write(folder: Path, kind: str) -> Path:
    file = folder / f"{kind}.file"
    if kind == "mmseg":
        torch.save({"meta": {"CLASSES": ("a",) * 5}, "state_dict": mmseg_upernet(**TINY_MMSEG)}, file)
    elif kind == "legacy":
        torch.save({"model": official(**TINY_OFFICIAL)}, file, _use_new_zipfile_serialization=False)
    elif kind == "run":
        write_run(folder, randomise(make_mae()))
        file = folder / "checkpoints" / "last.pt"
    else:
        save_file(to_layout(randomise(make_mae()).state_dict(), "huggingface").tensors, file)
    return file


def damage(content: bytes, dice: random.Random) -> bytes:
    """Cut off, bits flipped, bytes replaced near the beginning (where headers are), or a stretch of zeros."""
    changed, kind = bytearray(content), dice.choice(["cut", "flip", "flip", "header", "zeros"])
    if kind == "cut":
        return content[: dice.randrange(len(content))]
    if kind == "flip":
        for _ in range(dice.choice([1, 4, 64])):
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    elif kind == "header":
        for _ in range(dice.choice([1, 2, 8])):
            changed[dice.randrange(min(len(changed), 9000))] = dice.randrange(256)
    else:
        place = dice.randrange(len(changed))
        changed[place : place + 64] = bytes(len(changed[place : place + 64]))
    return bytes(changed)


def refusal(file: Path, output: Path, told: list[str]) -> str | None:
    try:
        convert(read_checkpoint(file), output, "native", told)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mmseg", "legacy", "run", "safetensors"])
def test_a_damaged_file_is_one_sentence_and_an_earlier_output_stays(tmp_path, kind):
    content = write(tmp_path, kind).read_bytes()
    file, output = tmp_path / "damaged", tmp_path / "output.pt"
    output.write_text("precious")
    dice = random.Random(kind)
    refused = 0
    for _ in range(120):
        file.write_bytes(damage(content, dice))
        error = refusal(file, output, HEADS["mmseg" if kind == "mmseg" else "others"])
        if error is None:  # a weight with a flipped bit, where the container has no checksums, or its padding
            output.write_text("precious")
        else:
            refused += 1
            assert "\n" not in error
            assert output.read_text() == "precious"
        assert {path.name for path in tmp_path.iterdir()} <= {file.name, output.name, f"{kind}.file", "checkpoints"}
    assert refused > 40


@pytest.mark.parametrize("kind", ["mmseg", "run"])
def test_every_flipped_bit_of_an_archive_is_found_or_harmless(tmp_path, kind):
    whole = write(tmp_path, kind)
    content, tensors = whole.read_bytes(), read_checkpoint(whole).tensors
    dice = random.Random(0)
    file = tmp_path / "flipped"
    for _ in range(100):
        changed = bytearray(content)
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
        file.write_bytes(changed)
        try:
            found = read_checkpoint(file).tensors
        except UserError:
            continue
        assert all(torch.equal(found[name], value) for name, value in tensors.items())


def test_a_failed_write_leaves_the_earlier_output_and_no_remains(tmp_path, monkeypatch):
    checkpoint = read_checkpoint(write(tmp_path, "run"))
    output = tmp_path / "output.pt"
    output.write_text("precious")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"could not write .*output\.pt: No space left on device"):
        convert(checkpoint, output, "native", HEADS["others"])
    assert output.read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} == {"output.pt", "checkpoints"}

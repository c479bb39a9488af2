"""What a conversion refuses before it writes, and what it says of what it wrote: every line of it."""

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from checkpoint_files import make_mae, randomise
from test_strange_files import MODEL

from mae_hydra.errors import UserError
from mae_hydra.seeds import seed_device
from mae_hydra.weights import Checkpoint, read_checkpoint
from mae_hydra.workflows import convert as converting
from mae_hydra.workflows import entry
from mae_hydra.workflows.convert import _differences, convert
from mae_hydra.workflows.entry import model_from

MODEL_ALONE: dict[str, Any] = {"model": MODEL}
NORM = "encoder.blocks.2.norm1.weight"


def carried(**meta: Any) -> Checkpoint:
    """A masked autoencoder with the configuration that a run carries of it."""
    return Checkpoint(dict(make_mae().state_dict()), {"config": {"model": MODEL}, **meta}, "mae_hydra", Path("a.pt"))


def test_each_tensor_of_a_model_is_there_with_its_shape_and_no_other_is() -> None:
    wanted = {"a": (2, 3), "b": (4,), "c": (5,)}
    assert list(_differences(wanted, wanted)) == []
    assert list(_differences(wanted, {"a": (3, 2), "b": (4,), "c": (6,)})) == [
        "a is (3, 2), expected (2, 3)", "c is (6,), expected (5,)"
    ]  # fmt: skip
    assert next(_differences(wanted, {"a": (2, 3), "x": (1,)})) == "it lacks {b, c}"
    assert next(_differences(wanted, wanted | {"x": (1,), "y": (1,)})) == "it also has {x, y}"


def test_a_conversion_tells_what_it_took_left_out_and_assumed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = replace(
        carried(layer_norm_eps=1e-12, ignored=["a.B", "c.D"]), unused=("pooler.bias", "loss"), remarks=("one", "two")
    )
    count, output = len(found.tensors), tmp_path / "out.pth"
    output.write_text("precious")
    for tensor, said in ((torch.full((16,), -torch.inf).half(), "NaN or infinite values"), (torch.zeros(8), "(8,)")):
        with pytest.raises(UserError, match=r"encoder\.blocks\.2\.norm1\.weight") as caught:
            convert(replace(found, tensors=found.tensors | {NORM: tensor}), output, "native")
        assert said in str(caught.value)
        assert output.read_text() == "precious"
    read = f"read  a.pt: mae_hydra, ViT of 4 blocks of width 16, {count} tensors"
    beside = [
        "left out, without a place there: pooler.bias  loss", "note: one", "note: two",
        "not built, only stood in for: a.B, c.D",
    ]  # fmt: skip
    assert convert(found, output, "official") == [
        read,
        f"wrote {output}: official MAE, encoder and decoder, {count} tensors",
        "note: its LayerNorms add 1e-12 to the variance, which the official layout cannot tell; readers of that add "
        "1e-06, and get slightly other numbers",
        *beside,
    ]
    assert convert(found, output, "native") == [read, f"wrote {output}: mae_hydra, {count} tensors", *beside]
    with caplog.at_level(logging.WARNING, logger="mae_hydra"):
        assert not model_from(found).training
    assert [record.getMessage() for record in caplog.records] == ["one", "two"]
    caplog.clear()
    monkeypatch.setattr(entry, "model_configuration", lambda checkpoint, words: (MODEL_ALONE, ["noted", *words]))
    bare = Checkpoint(found.tensors, {}, "", Path("b.pt"))
    cases = ((bare, True), (replace(bare, meta={"norm_pix": True}), False), (carried(), False))
    before = torch.get_rng_state()
    for checkpoint, assumed in cases:
        with caplog.at_level(logging.WARNING, logger="mae_hydra"):
            model_from(checkpoint, "a=1")
        said = [record.getMessage().partition(": ")[2] for record in caplog.records]
        assert said == ["noted", "a=1", *([entry.UNKNOWN_TARGET] if assumed else [])]
        caplog.clear()
    assert torch.equal(torch.get_rng_state(), before)  # the caller's generators stay as they are
    monkeypatch.setattr(entry, "model_of", lambda *told: pytest.fail("built before it was looked at"))
    with pytest.raises(UserError, match=r"encoder\.blocks\.2\.norm1\.weight"):
        model_from(replace(bare, tensors=bare.tensors | {NORM: torch.zeros(8)}))
    assert read_checkpoint(output).meta["config"]["model"]["decoder"]["num_heads"] == 2


def test_a_model_is_initialized_by_the_seed_of_a_configuration_that_was_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def composed(words: tuple[str, ...]) -> Any:
        return SimpleNamespace(seed=int(words[0]), model="node")

    monkeypatch.setattr(entry, "compose_config", composed)
    monkeypatch.setattr(entry, "check", lambda config: asked.append(config.seed))
    monkeypatch.setattr(entry, "construct", lambda node, key: (node, key, torch.rand(3).tolist()))
    before = torch.get_rng_state()
    made = [entry.build(seed) for seed in ("5", "6", "5")]
    assert torch.equal(torch.get_rng_state(), before)
    assert asked == [5, 6, 5]
    for seed, found in zip((5, 6, 5), made, strict=True):
        with torch.random.fork_rng():
            seed_device(seed, "init")
            assert found == ("node", "model", torch.rand(3).tolist())


def test_of_a_decoder_that_is_none_of_ours_the_encoder_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = dict(make_mae().state_dict())
    strange = Checkpoint(tensors | {"mask_tokens": torch.zeros(1)}, {}, "", Path("a.pt"))
    found = [SimpleNamespace(decoder_form=form) for form in ("unknown", "mae")]
    monkeypatch.setattr(converting, "describe", lambda checkpoint: found[0])
    encoder, left = converting._without_unknown_decoder(strange)
    assert encoder.tensors.keys() == {name for name in tensors if name.startswith("encoder.")}
    assert (set(left), len(left)) == (
        strange.tensors.keys() - encoder.tensors.keys(),
        len(tensors) + 1 - len(encoder.tensors),
    )
    del found[0]
    assert converting._without_unknown_decoder(strange) == (strange, ())


def test_each_line_of_a_conversion_has_its_own_facts(tmp_path: Path) -> None:
    """Of a file that tells nothing of its targets, and of one that carries its configuration."""
    heads, out = ("backbone.num_heads=2", "head.num_heads=2"), tmp_path / "out"
    kept = f"kept  {out}.old: the folder that was there, with what else was in it"
    target_note = f"note: {entry.UNKNOWN_TARGET}; --norm-pix says it"
    eps_note = "note: its LayerNorms add 1e-12 to the variance, which the mmseg layout cannot tell"
    out.mkdir()
    (out / "mine").touch()
    for target, words, norm_eps, wrote, notes in (
        ("huggingface", heads, 1e-12, "Hugging Face ViTMAEForPreTraining, 94", [kept, target_note]),
        ("native", (), 1e-12, "mae_hydra, 74", []),
        ("mmseg", heads, None, "mmsegmentation, converted encoder, 76", []),
        ("mmseg", (), 1e-6, "mmsegmentation, converted encoder, 76", []),
        ("mmseg", (), 1e-12, "mmsegmentation, converted encoder, 76", [eps_note]),
    ):  # fmt: skip
        saved = replace(carried(), unused=("unused",), remarks=("first", "second"))
        eps = {} if norm_eps is None else {"layer_norm_eps": norm_eps}
        saved = replace(saved, meta=eps | ({} if words else saved.meta))
        place = out if target == "huggingface" else tmp_path / "out.pt"
        lines = convert(saved, place, target, words)
        assert [line.partition(";")[0] if "LayerNorms" in line else line for line in lines] == [
            "read  a.pt: mae_hydra, ViT of 4 blocks of width 16, 74 tensors", f"wrote {place}: {wrote} tensors", *notes,
            "left out, without a place there: unused", "note: first", "note: second",
        ]  # fmt: skip


def test_a_conversion_tells_all_that_has_no_place_there(tmp_path: Path) -> None:
    tensors = dict(make_mae().state_dict()) | {"decoder.dec_norms.0.weight": torch.zeros(8)}  # of none of our decoders
    saved = Checkpoint(tensors, {}, "", Path("a.pt"), unused=("loss",))
    encoder = [name for name in tensors if name.startswith("encoder.")]
    lines = convert(saved, tmp_path / "out.pt", "native", ["backbone.num_heads=2"])
    assert lines[0].endswith(f", {len(encoder)} tensors")
    [left] = [line for line in lines if line.startswith("left out, without a place there: decoder.")]
    assert "decoder.dec_norms.0.weight" in left
    assert left.endswith("  loss")


def test_a_model_is_loaded_from_the_best_checkpoint_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads: list[bool] = []

    def read(path: Path, **how: Any) -> Checkpoint:
        downloads.append(how["download"])
        return read_checkpoint(path, **how)

    monkeypatch.setattr(entry, "read_checkpoint", read)
    (tmp_path / "checkpoints").mkdir()
    for seed, name in enumerate(("last", "best")):
        weights = randomise(make_mae(), seed).state_dict()
        content = {"model": weights, "config": {"name": "tiny", "model": MODEL}, "step": 7}
        torch.save(content, tmp_path / f"checkpoints/{name}.pt")
        assert torch.equal(entry.load(tmp_path).state_dict()[NORM], weights[NORM])
    assert downloads == [True, True]  # a person has typed the address

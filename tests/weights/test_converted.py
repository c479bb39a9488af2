"""What a conversion refuses before it writes, and what it says of what it wrote: every line of it."""

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from checkpoint_files import make_mae
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


def test_each_line_of_a_conversion_has_its_own_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    saved = replace(carried(), unused=("unused",), remarks=("first", "second"))
    told = SimpleNamespace(kind="mae", norm_pix=None, norm_eps=1e-12, size_name="small")
    made = SimpleNamespace(layout=SimpleNamespace(name="theirs"), tensors={"a": 1, "b": 2}, left_out=("left",))
    for name, stub in {
        "check_output": lambda path, target: done.append((path.name, target)),
        "check_finite": lambda checkpoint: done.append("finite"), "describe": lambda checkpoint: told,
        "check_whole": lambda checkpoint, config: done.append(config), "collapse": list,
        "model_configuration": lambda checkpoint, words: ({"model": list(words)}, ["noted"]),
        "to_layout": lambda tensors, target: made, "_without_unknown_decoder": lambda found: (found, ("strange",)),
        "write_checkpoint": lambda path, target, export, meta, described: done.append(meta["config"]),
    }.items():  # fmt: skip
        monkeypatch.setattr(converting, name, stub)
    monkeypatch.setattr(converting.atomic, "kept_aside", lambda path, names: Path(f"{path.name}.old"))
    count = len(saved.tensors)
    head = [
        f"read  a.pt: mae_hydra, small, {count} tensors",
        f"wrote {tmp_path / 'out'}: theirs, 2 tensors",
        "note: noted",
    ]
    kept = "kept  out.old: the folder that was there, with what else was in it"
    target_note = f"note: {entry.UNKNOWN_TARGET}; --norm-pix says it"
    tail = ["left out, without a place there: left  strange  unused", "note: first", "note: second"]
    for target, norm_pix, norm_eps, middle in (
        ("native", None, 1e-12, [target_note]), ("huggingface", None, 1e-12, [kept, target_note]),
        ("official", None, 1e-6, []), ("native", False, 1e-6, []), ("native", True, None, []),
        ("mmseg", None, 1e-12, ["eps"]), ("mmseg", None, None, []),
    ):  # fmt: skip
        told.norm_pix, told.norm_eps = norm_pix, norm_eps
        lines = convert(saved, tmp_path / "out", target, ["x=1"])
        eps = f"note: its LayerNorms add 1e-12 to the variance, which the {target} layout cannot tell"
        middle = [line.replace("eps", eps) if line == "eps" else line for line in middle]
        assert [line.partition(";")[0] if "LayerNorms" in line else line for line in lines] == [*head, *middle, *tail]
        config = {"model": ["x=1"]}
        assert done == [("out", target), "finite", config, config]
        done.clear()
    told.kind, told.norm_pix = "segmentation", None
    assert target_note not in convert(saved, tmp_path / "out", "native")


def test_a_model_is_loaded_from_the_best_checkpoint_with_the_words_on_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "read_checkpoint", lambda path, **told: (path, told))
    monkeypatch.setattr(entry, "model_from", lambda checkpoint, *words: (checkpoint, words))
    assert entry.load("run", "a=1", "b=2") == (("run", {"prefer": "best", "download": True}), ("a=1", "b=2"))

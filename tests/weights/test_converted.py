"""What a conversion refuses before it writes, and what it says of what it wrote: every line of it."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import make_mae
from test_strange_files import MODEL

from mae_hydra.errors import UserError
from mae_hydra.weights import Checkpoint, read_checkpoint
from mae_hydra.workflows.convert import _differences, convert
from mae_hydra.workflows.entry import model_from

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


def test_a_conversion_tells_what_it_took_left_out_and_assumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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
        model_from(found)
    assert [record.getMessage() for record in caplog.records] == ["one", "two"]
    assert read_checkpoint(output).meta["config"]["model"]["decoder"]["num_heads"] == 2

"""What `convert --inspect` says of a file, row by row."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from checkpoint_files import make_encoder, make_mae, make_upernet

from mae_hydra.commands import inspect_checkpoint
from mae_hydra.commands.inspect_checkpoint import rows
from mae_hydra.errors import UserError
from mae_hydra.weights import Checkpoint


@pytest.fixture(autouse=True)
def no_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file fits is tried elsewhere; here it is only told."""
    tried = [("load", ""), ("evaluate", "too small"), ("init_from", "too small"), ("export", "")]
    monkeypatch.setattr(inspect_checkpoint, "fits", lambda checkpoint: iter(tried))


def told(model: torch.nn.Module, meta: dict | None = None, **more: object) -> dict[str, str]:
    given: dict = {"unused": (), "checked": True} | more
    checkpoint = Checkpoint(model.state_dict(), meta or {}, "the layout", Path("a.pt"))
    for name, value in given.items():
        object.__setattr__(checkpoint, name, value)
    return dict(rows(checkpoint))


def test_a_masked_autoencoder_is_told_part_by_part() -> None:
    model = make_mae()
    found = told(model, {"norm_pix": False, "step": 12, "epoch": 3})
    count = sum(parameter.numel() for parameter in model.parameters())
    assert (found["layout"], found["model"]) == ("the layout", "a masked autoencoder, ViT of 4 blocks of width 16")
    assert found["parameters"] == f"{count:,} in {len(model.state_dict())} tensors, float32"
    assert found["encoder"] == "width 16, depth 4, heads unknown, with final norm"
    assert found["patch, channels"] == "8 pixels, 3 channels"
    assert found["positions"] == "4x4 patches, images of 32x32"
    assert found["decoder"] == "width 8, depth 1, heads unknown"
    assert found["target"] == "plain pixels"
    assert (found["head"], found["trained"]) == ("none", "step 12, epoch 3")
    assert (found["fits"], found["does not fit"]) == ("load\nexport", "evaluate, init_from: too small")
    assert not {"classes", "beside it", "checksums", "problem", "not built"} & set(found)
    assert told(model, {"norm_pix": True})["target"] == "pixels normalized per patch"
    untold = told(model)
    assert untold["target"].startswith("not told by the file: mae_pretrain_*_full predict normalized pixels")
    assert untold["trained"] == "not told by the file"


def test_a_segmentation_model_is_told_with_its_head_and_its_classes() -> None:
    names = [f"c{n}" for n in range(9)]
    found = told(
        make_upernet(num_classes=9), {"class_names": names, "ignored": ["theirs.Class"]}, checked=False,
        unused=("loss.a", "loss.b"),
    )  # fmt: skip
    assert found["model"] == "a UPerNet, ViT of 4 blocks of width 16"
    assert found["encoder"] == "width 16, depth 4, 2 heads, with relative position bias, LayerScale"
    assert found["decoder"] == "none"
    assert found["head"] == "9 classes, 8 channels, 2 pooling scales, auxiliary 8 channels"
    assert found["classes"] == "9: c0, c1, c2, c3, c4, c5, c6, c7, …"
    assert found["beside it"].endswith("(2 tensors, unused)")
    assert found["checksums"].startswith("none: this kind of file has no checksums")
    assert found["not built"].startswith("theirs.Class (Python objects")


def test_an_encoder_that_has_diverged_says_so() -> None:
    model = make_encoder(final_norm=False)
    model.cls_token.data.fill_(float("nan"))
    encoder = torch.nn.ModuleDict({"encoder": model})
    found = told(encoder)
    assert (found["head"], found["decoder"]) == ("none", "none")
    assert found["encoder"].endswith("plain")
    assert "NaN or infinite" in found["problem"]


@pytest.mark.parametrize(
    ("known", "remark"), [(True, ""), (False, " (if they are a square, which the file does not tell)")]
)
def test_a_grid_that_is_only_likely_is_told_as_such(monkeypatch: pytest.MonkeyPatch, known: bool, remark: str) -> None:
    monkeypatch.setattr(inspect_checkpoint, "known_grid", lambda *given: (4, 4) if known else None)
    assert told(make_mae())["positions"] == f"4x4 patches, images of 32x32{remark}"


def test_height_comes_before_width_and_a_grid_that_nobody_knows_is_said() -> None:
    model: Any = SimpleNamespace(grid=(2, 4), image_size=(16, 32), num_positions=8)
    assert inspect_checkpoint._positions(model, True) == "2x4 patches, images of 16x32"
    model.grid = None
    assert inspect_checkpoint._positions(model, True).startswith("8 patches, in no square grid")


def test_a_head_is_told_with_what_belongs_to_it() -> None:
    head: Any = SimpleNamespace(num_classes=3, kind="segmentation", head_width=4, pools=2, auxiliary_width=None)
    assert inspect_checkpoint._head(head) == "3 classes, 4 channels, 2 pooling scales, no auxiliary head"
    head.kind = "classification"
    assert inspect_checkpoint._head(head) == "3 classes"


def test_encoder_and_decoder_have_their_own_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = SimpleNamespace(kind="pretraining", size_name="s", parameters=1, dtype="float32", patch_size=8)
    vars(model).update(channels=3, grid=None, num_positions=2, norm_pix=True, num_classes=None, num_cls_tokens=1)
    vars(model).update(relative_positions=False, layer_scale=False, final_norm=True, norm_eps=1e-6)
    model.encoder, model.decoder = (SimpleNamespace(dim=n, depth=n + 1, heads=n + 2) for n in (10, 20))
    model.decoder_form = None
    monkeypatch.setattr(inspect_checkpoint, "describe", lambda checkpoint: model)
    monkeypatch.setattr(inspect_checkpoint, "WORDS", {"pretraining": "p"})
    found = told(make_encoder())
    assert found["encoder"] == "width 10, depth 11, 12 heads, with final norm, LayerNorm epsilon 1e-06"
    assert found["decoder"] == "width 20, depth 21, 22 heads"
    model.decoder, model.decoder_form = None, "unknown"
    assert told(make_encoder())["decoder"] == "of parts that have other names than ours"


def test_several_cls_tokens_eight_classes_and_a_file_that_fits_nothing_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inspect_checkpoint, "fits", lambda checkpoint: iter([("load", "a"), ("evaluate", "b")]))
    names = [f"c{n}" for n in range(8)]
    checkpoint = Checkpoint(make_mae(num_cls_tokens=2).state_dict(), {"class_names": names}, "l", Path("a.pt"))
    found = list(rows(checkpoint))
    assert ("encoder", "width 16, depth 4, heads unknown, with 2 cls tokens, final norm") in found
    assert ("classes", f"8: {', '.join(names)}") in found
    assert [each for each in found if "fit" in each[0]] == [
        ("fits", "nothing"), ("does not fit", "load: a"), ("does not fit", "evaluate: b")
    ]  # fmt: skip


@pytest.mark.parametrize("diverged", [False, True])
def test_a_model_of_a_part_of_ones_own_is_told_with_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, diverged: bool
) -> None:
    for name in ("sketch_of", "check_exact"):
        monkeypatch.setattr(inspect_checkpoint, name, lambda *given: None)
    model = torch.nn.ModuleDict({"encoder": torch.nn.Linear(2, 3, bias=False), "head": torch.nn.Linear(3, 1)})
    if diverged:
        model["head"].weight.data.fill_(float("inf"))
    config = {"model": {"_target_": "mae_hydra.models.Segmenter", "encoder": {"_target_": "mylab.Net"}}}
    found = told(model, {"config": config, "step": 12})
    assert found["parameters"] == "10 in 3 tensors, float32"
    assert (found["model"], found["model.encoder"]) == ("mae_hydra.models.Segmenter", "mylab.Net")
    assert found["trained"] == "step 12"
    assert found["fits"] == "mae_hydra.load, evaluate, init_from= of a model with an encoder like it"
    assert ("NaN or infinite" in found.get("problem", "")) is diverged


def test_of_a_model_of_ones_own_it_is_told_which_tensors_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """And every kind of number that it holds."""
    sketched: list[Any] = []

    def check(sketch: str, checkpoint: Checkpoint) -> None:
        sketched.append(sketch)
        raise UserError("head.weight is not there")

    monkeypatch.setattr(inspect_checkpoint, "sketch_of", lambda checkpoint, config: f"{config['model']}")
    monkeypatch.setattr(inspect_checkpoint, "check_exact", check)
    model = torch.nn.ModuleDict({"b": torch.nn.Linear(2, 3), "a": torch.nn.Linear(3, 1).half()})
    found = told(model, {"config": {"model": "mine"}, "class_names": ["c", "d"]})
    assert found["parameters"] == "13 in 4 tensors, float16, float32"
    assert (found["does not fit"], found["classes"]) == ("mae_hydra.load: head.weight is not there", "2: c, d")
    assert "fits" not in found
    assert found["converts to"].startswith("nothing")
    assert sketched == ["mine"]


def test_tensors_without_an_encoder_and_a_configuration_are_no_model() -> None:
    with pytest.raises(UserError):
        list(rows(Checkpoint({"a.weight": torch.zeros(2)}, {}, "l", Path("a.pt"))))


def test_what_else_a_file_tells_has_a_row_each() -> None:
    checkpoint = Checkpoint(
        make_mae().state_dict(), {}, "l", Path("a.pt"), part="teacher", remarks=("one", "two"), unused=("x.1", "y"),
        checked=False,
    )  # fmt: skip
    found = list(rows(checkpoint))
    assert ("part", "'teacher' of the file") in found
    assert [value for name, value in found if name == "note"] == ["one", "two"]
    assert [name for name, _ in found if name == "checksums"] == ["checksums"]
    [(_, beside)] = [row for row in found if row[0] == "beside it"]
    assert beside == "x.1  y (2 tensors, unused)"
    [(_, possible)] = [row for row in found if row[0] == "converts to"]
    plain = [name for name, _ in rows(Checkpoint(make_mae().state_dict(), {}, "l", Path("a.pt")))]
    assert not {"part", "note", "beside it", "checksums"} & set(plain)
    assert possible == "official, timm (20 tensors left out), huggingface, mmseg, native"

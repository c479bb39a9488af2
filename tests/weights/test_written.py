"""What is written beside the tensors, for whoever reads them next: whole tables, and what cannot be told."""

import json
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import make_mae, make_upernet
from rich.console import Console
from safetensors import safe_open

from mae_hydra.errors import UserError
from mae_hydra.weights import Checkpoint, Export, describe, to_layout, write_checkpoint
from mae_hydra.weights.describe import Description, Stack
from mae_hydra.weights.layouts import NATIVE, mmseg, names, official
from mae_hydra.weights.report import Row, TransferReport, _ranges, collapse
from mae_hydra.weights.write import _content, _for_others, _mmseg_meta, _texts, check_output, huggingface_config

META = {"config": {"seed": 1}, "step": 7, "class_names": ["a", "b"], "palette": [[1, 2, 3], [4, 5, 6]]}


def described(**changes: Any) -> Description:
    model = make_mae(num_heads=4)
    found = describe(Checkpoint(dict(model.state_dict()), {}, "", Path("a.pt")))
    stacks = {"encoder": Stack(16, 4, 2, 2.0), "decoder": Stack(8, 1, 4, 3.0)}
    return replace(found, **{**stacks, "norm_pix": True, "norm_eps": 1e-5, "mask_ratio": 0.6, **changes})


COMMON = {
    "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "layer_norm_eps": 1e-5, "image_size": 32,
    "patch_size": 8, "num_channels": 3, "qkv_bias": True,
}  # fmt: skip
VIT = {"model_type": "vit_mae", "intermediate_size": 32, "mask_ratio": 0.6, "norm_pix_loss": True}
DECODER = {
    "decoder_hidden_size": 8, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 24,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, COMMON | VIT | DECODER | {"architectures": ["ViTMAEForPreTraining"]}),
        ({"decoder": None}, COMMON | VIT | {"architectures": ["ViTMAEModel"]}),
        (
            {"decoder": None, "norm_eps": None, "mask_ratio": None, "norm_pix": None},
            COMMON | VIT | {"architectures": ["ViTMAEModel"], "layer_norm_eps": 1e-6, "mask_ratio": 0.75,
                            "norm_pix_loss": False},
        ),
        (
            {"num_cls_tokens": 8},
            COMMON | {"architectures": ["PixioModel"], "model_type": "pixio", "mlp_ratio": 2, "n_cls_tokens": 8},
        ),
    ],
)  # fmt: skip
def test_hugging_faces_configuration_has_each_size_under_its_name(
    changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert huggingface_config(described(**changes)) == expected


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"encoder": Stack(16, 4, None, 2.0)}, "this checkpoint tells no heads"),
        ({"grid": (4, 2)}, r"an image of \(32, 16\)"),
        ({"grid": None}, "an image of None"),
        ({"decoder": Stack(8, 1, None, 2.0)}, "the number of the decoder's attention heads is not known"),
        ({"encoder": Stack(16, 4, 2, 2.5), "num_cls_tokens": 2}, r"whole numbers for mlp_ratio; this one's is 2\.5"),
    ],
)
def test_what_hugging_faces_configuration_cannot_tell_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        huggingface_config(described(**changes))


def test_what_names_and_shapes_do_not_tell_is_written_beside_them() -> None:
    encoder = {"image_size": [32, 32], "patch_size": 8, "num_heads": 2}
    assert _for_others(described()) == {
        "encoder": encoder, "decoder": {"num_heads": 4}, "norm_pix": True, "mask_ratio": 0.6,
    }  # fmt: skip
    untold = described(decoder=None, norm_pix=None, mask_ratio=None, grid=None)
    assert _for_others(untold) == {"encoder": encoder | {"image_size": None}}
    assert _for_others(described(norm_pix=False))["norm_pix"] is False
    classes = {"classes": ("a", "b"), "palette": META["palette"]}
    assert _mmseg_meta(META) == {"CLASSES": ("a", "b"), "PALETTE": META["palette"], "dataset_meta": classes}
    assert _mmseg_meta({"palette": []}) == {}


def test_a_native_file_has_all_that_was_told_in_its_places() -> None:
    tensors: Any = {"a": torch.zeros(1)}
    rest = {"class_names": ["a", "b"], "palette": META["palette"]}
    assert _content("native", tensors, META, None) == {"model": tensors, "config": {"seed": 1}, "step": 7, "meta": rest}
    assert _content("native", tensors, {"epoch": 1}, None) == {"model": tensors, "meta": {"epoch": 1}}
    texts = {"config": '{"seed": 1}', "step": "7",
             "meta": '{"class_names": ["a", "b"], "palette": [[1, 2, 3], [4, 5, 6]]}'}  # fmt: skip
    assert _texts("native", META, None) == texts
    assert _texts("native", {"step": 0}, None) == {"step": "0", "meta": "{}"}


def test_a_file_for_others_has_what_each_looks_for_where_it_looks() -> None:
    tensors: Any = OrderedDict(a=torch.zeros(1))
    told = _for_others(described())
    mapped = {"CLASSES": ("a", "b"), "PALETTE": META["palette"]}
    mapped["dataset_meta"] = {"classes": ("a", "b"), "palette": META["palette"]}
    assert _content("mmseg", tensors, META, described(kind="segmentation")) == {
        "meta": mapped, "state_dict": tensors, "mae_hydra": told,
    }  # fmt: skip
    assert _content("official", tensors, META, described()) == {"model": tensors, "mae_hydra": told}
    for target, kind in (("mmseg", "encoder"), ("timm", "segmentation"), ("timm", "mae")):
        bare: Any = _content(target, OrderedDict(a=torch.zeros(1)), META, described(kind=kind))
        assert (list(bare), bare._metadata) == (["a"], {"mae_hydra": told})
    for target in ("official", "mmseg"):
        assert _texts(target, META, described()) == {"mae_hydra": json.dumps(told)}


def test_views_of_one_memory_are_written_as_large_as_they_are(tmp_path: Path) -> None:
    whole = torch.arange(10_000.0)
    views = {"encoder.a": whole[:2], "encoder.b": whole[::5_000], "encoder.c": whole[:2]}
    for name in ("a.pt", "a.safetensors"):
        write_checkpoint(tmp_path / name, "native", Export(views, NATIVE, ()), {"step": 0, "config": {}}, None)
        assert (tmp_path / name).stat().st_size < 5_000
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    assert (content["step"], content["config"], content["meta"]) == (0, {}, {})
    assert {name: tensor.tolist() for name, tensor in content["model"].items()} == {
        "encoder.a": [0, 1], "encoder.b": [0, 5000], "encoder.c": [0, 1],
    }  # fmt: skip
    exported = Export({"cls_token": torch.zeros(1)}, NATIVE, ())
    write_checkpoint(tmp_path / "b.safetensors", "official", exported, {}, described())
    with safe_open(tmp_path / "b.safetensors", framework="pt") as file:  # whatever the layout is called
        assert json.loads(file.metadata()["mae_hydra"]) == _for_others(described())


def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for name, target, said in (
        ("out.pth", "huggingface", "is a folder with config.json"), ("", "native", "is a file, so give a file name"),
        ("none/out.pt", "native", "there is no folder"), ("none/out", "huggingface", "there is no folder"),
        ("out.bin", "huggingface", "give a folder name"), ("file/out.pt", "native", "there is no folder"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            check_output(tmp_path / name, target)
    check_output(tmp_path / "out.pt", "native")
    check_output(tmp_path, "huggingface")
    asked: list[Any] = []
    monkeypatch.setattr("mae_hydra.atomic.check_writable", lambda folder, way_out: asked.append(folder))
    check_output(tmp_path / "out.pt", "native")
    assert asked == [tmp_path]


def test_a_layout_has_a_place_for_what_computes_the_same() -> None:
    state = dict(make_upernet().state_dict())
    for name in [name for name in state if name.endswith("table")]:
        state[name] = torch.zeros_like(state[name])
    encoder = {name: value for name, value in state.items() if name.startswith("encoder.")}
    alone = encoder | {"encoder.norm.weight": torch.ones(16), "encoder.norm.bias": torch.zeros(16)}
    left = to_layout(alone, "official").left_out
    assert {name.rpartition(".")[2] for name in left} == {"gamma_1", "gamma_2", "relative_position_bias_table"}
    for name, value in (("gamma_2", torch.zeros(16)), ("attn.relative_position_bias_table", torch.ones(52, 2))):
        with pytest.raises(UserError, match=rf"a plain ViT and has no place for encoder\.blocks\.1\.{name}"):
            to_layout(alone | {f"encoder.blocks.1.{name}": value}, "official")
    biased = {**alone, "encoder.blocks.0.attn.qkv.bias": torch.arange(48.0), "encoder.blocks.1.attn.qkv.bias":
              torch.cat([torch.ones(16), torch.zeros(16), torch.ones(16)])}  # fmt: skip
    assert to_layout(biased, "timm").left_out == ("encoder.blocks.0.attn.qkv.bias (key part)",)
    several = dict(alone) | {"encoder.cls_token": torch.zeros(1, 3, 16), "encoder.pos_embed": torch.zeros(1, 19, 16)}
    export = to_layout(several, "timm")  # of which timm has no BEiT
    assert (export.layout.name, export.left_out) == ("timm ViT with reg_tokens", left)
    assert export.tensors["reg_token"].shape == (1, 2, 16)
    with pytest.raises(UserError, match="there is no layout 'keras'"):
        to_layout(alone, "keras")


def test_names_are_translated_by_one_table_both_ways() -> None:
    pairs = (("a.#.x.*", "b.#.y.*"), ("c_#", "d_#"), ("e", "f"))
    tensors: Any = {"a.12.x.w.v": 1, "c_3": 2, "e": 3, "other": 4, "a.x.x.w": 5}
    ours = names.to_native(tensors, pairs)
    assert ours == {"b.12.y.w.v": 1, "d_3": 2, "f": 3, "other": 4, "a.x.x.w": 5}
    assert names.from_native(ours, pairs) == tensors
    assert [names.known(name, pairs) for name in ("b.1.y.w", "d_1", "f", "a.1.x.w", "b.y.w")] == [True] * 3 + [
        False
    ] * 2
    token = torch.arange(6.0).view(1, 3, 2)
    split = official.split_tokens({"cls_token": token, "x": token})
    assert torch.equal(split["cls_token"], token[:, :1])
    assert torch.equal(split["reg_token"], token[:, 1:])
    tables: Any = {f"backbone.layers.{n}.attn.relative_position_bias_table": torch.zeros(52, 2) for n in range(2)}
    indices = [name for name in mmseg._with_indices(tables) if name.endswith("relative_position_index")]
    assert indices == [f"backbone.layers.{n}.attn.relative_position_index" for n in range(2)]
    with pytest.raises(UserError, match="which is no square grid"):
        mmseg._square_grid("x", torch.zeros(50, 2))


def test_a_report_counts_and_names_what_became_of_each_tensor() -> None:
    rows = (Row("a.w", "loaded"), Row("a.b", "resized", "4x4 → 8x8"), Row("c.w", "new"), Row("d.w", "unused"),
            Row("e.w", "loaded"))  # fmt: skip
    report = TransferReport("file", rows, ("one",))
    assert (report.taken(), report.names("new")) == (["a.w", "e.w", "a.b"], ["c.w"])
    assert report.lines() == [
        "loaded   a.w", "resized  a.b 4x4 → 8x8", "new      c.w", "unused   d.w", "loaded   e.w",
    ]  # fmt: skip
    assert report.summary().split(", ")[:2] == [
        "2 loaded (taken from the file)",
        "1 resized (taken from the file and resized)",
    ]
    blocks = [Row(f"encoder.blocks.{number}.norm1.{kind}", "loaded") for number in range(2) for kind in "wb"]
    table = TransferReport(
        "f", (*blocks, Row("head.a.w", "new", "why"), Row("head.b.w", "new"), Row("lone", "unused"))
    ).table()
    columns = [list(column.cells) for column in table.columns]
    assert [list(row) for row in zip(*columns, strict=True)] == [
        ["loaded", "encoder.blocks", "0-1.norm1.{w, b}", "4"], ["new", "head", "a.w  (why)", "1"],
        ["new", "head", "b.w", "1"], ["unused", "", "lone", "1"],
    ]  # fmt: skip
    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        report.show(console)
    assert "note: one" in console.export_text()
    assert [_ranges(numbers) for numbers in ([3, 1, 2], [0, 2, 3, 7], [5], [1, 1])] == ["1-3", "0+2-3+7", "5", "1+1"]
    assert collapse(["b.0.w", "b.2.w", "b.3.w", "x"]) == ["b.0+2-3.w", "x"]

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import rich.console
import torch
from checkpoint_files import (
    make_classifier,
    make_encoder,
    make_mae,
    make_patch_segmenter,
    make_upernet,
    official_names,
    randomise,
    write_run,
)

from mae_hydra.errors import UserError
from mae_hydra.weights import Checkpoint, load_exact, read_checkpoint, transfer
from mae_hydra.weights.report import Row, TransferReport, collapse
from mae_hydra.weights.resize import resize_positions, resize_relative_table

LAST = "auxiliary.classify.bias"


def checkpoint_of(model, **changes):
    tensors = {name: value.clone() for name, value in model.state_dict().items()} | changes
    return Checkpoint(
        {name: value for name, value in tensors.items() if value is not None}, {}, "test", Path("file.pt")
    )


def test_a_segmentation_model_started_from_a_mae_sees_what_the_mae_sees(tmp_path):
    mae, segmenter = randomise(make_mae()).double(), make_upernet().double()
    transfer(segmenter, read_checkpoint(write_run(tmp_path, mae)))
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    before_norm = []
    mae.encoder.norm.register_forward_pre_hook(lambda _module, inputs: before_norm.append(inputs[0]))
    mae.encoder.tokens(images)
    last = segmenter.encoder.feature_maps(images)[-1]
    torch.testing.assert_close(last.flatten(2).transpose(1, 2), before_norm[0][:, 1:], rtol=1e-10, atol=1e-10)


def test_the_report_says_of_every_tensor_what_became_of_it(tmp_path):
    mae, segmenter = make_mae(), make_upernet(image_size=[64, 48])
    report = transfer(segmenter, read_checkpoint(write_run(tmp_path, mae)))
    own, theirs = segmenter.state_dict().keys(), mae.state_dict().keys()
    assert [row.name for row in report.rows] == [*own, *(name for name in theirs if name not in own)]
    assert report.names("resized") == ["encoder.pos_embed"]
    assert set(report.names("loaded")) == own & theirs - {"encoder.pos_embed"}
    assert set(report.names("new")) == own - theirs
    assert set(report.names("unused")) == theirs - own
    kinds = {name.split(".")[0] if "blocks" not in name else name.split(".", 3)[3] for name in report.names("new")}
    assert kinds == {"gamma_1", "gamma_2", "attn.relative_position_bias_table", "pyramid", "head", "auxiliary"}
    assert {name.split(".")[0] for name in report.names("unused")} == {"encoder", "decoder"}
    assert Row("encoder.pos_embed", "resized", "4x4 → 8x6 patches, bicubic") in report.rows


def test_new_tensors_keep_their_initial_values_and_loaded_ones_are_the_files():
    mae, segmenter = randomise(make_mae()), make_upernet()
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    report = transfer(segmenter, checkpoint_of(mae))
    after = segmenter.state_dict()
    for name in report.names("new"):
        assert torch.equal(after[name], before[name])
    for name in report.names("loaded"):
        assert torch.equal(after[name], mae.state_dict()[name])
    assert not torch.equal(after["encoder.cls_token"], before["encoder.cls_token"])


def test_positions_and_relative_tables_of_another_grid_are_resized():
    small, large = randomise(make_upernet()), make_upernet(image_size=[48, 64])
    report = transfer(large, checkpoint_of(small))
    tables = [f"encoder.blocks.{index}.attn.relative_position_bias_table" for index in range(4)]
    assert set(report.names("resized")) == {"encoder.pos_embed", *tables}
    source, target = small.state_dict(), large.state_dict()
    with pytest.raises(UserError, match=r"table in file\.pt has \(50, 2\) values, which fit no 4x4 grid"):
        transfer(large, checkpoint_of(small, **{tables[2]: torch.zeros(50, 2)}))
    expected = resize_positions(source["encoder.pos_embed"], (4, 4), (6, 8))
    assert torch.equal(target["encoder.pos_embed"], expected)
    for name in tables:
        assert torch.equal(target[name], resize_relative_table(source[name], (4, 4), (6, 8)))


def test_both_position_tables_of_a_mae_are_resized_to_another_shape_of_as_many_patches():
    wide, high = make_mae(image_size=[16, 64]), make_mae(image_size=[64, 16])
    report = transfer(high, checkpoint_of(wide))
    assert report.names("resized") == ["encoder.pos_embed", "decoder.pos_embed"]
    assert report.names("unused") == report.names("new") == []
    assert torch.equal(transferred := high.encoder.pos_embed, high.state_dict()["encoder.pos_embed"])
    assert torch.equal(transferred, resize_positions(wide.encoder.pos_embed, (2, 8), (8, 2)))
    assert not transferred.requires_grad


def test_official_weights_start_both_models(tmp_path):
    mae = randomise(make_mae())
    torch.save({"model": official_names(mae)}, tmp_path / "full.pth")
    torch.save({"model": mae.encoder.state_dict()}, tmp_path / "encoder.pth")
    other = make_mae()
    assert transfer(other, read_checkpoint(tmp_path / "full.pth")).names("new") == []
    assert all(torch.equal(other.state_dict()[name], value) for name, value in mae.state_dict().items())
    report = transfer(make_upernet(), read_checkpoint(tmp_path / "encoder.pth"))
    assert report.names("unused") == ["encoder.norm.weight", "encoder.norm.bias"]
    with pytest.raises(UserError, match=r"it lacks \d+ tensors: .*mask_token"):
        transfer(make_mae(), read_checkpoint(tmp_path / "encoder.pth"))


def test_half_precision_weights_fill_a_full_precision_model():
    mae, other = make_mae(), make_mae()
    halves = {name: value.half() for name, value in mae.state_dict().items()}
    transfer(other, checkpoint_of(mae, **halves))
    assert other.encoder.cls_token.dtype == torch.float32
    assert torch.equal(other.encoder.cls_token, mae.encoder.cls_token.half().float())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder.blocks.2.norm1.bias": None}, r"it lacks 1 tensor: encoder\.blocks\.2\.norm1\.bias\. Give"),
        ({"encoder.blocks.0.norm3.bias": torch.zeros(16)}, r"it also has 1 tensor: encoder\.blocks\.0\.norm3\.bias"),
        ({"encoder.pos_embed": None}, r"it lacks 1 tensor: encoder\.pos_embed"),
        (
            {"encoder.blocks.1.mlp.fc1.bias": torch.zeros(64)},
            r"encoder\.blocks\.1\.mlp\.fc1\.bias is 64 in file\.pt, 32 in the model",
        ),
        (
            {"encoder.blocks.0.norm1.weight": torch.full((16,), float("nan"))},
            r"encoder\.blocks\.0\.norm1\.weight in file\.pt has NaN or infinite values",
        ),
        ({"encoder.cls_token": torch.full((1, 1, 16), float("inf"))}, r"cls_token in file\.pt has NaN or infinite"),
        ({"encoder.pos_embed": torch.zeros(1, 20, 16)}, r"positions for 19 patches and does not say in which grid"),
        ({"encoder.pos_embed": torch.zeros(17, 16)}, r"encoder\.pos_embed is 17x16 in file\.pt, 1x17x16 in the model"),
        ({"encoder.pos_embed": torch.zeros(1, 17, 8)}, r"encoder\.pos_embed is 1x17x8 in file\.pt, 1x17x16"),
        ({"encoder.pos_embed": torch.zeros(1, 26, 8)}, r"encoder\.pos_embed is 1x17x8 in file\.pt, 1x17x16"),
    ],
)
def test_what_the_rule_does_not_allow_is_named_and_nothing_is_loaded(changes, message):
    segmenter = make_upernet()
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    with pytest.raises(UserError, match=message):
        transfer(segmenter, checkpoint_of(randomise(make_mae()), **changes))
    assert all(torch.equal(value, before[name]) for name, value in segmenter.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embed_dim": 32}, r"the encoder in file\.pt has width 16, the model's has width 32: choose .*\(backbone=…"),
        ({"depth": 5, "out_indices": [0, 1, 2, 4]}, r"has depth 4, the model's has depth 5"),
        ({"patch_size": 4}, r"has patch size 8, the model's has patch size 4"),
        ({"in_chans": 1}, r"has channels 3, the model's has channels 1.*data=…"),
        (
            {"embed_dim": 32, "depth": 3, "out_indices": [0, 1, 2]},
            r"has depth 4, width 16, the model's has depth 3, width 32",
        ),
    ],
)
def test_a_backbone_of_another_size_is_one_sentence_with_the_way_out(changes, message):
    with pytest.raises(UserError, match=message):
        transfer(make_mae(**changes), checkpoint_of(make_mae()))


def test_another_number_of_heads_is_refused_although_the_shapes_agree(tmp_path):
    path = write_run(tmp_path, make_mae(), image_size=[32, 32], patch_size=8, num_heads=2)
    transfer(make_mae(num_heads=2), read_checkpoint(path))
    with pytest.raises(UserError, match="has heads 2, the model's has heads 4"):
        transfer(make_mae(num_heads=4), read_checkpoint(path))


def test_a_segmentation_model_does_not_start_a_mae_nor_one_of_other_classes():
    with pytest.raises(UserError, match=r"it lacks .*decoder"):
        transfer(make_mae(), checkpoint_of(make_upernet()))
    with pytest.raises(UserError, match=r"head\.classify\.weight is 5x8x1x1 in file\.pt, 7x8x1x1 in the model"):
        transfer(make_upernet(num_classes=7), checkpoint_of(make_upernet(num_classes=5)))


def test_a_segmentation_model_on_a_plain_backbone_takes_a_mae_too():
    plain = make_upernet(relative_position_bias=False, layer_scale=None, positions="fixed")
    report = transfer(plain, checkpoint_of(make_mae()))
    assert {name.split(".")[0] for name in report.names("new")} == {"pyramid", "head", "auxiliary"}


def test_loading_exactly_fills_the_same_model_and_refuses_any_other(tmp_path):
    model, other = randomise(make_upernet()), make_upernet()
    load_exact(other, read_checkpoint(write_run(tmp_path, model)))
    assert all(torch.equal(other.state_dict()[name], value) for name, value in model.state_dict().items())
    for wrong, message in (
        (checkpoint_of(make_mae()), "it lacks"),
        (checkpoint_of(model, extra=torch.zeros(1)), "it also has 1 tensor: extra"),
        (checkpoint_of(make_upernet(image_size=64)), r"encoder\.pos_embed is 1x65x16 in file\.pt"),
        (checkpoint_of(model, **{"encoder.cls_token": torch.full((1, 1, 16), float("nan"))}), "has NaN"),
        (checkpoint_of(model, **{LAST: torch.full((5,), float("-inf"))}), rf"{LAST} in file\.pt has NaN or infinite"),
    ):
        with pytest.raises(UserError, match=message):
            load_exact(other, wrong)


def test_numbered_names_collapse_and_can_be_read_back():
    names = [f"blocks.{i}.{part}.{kind}" for i in range(12) for part in ("attn.qkv", "mlp.fc1") for kind in "wb"]
    assert collapse(names) == ["blocks.0-11.{attn.qkv, mlp.fc1}.{w, b}"]
    assert collapse(["up.0.w", "up.1.w", "up.3.w"]) == ["up.0-1+3.w"]
    assert collapse(["token", "table"]) == ["{token, table}"]
    assert collapse(["a.1.x", "a.3.y"]) == ["a.1.x", "a.3.y"]
    assert collapse(["pools.0.1.conv.w", "pools.1.1.conv.w", "fc1.w"]) == ["{pools.0-1.1.conv, fc1}.w"]


def shown(report, width=80):
    console = rich.console.Console(record=True, width=width, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        report.show(console)
    return console.export_text()


def test_the_report_stays_short_and_the_log_lists_every_tensor(caplog):
    mae, segmenter = make_mae(depth=12, out_indices=[11]), make_upernet(depth=12, out_indices=[3, 5, 7, 11])
    report = transfer(segmenter, checkpoint_of(mae))
    with caplog.at_level(logging.INFO, logger="mae_hydra"):
        text = shown(report)
    assert len(report.rows) > 250
    assert len(text.splitlines()) < 50
    assert all(len(line) <= 80 for line in text.splitlines())
    for piece in ("148 loaded", "0-11.{norm1,", "gamma_1", "decoder.blocks", "classify"):
        assert piece in text
    logged = caplog.text
    for name in segmenter.state_dict().keys() | mae.state_dict().keys():
        assert f" {name}\n" in logged


def test_only_the_main_process_shows_the_report(monkeypatch):
    report = TransferReport("file.pt", (Row("encoder.cls_token", "loaded"),))
    assert "cls_token" in shown(report)
    monkeypatch.setenv("RANK", "1")
    assert shown(report) == ""


def test_an_encoder_keeps_its_frozen_and_trainable_positions_as_built():
    for positions, trains in (("fixed", False), ("learned", True)):
        segmenter = make_upernet(positions=positions)
        transfer(segmenter, checkpoint_of(make_mae()))
        assert segmenter.encoder.pos_embed.requires_grad is trains
    assert make_encoder().pos_embed.requires_grad is False


@pytest.mark.parametrize(
    ("make", "new", "unused"),
    [
        (lambda: make_classifier(), {"head.norm", "head.linear"}, {"decoder", "encoder.norm"}),
        (lambda: make_classifier("cls"), {"head.linear"}, {"decoder"}),
        (lambda: make_classifier("cls", batch_norm=True), {"head.batch_norm", "head.linear"}, {"decoder"}),
        (lambda: make_patch_segmenter(), {"head.norm", "head.classify"}, {"decoder"}),
    ],
)
def test_classifiers_and_probes_start_from_a_mae_with_exactly_their_head_new(tmp_path, make, new, unused):
    mae, model = randomise(make_mae()), make()
    report = transfer(model, read_checkpoint(write_run(tmp_path, mae)))
    assert {name.rpartition(".")[0] for name in report.names("new")} == new
    assert {"decoder" if n.startswith("decoder") else n.rpartition(".")[0] for n in report.names("unused")} == unused
    own, theirs = model.state_dict(), mae.state_dict()
    assert all(torch.equal(own[name], theirs[name]) for name in report.names("loaded"))


def test_a_classifier_of_other_classes_starts_its_last_layer_anew_when_asked(tmp_path):
    first = randomise(make_classifier())
    given = checkpoint_of(first, **{"head.linear.weight": torch.randn(9, 16), "head.linear.bias": torch.randn(9)})
    with pytest.raises(UserError, match=r"init_adapt=\[classes\]"):
        transfer(make_classifier(), given)
    report = transfer(make_classifier(), given, ["classes"])
    assert set(report.names("new")) == {"head.linear.weight", "head.linear.bias"}


@pytest.mark.parametrize(("pool", "batch_norm"), [("mean", False), ("cls", False), ("cls", True)])
def test_a_fine_tuned_classifier_or_a_probe_starts_a_upernet(pool, batch_norm):
    report = transfer(make_upernet(), checkpoint_of(randomise(make_classifier(pool, batch_norm))))
    assert all(name.startswith(("head.", "encoder.norm")) for name in report.names("unused"))
    assert {name.partition(".")[0] for name in report.names("new") if "gamma" not in name and "table" not in name} == {
        "pyramid", "head", "auxiliary",
    }  # fmt: skip


def test_a_norm_that_the_model_reads_is_not_made_up():
    without = {f"encoder.norm.{kind}": None for kind in ("weight", "bias")}
    with pytest.raises(UserError, match=r"it lacks 2 tensors: encoder\.norm"):
        transfer(make_classifier("cls"), checkpoint_of(make_mae(), **without))


def test_heads_that_no_file_tells_are_those_of_the_width_or_are_said():
    """They leave no trace in the shapes, and with others the same weights compute something else."""
    size = {"embed_dim": 192, "depth": 1, "out_indices": [0]}
    usual, more, fewer = (make_mae(num_heads=heads, **size) for heads in (3, 4, 2))
    given = checkpoint_of(usual)
    assert not transfer(usual, given).remarks
    for model in (more, fewer):
        [remark] = transfer(model, given).remarks
        said = "the file does not tell its attention heads: 3 are usual at its width, and the model has"
        assert remark.startswith(f"{said} {model.encoder.num_heads}")
    assert not transfer(fewer, replace(given, meta={"encoder": {"num_heads": 2}})).remarks
    told = make_upernet(num_heads=4, embed_dim=192)  # by the shape of its table
    assert not transfer(told, checkpoint_of(told)).remarks


def test_an_epsilon_that_is_larger_or_smaller_than_the_models_is_said():
    given = checkpoint_of(make_mae())
    for eps, said in ((1e-12, True), (1e-6, False), (1e-5, True)):
        remarks = transfer(make_mae(), replace(given, meta={"layer_norm_eps": eps})).remarks
        assert [f"add {eps:g} to the variance, the model's 1e-06" in remark for remark in remarks] == [True] * said

"""Rules of weights on tensors that a hand can write down: which grid, which rule, which model, what is said of it."""

import io
import logging
import os
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from checkpoint_files import make_classifier, make_encoder, make_mae, make_upernet, official_names
from safetensors.torch import save_file
from torch import Tensor, nn

from mae_hydra.archive import Unfit
from mae_hydra.errors import UserError
from mae_hydra.weights import Checkpoint, containers, describe, fitted_state, read, read_checkpoint, to_layout, transfer
from mae_hydra.weights.class_order import rows_by_name
from mae_hydra.weights.containers import Content, read_content
from mae_hydra.weights.families import Family, foreign_family
from mae_hydra.weights.fit_grid import fit_grid
from mae_hydra.weights.grids import known_grid, likely_grid
from mae_hydra.weights.layouts import kind_of, recognise
from mae_hydra.weights.layouts.huggingface import fuse
from mae_hydra.weights.parts import Part
from mae_hydra.weights.report import Row, TransferReport
from mae_hydra.weights.roots import gather
from mae_hydra.weights.rules import check_rule

FILE = Path("file.pt")


def positions(count: int, *, of: str = "encoder") -> dict[str, Tensor]:
    """A table of learned positions: none tells where it is."""
    return {f"{of}.pos_embed": torch.arange(1.0 + 4 * (count + 1)).sin()[1:].view(1, count + 1, 4)}


def fixed(height: int, width: int, *, of: str = "encoder") -> dict[str, Tensor]:
    """A table whose first half tells the column and whose second half tells the row."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    patches = torch.stack([columns, columns, rows, rows], -1).reshape(1, -1, 4).float()
    return {f"{of}.pos_embed": torch.cat([torch.zeros(1, 1, 4), patches], 1)}


def biases(rows: int) -> dict[str, Tensor]:
    return {"encoder.blocks.0.attn.relative_position_bias_table": torch.zeros(rows, 2)}


def told(size: Any, patch: Any = 8) -> dict[str, Any]:
    return {"encoder": {"image_size": size, "patch_size": patch}}


@pytest.mark.parametrize(
    ("tensors", "meta", "known", "likely"),
    [
        (positions(16), {}, None, (4, 4)), (positions(12), {}, None, None),
        (positions(12), told([24, 32]), (3, 4), (3, 4)), (positions(16), told(32), (4, 4), (4, 4)),
        (positions(12), told([24, 40]), None, None),  # tells of other patches
        (positions(16), told([32, 32], 0), None, (4, 4)), (positions(16), told(["32", 32]), None, (4, 4)),
        (positions(16), told([32, 32, 32]), None, (4, 4)), (positions(12), told([27, 39]), (3, 4), (3, 4)),
        (positions(12), told([3, 4], 1), (3, 4), (3, 4)),
        (fixed(3, 4), {}, (3, 4), (3, 4)), (fixed(4, 3), {}, (4, 3), (4, 3)), (fixed(1, 6), {}, (1, 6), (1, 6)),
        (fixed(6, 1), {}, (6, 1), (6, 1)), (fixed(2, 2), {}, (2, 2), (2, 2)),
        ({"encoder.pos_embed": torch.zeros(1, 17, 4)}, {}, None, (4, 4)),  # a table of one value tells nothing
        (positions(12) | fixed(3, 4, of="decoder"), {}, (3, 4), (3, 4)),
        (positions(16) | fixed(3, 4, of="decoder"), {}, None, (4, 4)),  # of another grid than its encoder
        (positions(16) | biases(7 * 7 + 3), {}, (4, 4), (4, 4)), (positions(16) | biases(3 * 15 + 3), {}, None, None),
        ({"encoder.pos_embed": torch.zeros(17, 4)}, told(32), None, None), ({}, told(32), None, None),
    ],
)  # fmt: skip
def test_a_grid_is_known_by_what_a_file_says_or_by_its_tables_and_else_likely_a_square(
    tensors: dict[str, Tensor], meta: dict[str, Any], known: Any, likely: Any
) -> None:
    assert (known_grid(tensors, meta), likely_grid(tensors, meta)) == (known, likely)


def test_a_table_is_fitted_to_the_grid_around_it_and_nothing_else_is() -> None:
    block = nn.ModuleDict({"attn": nn.Identity()})
    model: Any = nn.ModuleDict({"encoder": nn.ModuleDict({"blocks": nn.ModuleList([block])})})
    checkpoint = Checkpoint(positions(16), {}, "test", FILE)
    own, table = torch.zeros(1, 7, 4), positions(16)["encoder.pos_embed"]

    def fitted(name: str, tensor: Tensor, known: Any, guessed: Any, own: Tensor = own) -> tuple[tuple[int, ...], str]:
        made, note = fit_grid(model, name, tensor, own, (known, guessed), checkpoint)
        assert note or made is tensor
        return tuple(made.shape), note

    # Of an encoder that has no grid, as one that resizes its own positions.
    assert fitted("encoder.pos_embed", table, (4, 4), (4, 4)) == ((1, 17, 4), "")
    model.encoder.grid = (2, 3)
    assert fitted("encoder.pos_embed", table, (4, 4), (4, 4)) == ((1, 7, 4), "4x4 → 2x3 patches, bicubic")
    assert fitted("encoder.blocks.0.pos_embed", table, None, (4, 4))[0] == (1, 7, 4)  # the closest that has one
    assert fitted("encoder.pos_embed", positions(6)["encoder.pos_embed"], None, None) == (
        (1, 7, 4), "taken as 2x3 patches, which the file does not tell",
    )  # fmt: skip
    assert fitted("encoder.pos_embed", positions(6)["encoder.pos_embed"], (3, 2), (3, 2)) == (
        (1, 7, 4), "3x2 → 2x3 patches, bicubic",
    )  # fmt: skip
    assert fitted("encoder.pos_embed", positions(6)["encoder.pos_embed"], (2, 3), (2, 3)) == ((1, 7, 4), "")
    assert fitted("encoder.cls_token", torch.zeros(1, 1, 4), (4, 4), (4, 4)) == ((1, 1, 4), "")
    bias = "encoder.blocks.0.attn.relative_position_bias_table"
    assert fitted(bias, torch.zeros(52, 2), (4, 4), (4, 4)) == ((18, 2), "4x4 → 2x3 patches, BEiT's spacing")
    for name, tensor, source, said in (
        ("encoder.pos_embed", table, None, r"file\.pt has positions for 16 patches and does not say in which grid"),
        ("encoder.pos_embed", table, (3, 4), r"\(1, 17, 4\) values, which fit no 3x4 grid"),
        (bias, torch.zeros(50, 2), (4, 4), r"\(50, 2\) values, which fit no 4x4 grid"),
    ):
        with pytest.raises(UserError, match=said):
            fitted(name, tensor, source, source)
    model.encoder.grid = (4, 4)
    assert fitted("encoder.pos_embed", table, None, (4, 4), torch.zeros(1, 17, 4)) == ((1, 17, 4), "")


def holding(model: nn.Module, **more: Any) -> Checkpoint:
    return Checkpoint({name: value.clone() for name, value in model.state_dict().items()}, {}, "test", FILE, **more)


def test_a_report_tells_where_weights_come_from_and_how_far_they_are_checked() -> None:
    model = make_mae()
    for more, source in (
        ({}, "file.pt (test)"), ({"checked": False}, "file.pt (test, a file without checksums)"),
        ({"verified": True}, "file.pt (test, sha256 verified)"),
        ({"name": "hf-hub:a/b", "part": "ema"}, "hf-hub:a/b (test, ema)"),
    ):  # fmt: skip
        assert transfer(model, holding(model, **more)).source == source
    report = transfer(model, holding(model, unused=("loss.w", "head.b"), remarks=("one", "two")))
    assert (report.names("unused"), report.remarks) == (["loss.w", "head.b"], ("one", "two"))
    with pytest.raises(UserError, match=r"what may be adapted is channels, classes; got colours, more"):
        transfer(model, holding(model), adapt=["classes", "more", "colours"])
    wide = make_mae(image_size=64)
    wrong = holding(model)
    wrong.tensors["decoder.pos_embed"][0, 3, 2] = float("nan")
    with pytest.raises(UserError, match=r"decoder\.pos_embed in file\.pt has NaN or infinite values"):
        transfer(wide, wrong)  # although it is resized
    fitted_state(wide, wrong)


def test_an_encoder_that_reads_files_of_its_own_kind_is_asked_first_and_of_no_run_of_ours() -> None:
    names = {"cls_token": "model.cls_token", "norm.w": "model.norm.w"}
    reads: Any = lambda found: {names[name]: value for name, value in found.items() if name in names}  # noqa: E731
    model = nn.ModuleDict({"encoder": nn.Module()})
    model.encoder.model = nn.ParameterDict({"cls_token": torch.zeros(2)})  # type: ignore[assignment]
    model.encoder.model.norm = nn.ParameterDict({"w": torch.zeros(2)})  # type: ignore[union-attr]
    model.encoder.from_timm = reads  # type: ignore[assignment]
    found = {"cls_token": torch.ones(2), "norm.w": torch.ones(2) * 2, "fc.w": torch.ones(1)}
    refusal = UserError("no model of ours")
    more: dict[str, Any] = {"as_found": found, "remarks": ("of another reading",)}
    state, report = fitted_state(model, Checkpoint({}, {}, "another program's", FILE, refusal=refusal, **more))
    assert {name: value.tolist() for name, value in state.items()} == {
        "encoder.model.cls_token": [1, 1], "encoder.model.norm.w": [2, 2],
    }  # fmt: skip
    assert (report.source, report.remarks) == ("file.pt (timm)", ())
    assert report.rows[2:] == (Row("fc.w", "unused"),)
    with pytest.raises(UserError, match="no model of ours"):
        fitted_state(model, Checkpoint({}, {}, "x", FILE, refusal=refusal, as_found={"fc.w": torch.ones(1)}))
    own = {f"encoder.{name}": value * 3 for name, value in reads(found).items()}
    state, report = fitted_state(model, Checkpoint(own, {"config": {"a": 1}}, "mae_hydra", FILE, **more))
    assert state["encoder.model.norm.w"].tolist() == [6, 6]
    assert report.source == "file.pt (mae_hydra)"


def test_a_model_with_parts_of_its_own_takes_the_whole_encoder_and_leaves_the_rest() -> None:
    encoder = {"encoder.a.w": torch.ones(1), "encoder.b.w": torch.ones(1)}
    theirs = {**encoder, "decoder.w": torch.ones(1)}
    wanted = {**encoder, "mine.w": torch.ones(1), "head.w": torch.ones(1)}
    given = Checkpoint(theirs, {}, "test", FILE)
    assert kind_of(theirs) == "other"
    check_rule(wanted, theirs, given, ())

    def without(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value for name, value in tensors.items() if name != "encoder.b.w"}

    for model, file, said in (
        (wanted, without(theirs), r"it lacks 1 tensor: encoder\.b\.w"),
        (without(wanted), theirs, r"it also has 1 tensor: encoder\.b\.w"),
    ):
        with pytest.raises(UserError, match=said):
            check_rule(model, file, Checkpoint(file, {}, "test", FILE), ())
    same = {**theirs, "decoder.v": torch.ones(1)}  # of the same parts every name counts
    with pytest.raises(UserError, match=r"it lacks 1 tensor: decoder\.v"):
        check_rule(same, theirs, given, ())
    check_rule(same, theirs, given, ["decoder.v"])


def test_what_a_classifier_leaves_behind_is_its_own_head_and_no_other_part() -> None:
    upernet, classifier = make_upernet(), make_classifier()
    given = holding(classifier)
    transfer(upernet, given)
    given.tensors["head.more.weight"] = torch.zeros(1)
    with pytest.raises(UserError, match=r"also has 1 tensor: head\.more\.weight"):
        transfer(upernet, given)
    encoder = {name: value for name, value in make_mae().state_dict().items() if name.startswith("encoder.")}
    check_rule(encoder, make_mae().state_dict(), holding(make_mae()), ())  # of a MAE its encoder alone
    reader = make_classifier("cls")
    for wanted in (reader, make_mae()):  # only a CrossMAE has no norm to give, and no MAE of ours goes without
        bare = {name: value for name, value in holding(make_mae()).tensors.items() if "encoder.norm" not in name}
        crossed = {**bare, "decoder.dec_norms.0.weight": torch.zeros(1)}
        found = Checkpoint(crossed, {}, "test", FILE)
        if wanted is reader:
            check_rule(wanted.state_dict(), crossed, found, ())
        else:
            with pytest.raises(UserError, match=r"it lacks 2 tensors: encoder\.norm"):
                check_rule(wanted.state_dict(), crossed, found, ())


def test_classes_that_differ_start_anew_only_where_classes_may(monkeypatch: pytest.MonkeyPatch) -> None:
    last = {"head.linear.weight": torch.arange(6.0).view(3, 2), "head.linear.bias": torch.arange(3.0)}
    beside = {"auxiliary.classify.bias": torch.zeros(4), "encoder.x": torch.zeros(3)}  # of four classes; of none
    given = Checkpoint({**last, **beside}, {"class_names": ["sky", "sea", "road"]}, "test", FILE)
    wanted = {**last, "auxiliary.classify.bias": torch.zeros(3)}
    mapped = rows_by_name(given, wanted, ["road", "sky", "sea"], ())
    assert mapped.tensors["head.linear.bias"].tolist() == [2, 0, 1]
    assert mapped.tensors["auxiliary.classify.bias"] is beside["auxiliary.classify.bias"]
    assert sorted(mapped.notes) == sorted(last)
    with pytest.raises(UserError, match=r"file\.pt are not those of the data, the model alone has sea"):
        rows_by_name(given, wanted, ["sky", "lane", "road"], ["channels"])
    anew = rows_by_name(given, wanted, ["sky", "lane", "road"], ["classes", "channels"])
    assert anew.tensors.keys() == beside.keys()
    assert (anew.notes, anew.dropped) == ({}, dict.fromkeys(last, "other classes"))
    other_length = rows_by_name(given, wanted, ["sky", "lane"], ())
    assert other_length.notes == other_length.dropped == {}


def test_a_decoder_that_does_not_belong_to_its_encoder_is_left_over() -> None:
    ours = {f"net.encoder.{name}": value for name, value in make_encoder().state_dict().items()}
    decoder = {f"x.{name}": value for name, value in official_names(make_mae()).items() if name.startswith("decoder_")}
    found = gather(ours | decoder)
    assert found is not None
    assert (found.layout.name, found.root, found.unused) == ("mae_hydra", "net.", tuple(decoder))
    assert found.tensors.keys() == {name.removeprefix("net.") for name in ours}
    own = {f"x.{name}": value for name, value in official_names(make_mae()).items() if name != "mask_token"}
    whole = {name: value for name, value in own.items() if not name.startswith("x.decoder_")}
    both = gather(whole | {name.replace("x.", "y."): value for name, value in own.items() if name not in whole})
    assert both is not None
    assert (both.layout.name, both.unused) == ("official MAE or timm ViT, encoder", ())  # a decoder without its token


def test_a_family_is_known_by_what_only_it_has() -> None:
    vit = {"cls_token": torch.zeros(1, 1, 4), "patch_embed.proj.weight": torch.zeros(4, 3, 2, 2)}
    video = {"patch_embed.projection.weight": torch.zeros(4, 3, 2, 16, 8)}
    layer = {"blocks.0.ls1.gamma": torch.zeros(4)}
    time = "a ViT of video or of series in time, as VideoMAE and Prithvi are"
    registers, scaled = "a ViT with registers, as DINOv2 has them", "a ViT with LayerScale, as DINOv2 is"
    spectra = "a ViT of several spectra, as SatMAE is"
    for tensors, family in (
        (vit, None), (vit | {"reg_token": torch.zeros(1, 0, 4)}, None),
        (vit | {"reg_token": torch.zeros(1, 3, 4)}, Family(registers, ("3 register tokens",))),
        (vit | {"register_tokens": torch.zeros(1, 4, 6)}, Family(registers, ("4 register tokens",))),
        (vit | {"register_tokens": torch.zeros(5)} | layer, Family(registers, ("1 register tokens", "LayerScale"))),
        (vit | {"dist_token": torch.zeros(1, 1, 4)}, Family("a distilled DeiT", ("a token of distillation",))),
        (vit | {"distillation_token": torch.zeros(1)}, Family("a distilled DeiT", ("a token of distillation",))),
        (vit | layer, Family(scaled, ("LayerScale",))),
        (vit | {"layer.0.layer_scale1.lambda1": torch.zeros(1)}, Family(scaled, ("LayerScale",))),
        (vit | {"layer.0.lambda_1": torch.zeros(1)}, Family("BEiT, as it is pre-trained", ("LayerScale",))),
        (
            vit | {"rel_pos_bias.relative_position_bias_table": torch.zeros(1)},
            Family("BEiT, as it is pre-trained", ("relative positions that all blocks share",)),
        ),
        (vit | {"channel_embed": torch.zeros(1)}, Family(spectra, ("patches by groups of channels",))),
        (vit | {"patch_embed.1.proj.weight": torch.zeros(1)}, Family(spectra, ("patches by groups of channels",))),
        (vit | video, Family(time, ("patches of 2x16x8, through time",))),
    ):  # fmt: skip
        assert foreign_family(tensors, {}, known=True) == family
    named: dict[str, Any] = {"embeddings.cls_token": torch.zeros(1)}
    for model_type, known, tensors, name in (
        ("vit", True, named, None), ("vit_mae", True, named, None), ("pixio", True, named, None),
        ("dinov2", True, named, "DINOv2"), ("mine", True, named, "a model of type mine"), (3, True, named, None),
        ("dinov2", True, vit, None), ("dinov2", False, vit, "DINOv2"),  # it may speak of another file
    ):  # fmt: skip
        found = foreign_family(tensors, {"config.json": {"model_type": model_type}}, known=known)
        assert (None if found is None else found.name) == name
    for extra, name in (
        ("a.layers.0.blocks.1.attn.relative_position_bias_table", "a Swin Transformer"),
        ("stages.0.x", "a network of stages, as ConvNeXt is"), ("m.layer1.0.conv1.weight", "a ResNet"),
        ("visual.x", "the image encoder of a CLIP or SigLIP"), ("image_encoder.x", "a Segment Anything"),
        ("m.blocks.0.attn.qkv.weight", "a ViT without a cls token, as I-JEPA is"), ("x.y", None),
    ):  # fmt: skip
        found = foreign_family({"a": torch.zeros(1), extra: torch.zeros(1)}, {}, known=False)
        assert (None if found is None else found.name) == name
        assert foreign_family({extra: torch.zeros(1)}, {}, known=True) is None
    with_token = {"cls_token": torch.zeros(1), "blocks.0.attn.qkv.weight": torch.zeros(1)}
    assert foreign_family(with_token, {}, known=False) is None


def test_a_report_is_shown_with_all_that_is_to_be_known(caplog: pytest.LogCaptureFixture) -> None:
    from rich.console import Console

    rows = (Row("encoder.a.w", "loaded"), Row("encoder.b.w", "resized", "so"), Row("head.c", "new"))
    console = Console(record=True, width=100, file=io.StringIO())
    with caplog.at_level(logging.INFO, logger="mae_hydra"):
        TransferReport("file", rows, ("one [b]", "two")).show(console)
    shown = [line.rstrip() for line in console.export_text().splitlines()]
    assert shown[-2:] == ["note: one [b]", "note: two"]
    assert caplog.messages == [
        "weights from file: 1 loaded (taken from the file), 1 resized (taken from the file and resized), 1 new (not in "
        "the file, freshly initialized)\none [b]\ntwo\nloaded   encoder.a.w\nresized  encoder.b.w so\nnew      head.c"
    ]


def test_parts_of_a_file_that_do_not_belong_together_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stem = "encoder.layer.0.attention.attention."
    rows = {f"{stem}{part}.weight": torch.full((1, 2), number) for number, part in enumerate(("query", "key", "value"))}
    assert fuse(rows)[f"{stem}qkv.weight"].tolist() == [[0, 0], [1, 1], [2, 2]]
    for part in ("key", "value"):
        with pytest.raises(UserError, match=rf"{part}\.weight is missing beside .*query\.weight"):
            fuse({name: value for name, value in rows.items() if f".{part}." not in name})
    layout = SimpleNamespace(name="theirs")
    gathered: Any = SimpleNamespace(layout=layout, tensors={}, root="", others=(), unused=("loss.w",))

    def failing(error: Exception) -> Any:
        def to_native(tensors: Any) -> Any:
            raise error

        return to_native

    for error, said in (
        (Unfit("tells too much"), r"file\.pt tells too much$"), (UserError("a key lacks"), r"file\.pt: a key lacks"),
        (RuntimeError("sizes\nmore"), r"file\.pt has the names of theirs and not its shapes \(sizes\); get it again"),
        (IndexError("rank"), r"not its shapes \(rank\)"), (ValueError("no chunk"), r"not its shapes \(no chunk\)"),
    ):  # fmt: skip
        layout.to_native = failing(error)
        with pytest.raises(UserError, match=said):
            read._as_checkpoint(FILE, Content({}, {}), gathered)
    layout.to_native = lambda tensors: {"encoder.x": torch.zeros(1), "pooler.w": torch.zeros(1)}
    part = Part({}, "model", ("model_ema",))
    found = read._as_checkpoint(FILE, Content({}, {}, checked=True, part=part), gathered)
    assert (list(found.tensors), found.unused, found.part, found.checked) == (
        ["encoder.x"], ("pooler.w", "loss.w"), "model", True,
    )  # fmt: skip
    assert len(found.remarks) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds none of model\.safetensors, pytorch_model\.bin"):
        read_content(tmp_path / "empty")
    monkeypatch.setattr("mae_hydra.weights.containers._refuse_text", failing(PermissionError(13, "Permission denied")))
    with pytest.raises(UserError, match=r"file\.pt cannot be read: Permission denied"):
        read_content(FILE)
    objects = Content({}, {}, ignored=("mine.Model", "mine.Head"))
    for content, said in (
        (objects, r"holds Python objects \(mine\.Model, mine\.Head\) and no state dict"),
        (Content({}, {}), "holds no tensors"),
    ):  # fmt: skip
        monkeypatch.setattr(read, "read_content", lambda file, word, content=content: content)
        for of_any in (False, True):
            with pytest.raises(UserError, match=said):
                read._read(FILE, "", of_any)


def test_a_folder_of_runs_is_told_by_how_many_runs_are_in_it(tmp_path: Path) -> None:
    for name in ("a/b/one", "a/b/one", "a/b/c/two"):
        (tmp_path / name / "checkpoints").mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(("one/checkpoints/last.pt", "one/checkpoints/best.pt")):
        (tmp_path / "a/b" / file).touch()
        os.utime(tmp_path / "a/b" / file, (number, number))
    with pytest.raises(UserError, match=r"the run below it is \S+/a/b/one$"):
        read_checkpoint(tmp_path / "a")
    (tmp_path / "a/b/c/two/checkpoints/last.pt").touch()
    with pytest.raises(UserError, match=r"it is a folder of 2 runs, of which the newest is \S+/a/b/c/two$"):
        read_checkpoint(tmp_path / "a")


def test_what_shapes_and_names_tell_of_a_model_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    mae = {name: value.clone() for name, value in make_mae().state_dict().items()}

    def found(meta: dict[str, Any] | None = None, **more: Tensor) -> Any:
        return describe(Checkpoint(mae | more, meta or {}, "", FILE))

    config = {"config": {"model": {"encoder": {"num_heads": 8}, "decoder": {"num_heads": 4}, "norm_pix": False}}}
    for meta, heads in (
        ({}, (None, None, None)), (config, (8, 4, False)), ({"norm_pix": True} | config, (8, 4, True)),
        ({"encoder": {"num_heads": 2}, "decoder": {"num_heads": 1}, "norm_pix": True}, (2, 1, True)),
        ({"decoder": {"num_heads": 2}} | config, (8, 2, False)), ({"decoder": {"num_heads": "2"}}, (None, None, None)),
    ):  # fmt: skip
        told = found(meta)
        assert (told.encoder.heads, told.decoder.heads, told.norm_pix) == heads
    usual = found(**{"decoder.embed.weight": torch.zeros(512, 16)})
    assert usual.decoder.heads == 16
    buffers = {f"head.batch_norm.{name}": torch.zeros(7) for name in ("running_mean", "running_var")}
    buffers["head.batch_norm.num_batches_tracked"] = torch.zeros(1, dtype=torch.int64)
    plain, more = found(), found(**buffers, **{"head.linear.weight": torch.zeros(5, 16)})
    assert (more.parameters, more.kind, more.num_classes, more.head_width) == (plain.parameters + 80, "probe", 5, None)
    halves = {name: torch.zeros(1).half() for name in "abc"} | {"d": torch.zeros(1, dtype=torch.int64)}
    assert found(**halves).dtype == "float32, float16"
    most = {f"x{number}": torch.zeros(1).half() for number in range(len(mae) + 1)}
    assert found(**most).dtype == "float16, float32"
    with pytest.raises(UserError, match=r"the last layer of file\.pt has a weight of 1 dimensions, which class"):
        found(**{"head.linear.weight": torch.zeros(5)})
    bare = {name: value for name, value in mae.items() if ".blocks." not in name}
    gap = {name.replace("blocks.1.", "blocks.9."): value for name, value in mae.items()}
    for tensors, said in (
        (bare, r"file\.pt has blocks \[\] in its encoder"),
        (gap, r"blocks \[0, 2, 3, 9\] in its encoder; there is a gap"),
        (mae | {"encoder.pos_embed": torch.zeros(1, 0, 16)}, r"encoder\.pos_embed in file\.pt has shape \(1, 0, 16\)"),
        (mae | {"decoder.blocks.0.mlp.fc1.weight": torch.zeros(16)}, r"decoder\.blocks\.0\.mlp\.fc1\.weight in"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            describe(Checkpoint(tensors, {}, "", FILE))
    tokens = found(**{"encoder.cls_token": torch.zeros(1, 2, 16), "encoder.pos_embed": torch.zeros(1, 18, 16)})
    assert (tokens.num_cls_tokens, tokens.num_positions, tokens.grid) == (2, 16, (4, 4))


def test_what_a_layout_leaves_out_is_named() -> None:
    upernet = {name: value.clone() for name, value in make_upernet().state_dict().items()}
    bias = "encoder.blocks.2.attn.qkv.bias"
    for name in upernet:
        if name.endswith("qkv.bias"):
            upernet[name] = torch.zeros_like(upernet[name])
    upernet[bias][20] = 1.0  # of a key
    made = to_layout(upernet, "timm")
    rest = tuple(name for name in upernet if not name.startswith("encoder."))
    assert (made.layout.name, made.left_out) == ("timm BEiT", (*rest, f"{bias} (key part)"))
    encoder = {name: value for name, value in upernet.items() if name.startswith("encoder.")}
    for name in encoder:
        if name.endswith("table"):
            encoder[name] = torch.zeros_like(encoder[name])
    extras = tuple(name for name in encoder if name.endswith(("gamma_1", "gamma_2", "table")))
    for target in ("official", "huggingface"):
        assert to_layout(encoder, target).left_out == extras
    assert torch.equal(made.tensors["pos_embed"], upernet["encoder.pos_embed"])
    without = upernet | {"encoder.pos_embed": torch.zeros_like(upernet["encoder.pos_embed"])}
    assert "pos_embed" not in to_layout(without, "timm").tensors  # as BEiT's is, which has none
    several = make_mae(num_cls_tokens=2).state_dict()
    for tensors, target, said in (
        (
            several,
            "mmseg",
            "a masked autoencoder of 2 cls tokens; choose --to official or timm or huggingface or native",
        ),
        (upernet, "huggingface", "a UPerNet; choose --to timm or mmseg or native"),
    ):
        with pytest.raises(UserError, match=f"the {target} layout has no place for {said}"):
            to_layout(tensors, target)
    for name, value in (("encoder.blocks.1.gamma_2", 0.0), ("encoder.blocks.3.attn.relative_position_bias_table", 1.0)):
        with pytest.raises(UserError, match=rf"the official layout is a plain ViT and has no place for {name}"):
            to_layout(encoder | {name: torch.full_like(encoder[name], value)}, "official")
    crossed = make_mae().state_dict() | {"decoder.blocks.0.attn.q.weight": torch.zeros(8, 8)}
    with pytest.raises(UserError, match=r"the official layout has no place for decoder\.blocks\.0\.attn\.q\.weight"):
        to_layout(crossed, "official")
    assert "decoder.blocks.0.attn.q.weight" in to_layout(crossed, "native").tensors


def test_a_path_is_of_a_home_of_a_run_and_of_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    one, other = make_encoder().state_dict(), make_encoder().state_dict()
    torch.save({"model": one, "model_ema": other}, tmp_path / "two.pth")
    plain, average = read_checkpoint("~/two.pth"), read_checkpoint("~/two.pth@ema")
    assert [(each.part, len(each.remarks)) for each in (plain, average)] == [("model", 1), ("model_ema", 0)]
    assert torch.equal(average.tensors["encoder.cls_token"], other["cls_token"])
    assert torch.equal(plain.tensors["encoder.cls_token"], one["cls_token"])
    with pytest.raises(UserError, match=r"two\.pth has no part 'student'; it has model_ema"):
        read_checkpoint(tmp_path / "two.pth@student")
    torch.save({"model": one}, tmp_path / "one.pth")
    with pytest.raises(UserError, match=r"one\.pth has no part 'ema'; there is only one model"):
        read_checkpoint(tmp_path / "one.pth@ema")
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    monkeypatch.setattr(read, "_read", lambda file, word, of_any: (file.name, word, of_any))
    for names, found in ((("last", "best"), ("last.pt", "best.pt")), (("best",), ("best.pt", "best.pt")),
                         (("last",), ("last.pt", "last.pt"))):  # fmt: skip
        for file in (tmp_path / "run/checkpoints").iterdir():
            file.unlink()
        for name in names:
            (tmp_path / f"run/checkpoints/{name}.pt").touch()
        for prefer, file_name in zip(("last", "best"), found, strict=True):
            given: Any = (tmp_path / "run", prefer)
            assert read_checkpoint(*given, of_any=True) == (file_name, "", True)


def test_a_norm_beside_a_backbone_is_taken_where_it_has_been_trained() -> None:
    inner = {"layernorm.weight": torch.ones(2) * 3, "layernorm.bias": torch.ones(2)}
    inner["embeddings.cls_token"] = torch.zeros(1)
    for root in ("pixio.", "encoder."):
        under = {f"{root}{name}": value for name, value in inner.items()}
        for weight, bias, taken in ((1.0, 0.0, (3, 1)), (2.0, 0.0, (2, 0)), (1.0, 5.0, (1, 5)), (2.0, 5.0, (2, 5))):
            beside = {"layernorm.weight": torch.full((2,), weight), "layernorm.bias": torch.full((2,), bias)}
            layout = recognise(under | beside)
            assert layout is not None
            assert layout.name == "Hugging Face PixioBackbone"
            made = layout.to_native(under | beside)
            assert (made["encoder.norm.weight"].tolist(), made["encoder.norm.bias"].tolist()) == (
                [taken[0]] * 2, [taken[1]] * 2,
            )  # fmt: skip
            assert "encoder.cls_token" in made
        assert recognise(under) is None


def test_a_fine_tuned_model_of_mmpretrain_has_its_norms_and_its_head_in_our_places() -> None:
    encoder = ("cls_token", "patch_embed.projection.weight", "layers.0.ln1.bias", "ln1.weight", "ln2.bias")
    theirs = {f"backbone.{name}": torch.zeros(1) for name in encoder}
    for head in ("head.fc.weight", "head.layers.head.weight"):
        layout = recognise(theirs | {head: torch.zeros(1)})
        assert layout is not None
        assert layout.name == "mmpretrain, classifier"
        assert set(layout.to_native(theirs | {head: torch.zeros(1)})) == {
            "encoder.cls_token", "encoder.patch_embed.proj.weight", "encoder.blocks.0.norm1.bias",
            "encoder.norm.weight", "head.norm.bias", "head.linear.weight",
        }  # fmt: skip
    alone = recognise(theirs)
    assert alone is not None
    assert alone.name == "mmpretrain, encoder"


def test_what_is_no_checkpoint_is_told_by_its_beginning_and_a_text_by_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.pt"
    for begin, said in (
        (b" \n<!DOCTYPE html>", "is a web page"), (b"\n<HEAD>", "is a web page"), (b"<?xml", "is a web page"),
        (b"\nversion https://git-lfs.github.com/spec/v1", "is a git-lfs pointer"),
    ):  # fmt: skip
        file.write_bytes(begin)
        with pytest.raises(UserError, match=rf"a\.pt {said}"):
            read_content(file)
    (tmp_path / "parts").mkdir()
    for index in ("[]", "{}", '{"weight_map": ["a"]}'):
        (tmp_path / "parts/model.safetensors.index.json").write_text(index)
        with pytest.raises(UserError, match=r"index\.json lists no parts; download it again"):
            read_content(tmp_path / "parts")
    (tmp_path / "both").mkdir()
    for name, number in (("pytorch_model.bin", 1.0), ("model.safetensors", 2.0)):
        tensors = {"blocks.0.w": torch.full((1,), number)}
        (save_file if name.endswith("safetensors") else torch.save)(tensors, tmp_path / "both" / name)
        assert read_content(tmp_path / "both").tensors == tensors  # the safer of two
    for zipped in (True, False):
        torch.save(tensors, file, _use_new_zipfile_serialization=zipped)
        assert read_content(file).checked is zipped
    assert read_content(tmp_path / "both").checked is False
    monkeypatch.setattr(containers, "MOST_JSON", 5)
    assert containers._loads('"abc"') == "abc"
    with pytest.raises(ValueError, match="more than 5 bytes"):
        containers._loads('"abcd"')
    state = OrderedDict({f"blocks.{number}.w": torch.zeros(1) for number in range(8)})
    content: Any = OrderedDict(state, epoch=3, mae_hydra="of the file itself")
    content._metadata = OrderedDict({"": {"version": 1}, "mae_hydra": {"norm_pix": True}})
    torch.save(content, file)
    found = read_content(file)
    assert (found.tensors.keys(), found.extras) == (
        state.keys(), {"": {"version": 1}, "mae_hydra": "of the file itself", "epoch": 3},
    )  # fmt: skip

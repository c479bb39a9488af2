"""Positions of pictures that are no squares, out into the layouts of others and in again."""

import pytest
import torch
from checkpoint_files import make_classifier, make_mae, make_upernet, randomise
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer

from mae_hydra.errors import UserError
from mae_hydra.weights import Checkpoint, describe, read_checkpoint, to_layout, transfer, write_checkpoint

SIZES = ([32, 32], [16, 64], [64, 16], [8, 128], [128, 8], [16, 32])  # all but the last of 16 patches
MODELS = {"mae": make_mae, "classifier": make_classifier}


def scrambled(model):
    """Learned positions of no regularity; fixed ones stay what they are."""
    randomise(model)
    for parameter in (p for n, p in model.named_parameters() if n.endswith("pos_embed") and p.requires_grad):
        torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("positions", ["fixed", "learned"])
@pytest.mark.parametrize(("kind", "layout"), [("mae", "official"), ("mae", "huggingface"), ("mae", "mmseg"),
                                              ("classifier", "official"), ("classifier", "timm")])  # fmt: skip
def test_a_model_that_leaves_in_a_foreign_layout_comes_back_as_it_was(tmp_path, kind, layout, positions, size):
    model = scrambled(MODELS[kind](image_size=size, positions=positions))
    torch.save(dict(to_layout(model.state_dict(), layout).tensors), tmp_path / "bare.pth")
    other = MODELS[kind](image_size=size, positions=positions)
    report = transfer(other, read_checkpoint(tmp_path / "bare.pth"))
    assert report.names("resized") == []
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_what_is_taken_for_a_rectangle_without_being_told_is_said(tmp_path):
    model = scrambled(make_classifier(image_size=[16, 64]))
    torch.save(dict(to_layout(model.state_dict(), "official").tensors), tmp_path / "bare.pth")
    report = transfer(make_classifier(image_size=[16, 64]), read_checkpoint(tmp_path / "bare.pth"))
    [row] = [row for row in report.rows if row.note]
    assert row == ("encoder.pos_embed", "loaded", "taken as 2x8 patches, which the file does not tell")
    square = transfer(make_classifier(), read_checkpoint(tmp_path / "bare.pth"))
    assert not any(row.note for row in square.rows)


def timm_classifier():
    return VisionTransformer(
        img_size=(16, 64), patch_size=8, embed_dim=16, depth=4, num_heads=2, mlp_ratio=2, num_classes=5,
        global_pool="avg", fc_norm=True,
    )  # fmt: skip


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("layout", ["official", "timm", "mmseg"])
def test_files_that_are_written_for_others_tell_their_grid_and_heads_and_still_load_strictly(tmp_path, layout, suffix):
    model = scrambled(make_classifier(image_size=[16, 64]))
    settings = {"image_size": [16, 64], "patch_size": 8, "num_heads": 2}
    source = Checkpoint(model.state_dict(), {"config": {"model": {"encoder": settings}}}, "test", tmp_path)
    file = tmp_path / f"out{suffix}"
    write_checkpoint(file, layout, to_layout(source.tensors, layout), source.meta, describe(source))
    found = read_checkpoint(file)
    assert (describe(found).grid, describe(found).encoder.heads) == ((2, 8), 2)
    turned = make_classifier(image_size=[64, 16])
    assert transfer(turned, found).names("resized") == ["encoder.pos_embed"]
    if suffix == ".pth":
        loaded = torch.load(file, weights_only=True)
        state = loaded["model"] if layout == "official" else loaded
        assert state.keys() == to_layout(source.tensors, layout).tensors.keys()
        if layout != "mmseg":
            timm_classifier().load_state_dict(state)


def test_timms_beit_of_a_rectangle_fits_a_model_of_that_shape_and_computes_the_same(tmp_path):
    peer = Beit(
        img_size=(16, 64), patch_size=8, embed_dim=16, depth=4, num_heads=2, mlp_ratio=2, qkv_bias=True,
        init_values=1.0, num_classes=0, global_pool="", use_abs_pos_emb=False, use_rel_pos_bias=True,
    )  # fmt: skip
    torch.save(scrambled(peer).state_dict(), tmp_path / "beit.pth")
    upernet = make_upernet(image_size=[16, 64])
    report = transfer(upernet, read_checkpoint(tmp_path / "beit.pth"))
    assert "encoder.pos_embed" not in report.names("new")
    images = torch.randn(2, 3, 16, 64)
    with torch.no_grad():
        theirs = peer.eval().forward_intermediates(images, indices=[0, 3], norm=False, intermediates_only=True)
        ours = upernet.eval().encoder.feature_maps(images)
        for mine, other in zip((ours[0], ours[3]), theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match=r"a table of \d+ relative positions, \d+ are in the model, .*data\.image_size"):
        transfer(make_upernet(image_size=[32, 64]), read_checkpoint(tmp_path / "beit.pth"))


def test_a_relative_table_of_a_rectangle_fits_a_model_of_that_shape_and_is_refused_elsewhere(tmp_path):
    model = scrambled(make_upernet(image_size=[16, 64]))
    given = Checkpoint(model.state_dict(), {}, "test", tmp_path / "file.pt")
    other = make_upernet(image_size=[16, 64])
    transfer(other, given)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    with pytest.raises(UserError, match=r"positions for 16 patches and does not say in which grid; set data"):
        transfer(make_upernet(image_size=[32, 32]), given)
    assert describe(given).grid is None

from pathlib import Path

import pytest
import torch
from checkpoint_files import make_mae, make_upernet, write_run
from foreign_files import TINY, TINY_MMSEG, TINY_OFFICIAL, mmseg_upernet, official
from safetensors.torch import save_file

from mae_hydra.errors import UserError
from mae_hydra.weights import Checkpoint, describe, read_checkpoint, to_layout


def described(tmp_path, state, name="file.pt"):
    torch.save({"model": state}, tmp_path / name)
    return describe(read_checkpoint(tmp_path / name))


def test_shapes_tell_the_model(tmp_path):
    found = described(tmp_path, official(**TINY_OFFICIAL))
    assert (found.kind, found.encoder.dim, found.encoder.depth, found.encoder.mlp_ratio) == ("mae", 16, 4, 2.0)
    assert (found.patch_size, found.channels, found.grid, found.image_size) == (8, 3, (4, 4), (32, 32))
    assert found.decoder is not None
    assert (found.decoder.dim, found.decoder.depth, found.decoder.mlp_ratio) == (8, 1, 2.0)
    assert found.encoder.heads is None  # no trace of them, and no usual width
    assert found.norm_pix is None
    assert found.final_norm
    assert not found.relative_positions
    assert found.parameters == sum(value.numel() for value in official(**TINY_OFFICIAL).values())


def test_a_relative_table_tells_the_heads_and_a_head_its_classes(tmp_path):
    found = described(tmp_path, mmseg_upernet(**TINY_MMSEG))
    assert (found.kind, found.encoder.heads, found.num_classes, found.head_width) == ("segmentation", 2, 5, 8)
    assert (found.pools, found.auxiliary_width, found.layer_scale, found.final_norm) == (4, 8, True, False)


def test_every_size_has_its_name_and_the_usual_heads_of_its_width():
    """Sizes as of ViT, MAE and Pixio; a size that is nobody's is told by its numbers."""

    def found(width, depth):
        one = torch.zeros(()).expand
        tensors = {"encoder.cls_token": one(1, 1, width), "encoder.pos_embed": one(1, 5, width)}
        tensors |= {f"encoder.blocks.{number}.mlp.fc1.weight": one(4 * width, width) for number in range(depth)}
        tensors["encoder.patch_embed.proj.weight"] = one(width, 3, 16, 16)
        told = describe(Checkpoint(tensors, {}, "", Path("a.pt")))
        return told.size_name, told.encoder.heads

    sizes = [(192, 12), (384, 12), (768, 12), (1024, 24), (1280, 32), (1536, 48), (3072, 48), (1280, 24), (100, 2)]
    assert [found(*size) for size in sizes] == [
        ("ViT-Ti/16", 3), ("ViT-S/16", 6), ("ViT-B/16", 12), ("ViT-L/16", 16), ("ViT-H/16", 16), ("ViT-1B/16", 24),
        ("ViT-5B/16", 32), ("ViT of 24 blocks of width 1280", 16), ("ViT of 2 blocks of width 100", None),
    ]  # fmt: skip


def test_what_a_file_tells_beside_its_tensors_is_taken_where_it_is_of_its_kind():
    def told(**meta):
        return describe(Checkpoint(dict(make_mae().state_dict()), meta, "", Path("a.pt")))

    for meta, expected in (
        ({"mask_ratio": 0.6, "norm_pix": False, "layer_norm_eps": 1e-5}, (0.6, False, 1e-5)),
        ({"mask_ratio": 1, "norm_pix": 1, "layer_norm_eps": 0.0}, (None, None, None)),
        (
            {"norm_pix": "no", "config": {"model": {"norm_pix": True, "encoder": {"norm_eps": 1e-4}}}},
            (None, True, 1e-4),
        ),
    ):
        found = told(**meta)
        assert (found.mask_ratio, found.norm_pix, found.norm_eps) == expected
    heads = [{"num_heads": "2"}, {"num_heads": 4}]
    configs = [{"model": {"decoder": node}} for node in heads]
    decoders = [told(decoder=heads[0], config=config).decoder for config in configs]
    assert [decoder.heads for decoder in decoders] == [None, 4]


def test_buffers_are_no_parameters_and_blocks_that_are_read_are_counted():
    model = make_upernet()
    found = describe(Checkpoint(dict(model.state_dict()), {}, "", Path("a.pt")))
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    whole = dict(make_mae().state_dict())
    crossed = whole | {"decoder.blocks.0.attn.q.weight": torch.zeros(1), "decoder.block_weights": torch.zeros(2, 5)}
    alone = {name: value for name, value in crossed.items() if name != "decoder.embed.weight"}
    odd = crossed | {"decoder.block_weights": torch.zeros(5)}
    found = [describe(Checkpoint(tensors, {}, "", Path("a.pt"))) for tensors in (whole, crossed, alone, odd)]
    assert [(each.decoder_form, each.encoder_blocks_read) for each in found] == [
        ("plain", 1), ("cross", 5), ("crossmae", 4), ("cross", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(("head", "kind"), [("classifier", "classifier"), ("probe", "probe")])
def test_classifiers_are_told_apart(tmp_path, head, kind):
    found = described(tmp_path, official(**TINY, head=head))
    assert (found.kind, found.num_classes) == (kind, 10)


def test_a_run_tells_what_shapes_do_not(tmp_path):
    write_run(tmp_path, make_mae(image_size=[16, 64]), num_heads=4, image_size=[16, 64], patch_size=8)
    found = describe(read_checkpoint(tmp_path))
    assert (found.encoder.heads, found.image_size) == (4, (16, 64))


def test_half_precision_is_named(tmp_path):
    state = {name: value.half() for name, value in make_upernet().state_dict().items() if value.is_floating_point()}
    save_file(to_layout(state, "mmseg").tensors, tmp_path / "half.safetensors")
    assert describe(read_checkpoint(tmp_path / "half.safetensors")).dtype == "float16"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_embed.proj.weight": torch.zeros(16, 3, 8, 4)}, "patches of 8x4 pixels; they must be square"),
        ({"patch_embed.proj.weight": torch.zeros(16, 3, 4, 8)}, "patches of 4x8 pixels; they must be square"),
        ({"pos_embed": torch.zeros(17, 16)}, r"encoder\.pos_embed in .* has shape \(17, 16\); it should have 3"),
        ({"pos_embed": None}, r"has no encoder\.pos_embed"),
        ({"blocks.0.mlp.fc1.weight": None}, r"has no encoder\.blocks\.0\.mlp\.fc1\.weight"),
        (
            {f"blocks.7.{n}": torch.zeros(1) for n in ("norm1.bias",)},
            r"blocks \[0, 1, 2, 3, 7\] in its encoder; .* gap",
        ),
    ],
)
def test_what_is_no_model_is_one_sentence(tmp_path, change, message):
    state = {name: value for name, value in {**official(**TINY_OFFICIAL), **change}.items() if value is not None}
    with pytest.raises(UserError, match=message):
        described(tmp_path, state)

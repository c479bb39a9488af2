import pytest
import torch
from checkpoint_files import make_mae, make_upernet, write_run
from foreign_files import TINY, TINY_MMSEG, TINY_OFFICIAL, mmseg_upernet, official
from safetensors.torch import save_file

from mae_hydra.errors import UserError
from mae_hydra.weights import describe, read_checkpoint, to_layout


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


@pytest.mark.parametrize(
    ("width", "depth", "patch", "heads", "name"),
    [(768, 12, 16, 12, "ViT-B/16"), (1024, 24, 16, 16, "ViT-L/16"), (1280, 32, 14, 16, "ViT-H/14")],
)
def test_the_usual_sizes_are_named_and_their_heads_known(tmp_path, width, depth, patch, heads, name):
    state = official(width=width, depth=1, patch=patch, grid=2, mlp=8)
    blocks = {
        key.replace("blocks.0", f"blocks.{i}"): state[key] for i in range(depth) for key in state if "blocks" in key
    }
    found = described(tmp_path, {**state, **blocks})
    assert (found.size_name, found.encoder.heads) == (name, heads)


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

import copy

import pytest
import torch
from reference import relative_bias
from timm.models.beit import Beit, gen_relative_position_index
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
from tiny_models import encoder, relative_encoder, scramble

from mae_hydra.models.encoders.attention import RelativeAttention
from mae_hydra.models.encoders.drop_path import DropPath
from mae_hydra.models.encoders.vision_transformer import VisionTransformer
from mae_hydra.relative_positions import relative_position_index


def test_without_masking_the_encoder_equals_timms_vision_transformer():
    ours = encoder(image_size=[16, 24]).double()
    scramble(ours)
    theirs = TimmVisionTransformer(
        img_size=(16, 24), patch_size=8, embed_dim=24, depth=4, num_heads=3, num_classes=0, global_pool=""
    )
    theirs.double().load_state_dict(ours.state_dict(), strict=True)
    images = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    torch.testing.assert_close(ours.tokens(images), theirs.forward_features(images), rtol=1e-10, atol=1e-10)


def test_the_relative_form_equals_timms_beit():
    ours = relative_encoder(image_size=[16, 32], out_indices=[0, 3]).double()
    scramble(ours)
    theirs = Beit(
        img_size=(16, 32),
        patch_size=8,
        embed_dim=24,
        depth=4,
        num_heads=3,
        qkv_bias=True,
        init_values=1.0,
        use_abs_pos_emb=True,
        use_rel_pos_bias=True,
        num_classes=0,
        global_pool="",
    )
    theirs.norm = torch.nn.Identity()
    state = {}
    for name, value in ours.state_dict().items():
        if name.endswith("attn.qkv.bias"):  # BEiT has no bias for the keys
            state[name.replace("qkv.bias", "q_bias")] = value[:24]
            state[name.replace("qkv.bias", "v_bias")] = value[48:]
        else:
            state[name] = value
    theirs.double().load_state_dict(state, strict=True)
    images = torch.randn(2, 3, 16, 32, dtype=torch.float64)
    torch.testing.assert_close(ours.tokens(images), theirs.forward_features(images), rtol=1e-10, atol=1e-10)
    maps = theirs.forward_intermediates(images, indices=[0, 3], norm=False, intermediates_only=True)
    for our_map, their_map in zip(ours.feature_maps(images), maps, strict=True):
        torch.testing.assert_close(our_map, their_map, rtol=1e-10, atol=1e-10)


def test_zero_tables_and_unit_gammas_make_the_relative_form_the_plain_one():
    plain = encoder(final_norm=False).double()
    relative = relative_encoder().double()
    scramble(plain)
    missing = relative.load_state_dict(plain.state_dict(), strict=False)
    assert {name.split(".", 2)[2] for name in missing.missing_keys} == {
        "gamma_1",
        "gamma_2",
        "attn.relative_position_bias_table",
    }
    assert not missing.unexpected_keys
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    for our_map, their_map in zip(relative.feature_maps(images), plain.feature_maps(images), strict=True):
        torch.testing.assert_close(our_map, their_map, rtol=1e-12, atol=1e-12)


def test_the_bias_of_the_keys_changes_nothing():
    model = relative_encoder().double()
    scramble(model)
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    before = model.tokens(images)
    for block in model.blocks:
        block.attn.qkv.bias.data[24:48] += torch.randn(24, dtype=torch.float64)
    torch.testing.assert_close(model.tokens(images), before, rtol=1e-11, atol=1e-11)
    model.blocks[0].attn.qkv.bias.data[:24] += 1  # the queries' does
    assert not torch.allclose(model.tokens(images), before)


@pytest.mark.parametrize("grid", [(4, 4), (2, 5), (3, 1)])
def test_the_relative_position_index_equals_timms_and_the_formula(grid):
    index = relative_position_index(grid)
    assert index.dtype == torch.int64
    assert torch.equal(index, gen_relative_position_index(grid))
    attention = RelativeAttention(8, 2, grid)
    scramble(attention)
    expected = relative_bias(attention.relative_position_bias_table.detach(), grid)
    assert torch.equal(attention.relative_position_bias(index), expected)


def test_the_index_is_derived_and_in_no_state_dict():
    model = relative_encoder()
    assert not [name for name in model.state_dict() if "index" in name]
    assert model.blocks[0].attn.relative_position_bias_table.shape == (7 * 7 + 3, 3)


def test_only_kept_patches_are_read():
    model = encoder().double()
    scramble(model)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    keep = torch.tensor([[5, 0, 9], [15, 7, 2]])
    latent = model.tokens(images, keep)
    assert latent.shape == (2, 4, 24)
    changed = torch.full_like(images, float("nan"))
    for sample, patches in enumerate(keep.tolist()):
        for patch in patches:
            rows, columns = (slice(8 * side, 8 * side + 8) for side in divmod(patch, 4))
            changed[sample, :, rows, columns] = images[sample, :, rows, columns]
    assert torch.equal(model.tokens(changed, keep), latent)


def test_keeping_all_patches_in_any_order_equals_keeping_none_back():
    model = encoder().double()
    scramble(model)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    keep = torch.rand(2, 16).argsort(1)
    everything = model.tokens(images)
    ordered = everything[torch.arange(2)[:, None], torch.cat([torch.zeros(2, 1, dtype=torch.int64), keep + 1], 1)]
    torch.testing.assert_close(model.tokens(images, keep), ordered, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("channels", [1, 4])
def test_rectangular_images_of_any_channel_count(channels):
    model = relative_encoder(image_size=[16, 40], in_chans=channels)
    maps = model.feature_maps(torch.randn(2, channels, 16, 40))
    assert [tuple(item.shape) for item in maps] == [(2, 24, 2, 5)] * 4
    assert (model.image_size, model.grid, model.num_patches) == ((16, 40), (2, 5), 10)


def test_feature_maps_are_block_outputs_before_any_norm():
    model = encoder(out_indices=[1, 3])
    scramble(model)
    outputs = []
    for block in model.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    maps = model.feature_maps(torch.randn(1, 3, 32, 32))
    assert len(maps) == 2
    for index, found in zip((1, 3), maps, strict=True):
        assert torch.equal(found[0, :, 2, 1], outputs[index][0, 1 + 2 * 4 + 1])


def test_an_image_of_another_shape_is_refused_even_with_the_same_number_of_patches():
    model = encoder(image_size=32)
    with pytest.raises(ValueError, match="32x32 pixels, got 3 channels of 64x16"):
        model.tokens(torch.zeros(1, 3, 64, 16))
    with pytest.raises(ValueError, match="64x16"):
        model.feature_maps(torch.zeros(1, 3, 64, 16))
    with pytest.raises(ValueError, match=r"3 channels of .*, got 1 channels"):
        model.tokens(torch.zeros(1, 1, 32, 32), torch.zeros(1, 2, dtype=torch.int64))


def test_an_encoder_with_relative_positions_refuses_hidden_patches():
    with pytest.raises(ValueError, match="keep must be None"):
        relative_encoder().tokens(torch.zeros(1, 3, 32, 32), torch.zeros(1, 2, dtype=torch.int64))


def test_depths_run_from_the_embedding_to_the_last_norm():
    model = relative_encoder(final_norm=True)
    depths = {name: model.depth_of(name) for name, _ in model.named_parameters()}
    assert model.num_depths == 6
    assert {depths.pop(name) for name in ("cls_token", "pos_embed", "patch_embed.proj.weight")} == {0}
    assert depths.pop("patch_embed.proj.bias") == 0
    assert depths.pop("norm.weight") == depths.pop("norm.bias") == 5
    assert all(depth == int(name.split(".")[1]) + 1 for name, depth in depths.items())


@pytest.mark.parametrize("build", [encoder, relative_encoder])
def test_drop_path_grows_linearly_over_the_blocks(build):
    model = build(depth=5, out_indices=[4], drop_path_rate=0.2)
    rates = []
    for block in model.blocks:
        dropped = [part for name, part in block.named_children() if name.startswith("drop_path")]
        rates.append({round(part.rate, 6) for part in dropped})
    assert rates == [{0.0}, {0.05}, {0.1}, {0.15}, {0.2}]
    build(depth=1, out_indices=[0], drop_path_rate=0.2)  # whose only block is the first


def test_drop_path_keeps_a_sample_whole_or_drops_it_and_keeps_the_mean():
    part, x = DropPath(0.25), torch.randn(4000, 3, 2)
    assert part.eval()(x) is x
    out = part.train()(x)
    dropped = (out == 0).flatten(1).all(1)
    torch.testing.assert_close(out[~dropped], x[~dropped] / 0.75)
    assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.04)
    assert DropPath(0.25).state_dict() == {}
    assert part(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("build", [encoder, relative_encoder])
def test_without_drop_path_no_block_has_a_trace_of_it(build):
    assert not any(isinstance(module, DropPath) for module in build(drop_path_rate=0.0).modules())


def test_layer_scale_without_relative_positions_scales_the_branches():
    plain, scaled = encoder(), encoder(layer_scale=0.0)
    scaled.load_state_dict(plain.state_dict(), strict=False)
    images = torch.randn(1, 3, 32, 32)
    embedded = torch.cat([plain.cls_token, plain.patch_embed(images) + plain.pos_embed[:, 1:]], 1)
    torch.testing.assert_close(scaled.tokens(images), plain.norm(embedded))  # every branch times zero


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 30}, "image_size must be a multiple of patch_size 8, got 30x30"),
        ({"image_size": [32, 20]}, "got 32x20"),
        ({"num_heads": 5}, "embed_dim must be a multiple of num_heads 5, got 24"),
        ({"positions": "sincos"}, "positions must be 'fixed' or 'learned', got 'sincos'"),
        ({"num_cls_tokens": 0}, "num_cls_tokens must be 1 or more, got 0"),
        ({"patch_size": 0}, "image_size must be a multiple of patch_size 0"),
        ({"image_size": [32, 0]}, "image_size must be a multiple of patch_size 8, got 32x0"),
        ({"out_indices": [1, 1]}, "must ascend"),
        ({"out_indices": [-1, 3]}, r"out_indices must ascend within 0..3, got \[-1, 3\]"),
        ({"drop_path_rate": -0.1}, r"drop_path_rate must lie in \[0, 1\), got -0.1"),
        ({"drop_path_rate": 1.0}, r"drop_path_rate must lie in \[0, 1\), got 1.0"),
        ({"out_indices": [1, 4]}, r"out_indices must ascend within 0..3, got \[1, 4\]"),
        ({"out_indices": [2, 1]}, "must ascend"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        encoder(**changes)


def test_a_copy_in_half_the_precision_keeps_its_shapes():
    model = copy.deepcopy(relative_encoder()).bfloat16()
    assert isinstance(model, VisionTransformer)
    assert model.tokens(torch.randn(1, 3, 32, 32).bfloat16()).dtype == torch.bfloat16

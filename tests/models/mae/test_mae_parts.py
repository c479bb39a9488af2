from types import SimpleNamespace

import pytest
import torch
from tiny_models import decoder, encoder, full_mae, mae, relative_encoder

from mae_hydra.models.encoders.contract import check_encoder
from mae_hydra.models.mae.mae import _check_keep
from mae_hydra.types import Batch

TOTALS = {"base": 111_907_840, "large": 329_541_888, "huge": 657_074_508}


@pytest.mark.parametrize(("size", "keys"), [("base", 254), ("large", 398), ("huge", 494)])
def test_parameters_and_keys_are_those_of_the_paper_sized_model(size, keys):
    model = full_mae(size)
    assert len(model.state_dict()) == keys
    assert sum(parameter.numel() for parameter in model.parameters()) == TOTALS[size]


def test_vit_base_divides_into_encoder_decoder_and_frozen_positions():
    model = full_mae("base")
    assert sum(p.numel() for p in model.encoder.parameters()) == 85_798_656
    assert sum(p.numel() for p in model.decoder.parameters()) == 26_109_184
    frozen = {name: p.numel() for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"encoder.pos_embed": 197 * 768, "decoder.pos_embed": 197 * 512}
    assert sum(frozen.values()) == 252_160
    assert len(model.encoder.state_dict()) == 150
    assert len(model.decoder.state_dict()) == 104


def test_names_and_shapes_are_those_of_the_official_weights():
    model = full_mae("base")
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes["encoder.cls_token"] == (1, 1, 768)
    assert shapes["encoder.pos_embed"] == (1, 197, 768)
    assert shapes["encoder.patch_embed.proj.weight"] == (768, 3, 16, 16)
    assert shapes["decoder.mask_token"] == (1, 1, 512)
    assert shapes["decoder.pos_embed"] == (1, 197, 512)
    assert shapes["decoder.embed.weight"] == (512, 768)
    assert shapes["decoder.pred.weight"] == (768, 512)
    inner = {
        f"{part}.{kind}" for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        for kind in ("weight", "bias")
    }  # fmt: skip
    for prefix in ("encoder.blocks.11.", "decoder.blocks.7."):
        assert {name.removeprefix(prefix) for name in shapes if name.startswith(prefix)} == inner
    assert shapes["encoder.blocks.0.attn.qkv.bias"] == (2304,)


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (torch.tensor([[1, 1]]), "at most once, from 0 to 15"),
        (torch.tensor([[1, 16]]), "at most once, from 0 to 15"),
        (torch.tensor([[-1, 2]]), "at most once, from 0 to 15"),
        (torch.arange(16)[None], r"0 < K < 16, got torch.int64 \(1, 16\)"),
        (torch.arange(0)[None], r"0 < K < 16, got torch.int64 \(1, 0\)"),
    ],
)
def test_positions_that_make_no_sense_are_refused(keep, message):
    with pytest.raises(ValueError, match=message):
        mae()(torch.randn(1, 3, 32, 32), keep=keep)


@pytest.mark.parametrize("keep", [torch.tensor([[1, 2]], dtype=torch.int32), torch.tensor([[0, 1], [2, 3]])])
def test_positions_of_another_type_or_batch_are_refused_where_no_types_are_checked(keep):
    with pytest.raises(ValueError, match=r"keep must be int64 \(1, K\) with 0 < K < 16, got torch.int"):
        _check_keep(keep, 1, 16)


def test_noise_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"noise must have shape \(1, 16\), got \(1, 15\)"):
        mae()(torch.randn(1, 3, 32, 32), noise=torch.rand(1, 15))


def test_bytes_are_normalised_by_the_model_and_floats_are_not():
    model = mae(mean=[0.1, 0.2, 0.3], std=[0.5, 0.25, 0.2])
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    by_hand = torch.stack(
        [(images[:, c] / 255 - m) / s for c, m, s in ((0, 0.1, 0.5), (1, 0.2, 0.25), (2, 0.3, 0.2))], 1
    )
    torch.testing.assert_close(model.prepare(images), by_hand)
    assert model.prepare(by_hand) is by_hand
    noise = torch.rand(2, 16)
    torch.testing.assert_close(
        model.loss(Batch(images), noise=noise).total, model.loss(Batch(by_hand), noise=noise).total
    )
    assert model.double().prepare(images).dtype == torch.float64
    assert not {"mean", "std"} & set(model.state_dict())


def test_everything_behind_the_encoder_is_of_the_last_depth():
    model = mae()
    depths = {name: model.depth_of(name) for name, _ in model.named_parameters()}
    assert model.num_depths == 6
    assert {depth for name, depth in depths.items() if name.startswith("decoder.")} == {5}
    assert depths["encoder.norm.weight"] == 5
    assert depths["encoder.pos_embed"] == 0
    assert depths["encoder.blocks.3.mlp.fc2.bias"] == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_ratio": 1.5}, r"mask_ratio must lie in \(0, 1\), got 1.5"),
        ({"mask_ratio": 0.0}, r"mask_ratio must lie in \(0, 1\), got 0.0"),
        ({"mask_ratio": 0.99}, "mask_ratio 0.99 leaves none of 16 patches to see"),
        ({"masking": "blocks"}, r"masking must be one of \['block', 'grid', 'random'\], got 'blocks'"),
        ({"mean": [0.5]}, r"mean must have one value per channel \(3\), got \[0.5\]"),
        ({"std": [0.5, 0.5]}, r"std must have one value per channel \(3\), got \[0.5, 0.5\]"),
        ({"std": [0.5, 0.0, 0.5]}, "std must be positive"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        mae(**changes)


def test_parts_that_do_not_fit_are_refused_by_name():
    cases = [
        ({"encoder": encoder(final_norm=False)}, "final_norm=true"),
        ({"encoder": relative_encoder(final_norm=True)}, "relative_position_bias=false"),
        ({"decoder": decoder(encoder_dim=48)}, "decoder's encoder_dim must be 24 to fit the encoder, got 48"),
        ({"decoder": decoder(patch_size=4)}, "decoder's patch_size must be 8 to fit the encoder, got 4"),
        ({"decoder": decoder(in_chans=1)}, "decoder's in_chans must be 3"),
        ({"decoder": decoder(image_size=[16, 64])}, r"decoder's image_size must be \(32, 32\)"),
    ]
    for changes, message in cases:
        with pytest.raises(ValueError, match=message):
            mae(**changes)
    with pytest.raises(ValueError, match="decoder embed_dim must be a multiple of num_heads 3, got 16"):
        decoder(num_heads=3)
    with pytest.raises(ValueError, match="decoder positions must be 'fixed' or 'learned', got 'none'"):
        decoder(positions="none")


@pytest.mark.parametrize("build", [encoder, relative_encoder, decoder])
def test_every_norm_has_the_epsilon_that_is_asked_for(build):
    norms = [part for part in build(norm_eps=1e-3).modules() if isinstance(part, torch.nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-3}
    with pytest.raises(ValueError, match="norm_eps must be positive, got 0"):
        build(norm_eps=0)


@pytest.mark.parametrize("build", [encoder, decoder])
def test_fixed_positions_are_the_table_however_weights_start(build):
    assert torch.equal(build(init="truncated_normal").pos_embed, build().pos_embed)


OWED = ("feature_maps", "depth_of", "num_depths", "widths", "strides")
OWED_MASKED = ("tokens", "image_size", "patch_size", "grid", "num_patches", "embed_dim", "in_chans")


@pytest.mark.parametrize("name", [*OWED, *OWED_MASKED])
def test_an_encoder_owes_each_of_its_parts(name):
    one = SimpleNamespace(**dict.fromkeys([*OWED, *OWED_MASKED]))
    check_encoder(one, masked=True)
    delattr(one, name)
    with pytest.raises(ValueError, match=rf"no encoder of a masked autoencoder \(it has no {name}\)"):
        check_encoder(one, masked=True)
    if name in OWED_MASKED:
        check_encoder(one)
    else:
        with pytest.raises(ValueError, match=rf"SimpleNamespace is no encoder \(it has no {name}\)"):
            check_encoder(one)

"""CrossMAE as published: what its decoder blocks look at, and how many parameters the recipe has."""

import pytest
import torch
from test_cross_decoder import DIM, norm, softmax_attention
from tiny_models import encoder, mae, scramble

import mae_hydra
from mae_hydra.models import MAE, CrossMAEDecoder
from mae_hydra.types import Batch


def decoder(**changes) -> CrossMAEDecoder:
    settings = {
        "encoder_dim": 24, "embed_dim": DIM, "depth": 3, "num_heads": 2, "mlp_ratio": 2.0, "patch_size": 8,
        "in_chans": 3, "image_size": 32, "num_encoder_blocks": 4,
    }  # fmt: skip
    return CrossMAEDecoder(**(settings | changes))


def build(*, final_norm: bool = False, predicted_share: float = 1.0, **changes) -> MAE:
    return mae(encoder=encoder(final_norm=final_norm), decoder=decoder(**changes), predicted_share=predicted_share)


def test_the_recipe_has_the_parameters_of_the_published_model():
    with torch.device("meta"):
        model = mae_hydra.build("+experiment=crossmae_vitb_imagenet_800e")
    assert sum(parameter.numel() for parameter in model.parameters()) == 127_286_428
    assert model.decoder.block_weights.shape == (12, 13)  # the embedded input and twelve blocks
    assert model.decoder.blocks[0].attn.kv.weight.shape == (2 * 512, 768)
    assert model.encoder.norm is None


def test_predictions_are_those_of_the_formula_from_pixels_on():
    """Four blocks and the embedded input are weighed, normalised, and projected by each decoder block for itself."""
    model = build().double()
    scramble(model)
    maps = []
    model.encoder.blocks[0].register_forward_pre_hook(lambda _module, inputs: maps.append(inputs[0]))
    for block in model.encoder.blocks:
        block.register_forward_hook(lambda _module, _input, output: maps.append(output))
    images, noise = torch.randn(2, 3, 32, 32, dtype=torch.float64), torch.rand(2, 16)
    found = model(images, noise=noise)
    assert len(maps) == 5
    state = model.decoder.state_dict()
    tokens = state["mask_token"] + state["pos_embed"][:, 1:].expand(2, -1, -1)
    for index in range(3):
        name = f"blocks.{index}"
        weighted = sum(state["block_weights"][index, each] * maps[each] for each in range(5))
        seen = norm(state, f"block_norms.{index}", weighted)
        tokens = tokens + softmax_attention(state, f"{name}.attn", norm(state, f"{name}.norm1", tokens), seen)
        hidden = norm(state, f"{name}.norm2", tokens) @ state[f"{name}.mlp.fc1.weight"].T
        hidden = torch.nn.functional.gelu(hidden + state[f"{name}.mlp.fc1.bias"])
        tokens = tokens + hidden @ state[f"{name}.mlp.fc2.weight"].T + state[f"{name}.mlp.fc2.bias"]
    expected = norm(state, "norm", tokens) @ state["pred.weight"].T + state["pred.bias"]
    torch.testing.assert_close(found.prediction, expected, rtol=1e-10, atol=1e-10)
    errors = (expected - model.target(model.patches(images))).square().mean(2)[found.hidden]
    loss = model.loss(Batch(images), noise=noise)
    torch.testing.assert_close(loss.total, errors.sum(), rtol=1e-10, atol=0)


def test_every_parameter_is_trained_with_a_share_of_the_patches_on_smaller_images_too():
    model = mae(encoder=encoder(final_norm=False), decoder=decoder(), predicted_share=0.34, smaller=[16])
    for size in (32, 16):
        model.zero_grad()
        model.loss(Batch(torch.randn(2, 3, size, size))).total.backward()
        trained = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
        assert [name for name, gradient in trained.items() if gradient is None or not gradient.any()] == []


def test_the_weights_of_maps_start_with_variance_one_over_their_number():
    torch.manual_seed(0)
    weights = decoder(depth=120, num_encoder_blocks=3).block_weights.detach()
    assert weights.shape == (120, 4)
    assert weights.std().item() == pytest.approx(1 / 2, rel=0.08)


def test_fewer_blocks_are_spread_evenly_and_the_embedded_input_stays():
    model = build(num_encoder_blocks=2)
    images, keep = torch.randn(2, 3, 32, 32), torch.tensor([[0, 3, 9], [5, 1, 2]])
    every = model.encoder.block_tokens(images, keep, count=4, embedded=True)
    some = model.encoder.block_tokens(images, keep, count=2, embedded=True)
    assert torch.equal(some, every[[0, 2, 4]])
    assert model(images, keep=keep).prediction.isfinite().all()


def test_what_does_not_fit_it_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"CrossMAEDecoder reads the encoder before any norm.*final_norm=false"):
        build(final_norm=True)
    for count in (0, 5):
        with pytest.raises(ValueError, match="num_encoder_blocks must be"):
            build(num_encoder_blocks=count)

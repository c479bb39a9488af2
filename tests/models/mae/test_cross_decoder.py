"""The decoder of CrossMAE, against the formula, and what it may leave out."""

import pytest
import torch
from tiny_models import decoder, encoder, mae, scramble
from torch.utils.flop_counter import FlopCounterMode

from mae_hydra.errors import UserError
from mae_hydra.models import MAE, CrossDecoder, CrossMAEDecoder, VisionTransformer
from mae_hydra.types import Batch
from mae_hydra.weights import to_layout

DIM, HEADS = 16, 2


def cross(**changes) -> CrossDecoder:
    plain = decoder(image_size=32)
    settings = {
        "encoder_dim": plain.encoder_dim, "embed_dim": DIM, "depth": 3, "num_heads": HEADS, "mlp_ratio": 2.0,
        "patch_size": plain.patch_size, "in_chans": 3, "image_size": 32, "num_encoder_blocks": 1,
    }  # fmt: skip
    return CrossDecoder(**(settings | changes))


def build(*, num_encoder_blocks: int = 1, **changes) -> MAE:
    return mae(encoder=encoder(image_size=32), decoder=cross(num_encoder_blocks=num_encoder_blocks), **changes)


def softmax_attention(state, name, tokens, seen):
    """One head after the other, by the definition."""
    q = tokens @ state[f"{name}.q.weight"].T + state[f"{name}.q.bias"]
    k, v = (seen @ state[f"{name}.kv.weight"].T + state[f"{name}.kv.bias"]).split(DIM, -1)
    width = DIM // HEADS
    heads = []
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        weights = (q[..., part] @ k[..., part].transpose(1, 2) / width**0.5).softmax(-1)
        heads.append(weights @ v[..., part])
    return torch.cat(heads, -1) @ state[f"{name}.proj.weight"].T + state[f"{name}.proj.bias"]


def norm(state, name, tokens):
    centred = tokens - tokens.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


@pytest.mark.parametrize("count", [1, 2])
def test_predictions_are_those_of_the_formula(count):
    part = cross(num_encoder_blocks=count).double()
    scramble(part)
    state = part.state_dict()
    latent = torch.randn(count, 2, 4, part.encoder_dim, dtype=torch.float64)
    keep, positions = torch.tensor([[0, 3, 9], [5, 1, 2]]), torch.tensor([[4, 15], [0, 7]])
    tokens = state["mask_token"] + state["pos_embed"][0, 1:][positions]
    for index in range(3):
        name = f"blocks.{index}"
        read = latent[0]
        if count > 1:
            weighted = sum(state["block_weights"][index, each] * latent[each] for each in range(count))
            read = norm(state, f"block_norms.{index}", weighted)
        seen = read @ state["embed.weight"].T + state["embed.bias"]
        tokens = tokens + softmax_attention(state, f"{name}.attn", norm(state, f"{name}.norm1", tokens), seen)
        hidden = (
            norm(state, f"{name}.norm2", tokens) @ state[f"{name}.mlp.fc1.weight"].T + state[f"{name}.mlp.fc1.bias"]
        )
        hidden = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
        tokens = tokens + hidden @ state[f"{name}.mlp.fc2.weight"].T + state[f"{name}.mlp.fc2.bias"]
    expected = norm(state, "norm", tokens) @ state["pred.weight"].T + state["pred.bias"]
    found = part(latent if count > 1 else latent[0], keep, positions)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("count", "blocks"), [(1, [4]), (2, [1, 4]), (3, [0, 2, 4]), (5, [0, 1, 2, 3, 4])])
def test_block_tokens_are_the_outputs_of_blocks_that_are_spread_evenly(count, blocks):
    model = encoder(image_size=32, depth=5, out_indices=[4])
    scramble(model)
    images, keep = torch.randn(2, 3, 32, 32), torch.tensor([[0, 3, 9], [5, 1, 2]])
    outputs = []
    for block in model.blocks:
        block.register_forward_hook(lambda _module, _input, output: outputs.append(output))
    found = model.block_tokens(images, keep, count=count)
    assert len(found) == count
    for tokens, index in list(zip(found, blocks, strict=True))[:-1]:
        assert torch.equal(tokens, outputs[index])
    assert torch.equal(found[-1], model.tokens(images, keep))


def test_the_model_hands_the_blocks_that_are_asked_for_to_the_decoder():
    model = build(num_encoder_blocks=2).double()
    scramble(model)
    images, noise = torch.randn(2, 3, 32, 32, dtype=torch.float64), torch.rand(2, 16)
    found = model(images, noise=noise)
    latent = model.encoder.block_tokens(images, found.keep, count=2)
    torch.testing.assert_close(found.prediction, model.decoder(latent, found.keep))
    hidden = found.hidden[..., None]
    errors = (found.prediction - model.target(model.patches(images))).square() * hidden
    loss = model.loss(Batch(images), noise=noise)
    torch.testing.assert_close(loss.total, errors.mean(2).sum(), rtol=1e-10, atol=0)


def test_no_parameter_is_left_out_of_training():
    """Replicas over devices wait for the gradient of every parameter, the encoder's final norm among them."""
    model = build(num_encoder_blocks=2)
    model.loss(Batch(torch.randn(2, 3, 32, 32))).total.backward()
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert [name for name, weight in trained.items() if weight.grad is None] == []
    for name in ("decoder.block_weights", "decoder.block_norms.0.weight", "encoder.norm.weight"):
        assert trained[name].grad.ne(0).all(), name


def test_the_weights_of_blocks_start_with_variance_one_over_their_number():
    torch.manual_seed(0)
    weights = cross(depth=60, num_encoder_blocks=9).block_weights.detach()
    assert weights.std().item() == pytest.approx(1 / 3, rel=0.1)
    assert weights.mean().item() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("count", [1, 3])
def test_the_loss_is_near_the_exact_one_under_autocast(count):
    model = build(num_encoder_blocks=count)
    images, noise = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8), torch.rand(4, 16)
    exact = model.loss(Batch(images), noise=noise)
    streams = []
    for block in (*model.encoder.blocks, *model.decoder.blocks):
        block.register_forward_hook(lambda _module, _input, output: streams.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(Batch(images), noise=noise)
    assert set(streams) == {torch.float32}  # what blocks add up is never rounded
    torch.testing.assert_close(loss.total, exact.total, rtol=0.02, atol=0)


@pytest.mark.parametrize(("count", "said"), [(0, "1 or more, got 0"), (5, "at most 4, the encoder's, got 5")])
def test_an_impossible_number_of_encoder_blocks_is_refused(count, said):
    with pytest.raises(ValueError, match=f"num_encoder_blocks must be {said}"):
        build(num_encoder_blocks=count)


def test_an_encoder_that_gives_no_blocks_is_refused_where_several_are_read():
    class Closed(VisionTransformer):
        block_tokens = property()  # which cannot be read

    closed = encoder(image_size=32)
    closed.__class__ = Closed
    mae(encoder=closed, decoder=cross())
    with pytest.raises(ValueError, match="CrossDecoder reads several blocks, which Closed does not give"):
        mae(encoder=closed, decoder=cross(num_encoder_blocks=2))


@pytest.mark.parametrize("kind", [CrossDecoder, CrossMAEDecoder])
def test_positions_and_start_are_those_that_are_asked_for(kind):
    settings = {"encoder_dim": 24, "embed_dim": 96, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0, "patch_size": 8}
    settings |= {"in_chans": 3, "image_size": 128, "num_encoder_blocks": 2}
    made = kind(**settings, positions="learned", init="truncated_normal")
    for name in ("pos_embed", "mask_token", "blocks.1.mlp.fc1.weight", "blocks.1.attn.kv.weight", "pred.weight"):
        assert made.get_parameter(name).std().item() == pytest.approx(0.02, rel=0.15), name
        assert made.get_parameter(name).requires_grad
    assert not kind(**settings).pos_embed.requires_grad


def test_a_position_is_predicted_alike_alone_and_among_all():
    part = cross().double()
    scramble(part)
    latent, keep = torch.randn(2, 4, part.encoder_dim, dtype=torch.float64), torch.tensor([[0, 3, 9], [5, 1, 2]])
    everything = part(latent, keep)
    assert everything.shape[:2] == (2, 16)
    for position in range(16):
        alone = part(latent, keep, torch.full((2, 1), position))
        torch.testing.assert_close(alone[:, 0], everything[:, position])


def test_only_the_predicted_share_enters_the_loss_and_is_looked_at():
    model = build(predicted_share=0.25).train()
    images = torch.randn(5, 3, 32, 32)
    noise = torch.rand(5, 16)
    torch.manual_seed(3)
    loss = model.loss(Batch(images), noise=noise)
    assert loss.count == 5 * 3  # a quarter of 12 hidden patches
    torch.manual_seed(3)
    assert model.loss(Batch(images), noise=noise).total == loss.total
    torch.manual_seed(4)
    assert model.loss(Batch(images), noise=noise).total != loss.total
    for share, count in ((0.3, 4), (0.01, 1)):  # 3.6 of 12, and at least one
        assert build(predicted_share=share).loss(Batch(images), noise=noise).count == 5 * count
    every = model.eval().loss(Batch(images), noise=noise)
    assert every.count == 5 * 12
    # Over many draws the share's mean is that of all.
    model.train()
    drawn = [model.loss(Batch(images), noise=noise) for _ in range(100)]
    found = sum(each.total for each in drawn) / sum(each.count for each in drawn)
    torch.testing.assert_close(found, every.total / every.count, rtol=0.08, atol=0)


def test_a_quarter_of_the_hidden_patches_costs_a_fraction_of_the_plain_decoder():
    def flops(model: MAE) -> int:
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            latent = torch.empty(2, 50, 768)
            keep = torch.empty(2, 49, dtype=torch.int64)
            positions = torch.empty(2, round(147 * model.predicted_share), dtype=torch.int64)
            model.decoder(latent, keep, positions)
        return counter.get_total_flops()

    from mae_hydra.workflows.entry import build as compose

    with torch.device("meta"):
        size = ["model=mae_vitb", "data=imagenet"]
        plain = flops(compose(*size))
        whole = flops(compose(*size, "head=mae_cross_decoder", "head.depth=8"))
        quarter = flops(compose(*size, "head=mae_cross_decoder", "head.depth=8", "model.predicted_share=0.25"))
    assert quarter < whole < plain
    assert 4 < plain / quarter < 6  # of equal depth; at the paper's depths its abstract says 2.5 to 3.7


@pytest.mark.parametrize("share", [0.0, 1.5, -0.1])
def test_an_impossible_share_is_refused(share):
    with pytest.raises(ValueError, match=r"predicted_share must lie in \(0, 1\]"):
        build(predicted_share=share)


@pytest.mark.parametrize("layout", ["official", "huggingface"])
def test_layouts_without_cross_attention_refuse_it_and_take_the_encoder(layout):
    tensors = build().state_dict()
    with pytest.raises(UserError, match=rf"the {layout} layout has no place for decoder\.blocks\.0\.attn\.q\.weight"):
        to_layout(tensors, layout)
    encoder_alone = {name: tensor for name, tensor in tensors.items() if name.startswith("encoder.")}
    assert to_layout(encoder_alone, layout).tensors
    assert to_layout(tensors, "native").tensors.keys() == tensors.keys()

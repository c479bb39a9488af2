"""Pixio: several cls tokens and blocks of patches, in encoder, decoder and loss."""

import pytest
import reference
import torch
from tiny_models import SIZES, classifier, decoder, encoder, mae, relative_encoder, scramble

from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.models import STRATEGIES, ClassifierHead, CrossDecoder
from mae_hydra.models.initialise import TOKEN_STD
from mae_hydra.models.pooling import pool_tokens, pooled_width
from mae_hydra.relative_positions import relative_position_index
from mae_hydra.types import Batch

TOKENS = 8


def pixio(image_size=64, side=2, **changes):
    return mae(image_size, num_cls_tokens=TOKENS, mask_block=side, **changes)


def blocks_of(keep, columns, side):
    """The sets of blocks in which the kept patches of each image lie, and whether each is there as a whole."""
    found = []
    for row in keep.tolist():
        blocks = [(patch // columns // side, patch % columns // side) for patch in row]
        assert all(blocks.count(block) == side**2 for block in blocks)
        found.append(frozenset(blocks))
    return found


def test_forward_loss_and_gradients_equal_an_independent_computation():
    model = pixio([32, 96]).double()
    scramble(model)
    images = torch.randn(2, 3, 32, 96, dtype=torch.float64)
    noise = torch.rand(2, 12, dtype=torch.float64)  # 2 x 6 blocks of 2 x 2 patches
    by_patch = noise.unflatten(1, (2, 6)).repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1)
    by_patch = by_patch + 1e-9 * torch.arange(48)  # patches of a block in order
    state = {name: value.clone().requires_grad_() for name, value in model.state_dict().items()}
    expected = reference.mae(images, state, by_patch, 12, 8, (3, 2))
    output, loss = model(images, noise=noise), model.loss(Batch(images), noise=noise)
    assert torch.equal(output.hidden, expected["hidden"].bool())
    torch.testing.assert_close(output.prediction, expected["prediction"], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(loss.total / loss.count, expected["loss"], rtol=1e-10, atol=0)
    assert loss.count == 2 * 36
    (loss.total / loss.count).backward()
    expected["loss"].backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, state[name].grad, rtol=1e-9, atol=1e-10, msg=name)
    spread = model.encoder.cls_token.grad[0].std(0)
    assert (spread > 0).all()  # each cls token learns something of its own


@pytest.mark.parametrize(
    ("grid", "side", "kept"),
    # Of the released setting and of the sizes around it, worked out by hand.
    [(16, 1, 64), (16, 2, 64), (16, 4, 64), (16, 8, 64), (12, 4, 32), (14, 2, 48), (20, 4, 96), (24, 8, 128)],
)
def test_whole_blocks_are_kept_and_as_many_in_every_image(grid, side, kept):
    model = pixio(8 * grid, side).eval()
    keep = model._choose(torch.empty(5, 3, 8 * grid, 8 * grid), None, None, model.encoder.grid)
    assert keep.shape == (5, kept)
    assert len(set(blocks_of(keep, grid, side))) > 1


@pytest.mark.parametrize("masking", sorted(STRATEGIES))
def test_every_strategy_draws_blocks(masking):
    model = pixio([64, 96], masking=masking).eval()
    keep = model._choose(torch.empty(3, 3, 64, 96), None, None, (8, 12))
    assert all(len(blocks) == 6 for blocks in blocks_of(keep, 12, 2))


def test_given_noise_may_be_of_patches_or_of_blocks():
    model, images = pixio().eval(), torch.randn(2, 3, 64, 64)
    by_patch, by_block = torch.rand(2, 64), torch.rand(2, 16)
    assert torch.equal(model(images, noise=by_patch).keep, by_patch.argsort(1)[:, :16])
    assert blocks_of(model(images, noise=by_block).keep, 8, 2) == [
        frozenset(divmod(block, 4) for block in row) for row in by_block.argsort(1)[:, :4].tolist()
    ]
    with pytest.raises(ValueError, match=r"shape \(2, 64\) or one number for each block, got \(2, 32\)"):
        model(images, noise=torch.rand(2, 32))


def test_a_model_is_made_only_of_blocks_that_fill_its_grid_and_of_which_some_are_seen():
    assert [pixio(side=side).mask_block for side in (1, 2, 4)] == [1, 2, 4]
    for side, message in (
        (3, "mask_block must divide the grid of 8x8 patches, got 3"),
        (0, "mask_block must divide the grid of 8x8 patches, got 0"),
        (8, r"mask_ratio 0\.75 leaves none of 1 blocks of 8x8 patches to see"),
    ):
        with pytest.raises(ValueError, match=message):
            pixio(side=side)
    with pytest.raises(ValueError, match=r"mask_ratio 0\.8 leaves none of 4 blocks of 4x4 patches to see"):
        pixio(side=4, mask_ratio=0.8)


def test_smaller_images_are_hidden_in_blocks_and_predicted_too():
    model = pixio(smaller=[32])
    loss = model.loss(Batch(torch.randn(2, 3, 32, 32)))
    assert loss.count == 2 * 12
    with pytest.raises(ValueError, match="mask_block must divide the grid of 3x3"):
        pixio(smaller=[24])
    learned = decoder(image_size=64, num_cls_tokens=TOKENS, positions="learned")
    with pytest.raises(ValueError, match=r"need fixed positions \(backbone.positions=fixed head.positions=fixed\)"):
        pixio(decoder=learned, smaller=[32])


def test_parts_of_other_cls_tokens_are_refused():
    with pytest.raises(ValueError, match="decoder's num_cls_tokens must be 8 to fit the encoder, got 1"):
        pixio(decoder=decoder(image_size=64))
    with pytest.raises(ValueError, match="num_cls_tokens must be 1 or more, got 0"):
        encoder(num_cls_tokens=0)


@pytest.mark.parametrize("blocks", [1, 4])
def test_decoders_by_cross_attention_take_several_cls_tokens(blocks):
    made = CrossDecoder(
        encoder_dim=24, embed_dim=16, depth=2, num_heads=2, mlp_ratio=4.0, patch_size=8, in_chans=3, image_size=64,
        num_encoder_blocks=blocks, num_cls_tokens=TOKENS,
    )  # fmt: skip
    model = pixio(decoder=made)
    model.loss(Batch(torch.randn(2, 3, 64, 64))).total.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("size", "of_encoder", "of_all", "keys"),
    [
        ("base", 85_855_488, 187_656_192, 150),
        ("large", 303_377_408, 405_309_184, 294),
        ("huge", 631_013_120, 733_075_968, 390),
    ],
)
def test_sizes_are_the_published_ones(size, of_encoder, of_all, keys):
    dim, depth, heads, _, _ = SIZES[size]
    with torch.device("meta"):
        one = encoder(
            image_size=256, patch_size=16, embed_dim=dim, depth=depth, num_heads=heads, num_cls_tokens=TOKENS,
            out_indices=[depth - 1],
        )  # fmt: skip
        other = decoder(
            encoder_dim=dim, embed_dim=512, depth=32, num_heads=16, patch_size=16, image_size=256, num_cls_tokens=TOKENS
        )
        model = pixio(256, 4, encoder=one, decoder=other)
    assert sum(p.numel() for p in one.parameters()) == of_encoder
    assert sum(p.numel() for p in model.parameters()) == of_all
    assert (len(one.state_dict()), len(other.state_dict())) == (keys, 392)


def test_cls_tokens_start_apart_and_their_fixed_positions_are_zero():
    model = pixio()
    for part in (model.encoder, model.decoder):
        assert not part.pos_embed[:, :TOKENS].any()
        assert part.pos_embed[:, TOKENS:].any(2).all()
    tokens = model.encoder.cls_token[0]
    assert torch.cdist(tokens, tokens).add(torch.eye(TOKENS)).min() > TOKEN_STD


@pytest.mark.parametrize("build", [encoder, decoder])
def test_the_start_of_transformers_pixio_can_be_chosen(build):
    made = build(init="truncated_normal", positions="learned", num_cls_tokens=TOKENS, embed_dim=96, image_size=256)
    weights = {name: p for name, p in made.named_parameters() if p.ndim == 2 or "patch_embed.proj.w" in name}
    tables = {"pos_embed": made.pos_embed, **weights}
    for name, weight in tables.items():
        assert weight.std().item() == pytest.approx(TOKEN_STD, rel=0.1), name
        assert weight.requires_grad
    assert all(not p.any() for name, p in made.named_parameters() if name.endswith(".bias"))
    with pytest.raises(ValueError, match="init must be 'xavier', 'truncated_normal' or null, got 'he'"):
        build(init="he")


def test_tokens_are_pooled_as_their_names_say():
    tokens = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [10.0, 20.0], [30.0, 0.0]]])  # two of cls, two of patches
    for pool, wanted in {
        "mean": [20.0, 10.0],
        "cls": [2.0, 4.0],
        "cls_concat": [1.0, 2.0, 3.0, 6.0],
        "cls_and_mean": [2.0, 4.0, 20.0, 10.0],
    }.items():
        assert pool_tokens(tokens, pool, 2).tolist() == [wanted]
        assert pooled_width(2, pool, 2) == len(wanted)


@pytest.mark.parametrize("pool", ["cls", "cls_concat", "cls_and_mean"])
def test_a_classifier_reads_its_cls_tokens(pool):
    width = pooled_width(24, pool, TOKENS)
    head = ClassifierHead(in_dim=width, num_classes=5, norm=False, batch_norm=False, init_std=0.01)
    changes = {"num_cls_tokens": TOKENS, "final_norm": True}
    model = classifier(pool, encoder_changes=changes, head=head).eval()
    images = torch.randn(2, 3, 32, 32)
    wanted = head.linear(pool_tokens(model.encoder.tokens(images), pool, TOKENS))
    torch.testing.assert_close(model(images), wanted)
    if pool != "cls":
        with pytest.raises(ValueError, match=f"in_dim must be {width} to fit the encoder and its pool, got 24"):
            classifier(pool, encoder_changes=changes)


def test_relative_positions_are_those_of_one_cls_token_for_each():
    one, several = relative_position_index((3, 5)), relative_position_index((3, 5), TOKENS)
    places = [0] * TOKENS + list(range(1, 16))
    assert torch.equal(several, one[places][:, places])
    plain, relative = encoder(num_cls_tokens=TOKENS, final_norm=False), relative_encoder(num_cls_tokens=TOKENS)
    relative.load_state_dict(plain.state_dict(), strict=False)
    images = torch.randn(2, 3, 32, 32)
    for ours, theirs in zip(plain.feature_maps(images), relative.feature_maps(images), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_maps_are_behind_the_norm_where_that_is_asked_for():
    plain, normed = encoder(num_cls_tokens=TOKENS), encoder(num_cls_tokens=TOKENS, norm_maps=True)
    normed.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 32, 32)
    for before, after in zip(plain.feature_maps(images), normed.feature_maps(images), strict=True):
        torch.testing.assert_close(plain.norm(before.movedim(1, 3)).movedim(3, 1), after)
    assert torch.equal(normed.feature_maps(images)[-1], normed.final_map(images))


@pytest.mark.parametrize("head", ["dpt", "linear_seg"])
def test_a_frozen_encoder_feeds_linear_and_dpt_heads(head):
    words = ["model=segprobe_vitt", "backbone=pixio_tiny", f"head={head}"]
    model = build(compose_config(words).model, "model").train()
    assert (model.encoder.num_cls_tokens, model.encoder.norm_maps) == (TOKENS, True)
    batch = Batch(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8), torch.zeros(2, 64, 64, dtype=torch.uint8))
    model.loss(batch).total.backward()
    assert not any(p.requires_grad for p in model.encoder.parameters())
    assert all(p.grad is not None for p in model.head.parameters())
    assert model(batch.images).shape == (2, 12, 64, 64)

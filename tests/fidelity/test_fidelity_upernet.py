"""UPerNet at the widths of the ADE20K model, against the literal reference and timm's BEiT."""

import pytest
import reference
import torch
from agreement import FLOAT64, limit
from timm.models.beit import Beit
from tiny_models import scramble

import mae_hydra
from mae_hydra.models import UPerNet
from mae_hydra.relative_positions import relative_position_index
from mae_hydra.types import Batch
from mae_hydra.weights import to_layout

SMALL = ["backbone.depth=4", "backbone.out_indices=[0,1,2,3]", "backbone.drop_path_rate=0.0"]
NARROW = ["backbone.embed_dim=48", "backbone.num_heads=3", "head.dropout=0", "model.auxiliary.dropout=0"]


def upernet(*overrides: str, image_size: int = 64) -> UPerNet:
    size = f"data.image_size={image_size}"
    model = mae_hydra.build("model=upernet_vitb", "data.num_classes=150", size, *SMALL, *overrides)
    assert isinstance(model, UPerNet)
    scramble(model.double())
    return model


def expected_logits(model: UPerNet, state: reference.State, images: torch.Tensor, training: bool):
    """Main and auxiliary logits at their own size."""
    encoder = model.encoder
    maps = reference.feature_maps(
        images, reference.part(state, "encoder."), encoder.patch_size, encoder.num_heads, encoder.grid
    )
    levels = reference.pyramid(maps, reference.part(state, "pyramid."), training)
    main = reference.upper_head(levels, reference.part(state, "head."), [1, 2, 3, 6], training)
    return main, reference.fcn_head(levels[2], reference.part(state, "auxiliary."), training)


@pytest.mark.parametrize("training", [False, True])
def test_logits_of_both_heads_equal_the_reference(training, agree):
    model = upernet(*NARROW).train(training)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        main, auxiliary = expected_logits(model, state, images, training)
        mode = "training" if training else "evaluation"
        agree(f"UPerNet logits, {mode}, float64", model.low_resolution_logits(images), main, FLOAT64)
        model.load_state_dict(state)
        levels = model.pyramid(model.encoder.feature_maps(images))
        agree(f"UPerNet auxiliary logits, {mode}, float64", model.auxiliary(levels[2]), auxiliary, FLOAT64)


@pytest.mark.slow
@pytest.mark.parametrize("normalizer", ["valid", "all"])
def test_the_loss_with_ignored_pixels_and_its_gradients_equal_the_reference(normalizer, agree):
    model = upernet(*NARROW, f"loss.normalizer={normalizer}", image_size=32).train()
    for tensor in model.state_dict().values():  # of ordinary size: large weights make gradients that no one can compute
        if tensor.is_floating_point():
            tensor.mul_(0.2)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    labels = torch.randint(0, 150, (2, 32, 32), dtype=torch.uint8)
    labels[0, :20] = 255
    state = {name: value.clone() for name, value in model.state_dict().items()}
    trained = dict(model.named_parameters())
    for name in trained:
        state[name].requires_grad_()
    main, auxiliary = expected_logits(model, state, images, training=True)
    count = int((labels != 255).sum()) if normalizer == "valid" else labels.numel()
    terms = [reference.cross_entropy_sum(logits, labels, 255) / count for logits in (main, auxiliary)]
    expected = terms[0] + 0.4 * terms[1]
    expected.backward()
    loss = model.loss(Batch(images, labels))
    assert loss.count == count
    (loss.total / loss.count).backward()
    divisor = "valid pixels" if normalizer == "valid" else "all pixels, as mmsegmentation"
    agree(f"UPerNet loss, divided by {divisor}, float64", loss.total / loss.count, expected, FLOAT64)
    gradients = [(parameter.grad, state[name].grad) for name, parameter in trained.items()]
    largest = max(theirs.abs().max() for _, theirs in gradients)
    for ours, theirs in gradients:
        if theirs.abs().max() > 1e-6 * largest:  # below: what a batch norm or a softmax cancels, rounding only
            agree("UPerNet gradients, float64", ours, theirs, FLOAT64)
        else:
            assert (ours - theirs).abs().max() <= FLOAT64 * largest


def beit(image_size: int, width: int, depth: int, heads: int) -> Beit:
    return Beit(
        img_size=image_size,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        qkv_bias=True,
        init_values=1.0,
        use_abs_pos_emb=True,
        use_rel_pos_bias=True,
        num_classes=0,
        global_pool="",
    )


FOUR_BLOCKS = ("backbone.depth=4", "backbone.out_indices=[0,1,2,3]", "head.channels=64")  # in double: minutes saved


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "changes"), [(torch.float32, ()), (torch.float64, FOUR_BLOCKS)])
def test_the_backbone_at_512_pixels_equals_timms_beit_and_so_do_the_classes(dtype, changes, agree):
    """All four maps of ViT-B, and the arg max of the logits that follow from either's maps."""
    model = mae_hydra.build("model=upernet_vitb", "data=ade20k", *changes).to(dtype).eval()
    scramble(model.encoder)
    peer = beit(512, 768, len(model.encoder.blocks), 12).to(dtype).eval()
    lacking = peer.load_state_dict(to_layout(model.state_dict(), "timm").tensors, strict=False)
    assert lacking.missing_keys == ["norm.weight", "norm.bias"]
    images = torch.randn(1, 3, 512, 512, dtype=dtype)
    name, most = limit(dtype)
    with torch.no_grad():
        theirs = peer.forward_intermediates(
            images, indices=list(model.encoder.out_indices), norm=False, intermediates_only=True
        )
        ours = model.encoder.feature_maps(images)
        for mine, other in zip(ours, theirs, strict=True):
            agree(f"UPerNet backbone = timm BEiT at 512, {name}", mine, other, most)
        logits, by_theirs = (model.head(model.pyramid(maps)) for maps in (ours, theirs))
    agree(f"UPerNet logits from timm's maps, {name}", logits, by_theirs, most)
    assert torch.equal(logits.argmax(1), by_theirs.argmax(1))


@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (3, 5), (7, 4), (32, 32)])
def test_the_relative_position_index_is_the_formula(grid):
    height, width = grid
    rows = (2 * height - 1) * (2 * width - 1) + 3
    index = relative_position_index(grid)
    tokens = torch.randint(1, 1 + height * width, (200, 2))
    for query, key in tokens.tolist():
        (qh, qw), (kh, kw) = divmod(query - 1, width), divmod(key - 1, width)
        assert index[query, key] == (qh - kh + height - 1) * (2 * width - 1) + qw - kw + width - 1
    assert (index[0, 1:] == rows - 3).all()
    assert (index[1:, 0] == rows - 2).all()
    assert index[0, 0] == rows - 1


def test_any_bias_of_the_keys_gives_the_same_logits(agree):
    model = upernet(*NARROW).eval()
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        before = model(images)
        for block in model.encoder.blocks:
            block.attn.qkv.bias[48:96] += 3 * torch.randn(48, dtype=torch.float64)
        agree("UPerNet logits with any key bias, float64", model(images), before, FLOAT64)

"""timm's models as encoders: their maps are timm's own, and their description is what they give."""

import copy
import functools
from contextlib import nullcontext

import pytest
import timm
import torch

from mae_hydra.models import (
    Classifier,
    ClassifierHead,
    FCNHead,
    FeaturePyramid,
    LinearSegHead,
    Segmenter,
    TimmEncoder,
    UPerHead,
)
from mae_hydra.models.encoders.timm_encoder import sizes_of, widths_of
from mae_hydra.types import Batch, Encoder

SMALL = {  # model: image size
    "vit_tiny_patch16_224": 64,
    "vit_small_patch16_dinov3": 64,
    "beit_base_patch16_224": 32,
    "eva02_tiny_patch14_224": 56,
    "vit_base_patch16_siglip_224": 32,
    "swin_tiny_patch4_window7_224": 224,
    "convnext_atto": 64,
    "resnet18": 64,
    "efficientnet_b0": 64,
}
STATISTICS = {"mean": [0.5] * 3, "std": [0.25] * 3}


def encoder(name: str, size: int | tuple[int, int], **changes) -> TimmEncoder:
    """A copy of its own: to draw the first weights takes most of the time."""
    if torch.get_default_device().type == "meta":
        return made_encoder.__wrapped__(name, size, **changes)
    return copy.deepcopy(made_encoder(name, size, **changes))


@functools.cache
def made_encoder(name: str, size: int | tuple[int, int], **changes) -> TimmEncoder:
    torch.manual_seed(0)
    return TimmEncoder(model_name=name, image_size=size, in_chans=3, embed_dim=widths_of(name), **changes)


@pytest.mark.parametrize(("name", "size"), SMALL.items())
def test_widths_strides_and_depths_are_those_of_the_maps_and_blocks(name, size):
    with torch.device("meta"):
        made = encoder(name, size)
        maps = made.feature_maps(torch.zeros(2, 3, size, size))
    assert isinstance(made, Encoder)
    assert [level.shape[1] for level in maps] == list(made.widths)
    assert [size // level.shape[2] for level in maps] == list(made.strides)
    depths = [made.depth_of(name) for name, _ in made.named_parameters()]
    assert min(depths) == 0
    assert max(depths) <= made.num_depths - 2  # the last is the head's: no norm is left
    assert set(depths) == set(range(made.num_depths - 1))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnext_atto", "resnet18"])
def test_the_maps_are_timms_own(name):
    made = encoder(name, 64).eval()
    theirs = timm.create_model(name, num_classes=0, **({"img_size": 64} if made.image_size else {})).eval()
    missing = theirs.load_state_dict(made.model.state_dict(), strict=False).missing_keys
    assert all(key.startswith(("norm", "head", "fc_norm")) for key in missing)
    images = torch.randn(2, 3, 64, 64)
    expected = theirs.forward_intermediates(images, indices=list(made.out_indices), intermediates_only=True)
    for ours, its in zip(made.feature_maps(images), expected, strict=True):
        torch.testing.assert_close(ours, its, rtol=0, atol=0)


def test_the_last_map_is_behind_the_norm_where_there_is_one():
    made = encoder("vit_tiny_patch16_224", 64, final_norm=True).eval()
    images = torch.randn(2, 3, 64, 64)
    tokens = made.model.forward_features(images)[:, 1:]
    torch.testing.assert_close(made.final_map(images).flatten(2).transpose(1, 2), tokens)
    assert made.depth_of("model.norm.weight") == made.num_depths - 2 == 12


def heads(made: TimmEncoder) -> dict[str, torch.nn.Module]:
    widths = made.widths[0] if len(set(made.widths)) == 1 else made.widths
    upper = UPerHead(in_dim=widths, channels=16, num_classes=5, pool_scales=[1, 2], dropout=0.0)
    return {
        "upernet": Segmenter(encoder=made, head=upper, pyramid=FeaturePyramid(dim=widths), **STATISTICS),
        "fcn": Segmenter(
            encoder=made, head=FCNHead(in_dim=made.widths[-1], channels=8, num_classes=5, dropout=0.0), **STATISTICS
        ),
        "linear": Segmenter(encoder=made, head=LinearSegHead(in_dim=made.widths[-1], num_classes=5), **STATISTICS),
        "classifier": Classifier(
            encoder=made,
            head=ClassifierHead(in_dim=made.widths[-1], num_classes=5, norm=True, batch_norm=False, init_std=0.01),
            pool="mean", trainable_blocks=None, label_smoothing=0.0, mixing=None, erasing=None, **STATISTICS,
        ),
    }  # fmt: skip


@pytest.mark.parametrize("head", ["upernet", "fcn", "linear", "classifier"])
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnext_atto", "resnet18"])
def test_under_every_head_all_that_is_left_learns(name, head):
    model = heads(encoder(name, 64))[head].train()
    labels = torch.randint(0, 5, (2,) if head == "classifier" else (2, 64, 64))
    loss = model.loss(Batch(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8), labels))
    (loss.total / loss.count).backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert {model.depth_of(name) for name, _ in model.named_parameters()} == set(range(model.num_depths))


def test_without_drop_path_nothing_is_drawn_whatever_timms_default():
    made = encoder("swin_tiny_patch4_window7_224", 224).train()  # whose default is 0.1
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(made.feature_maps(images)[-1], made.feature_maps(images)[-1])
    rates = [m.drop_prob for m in encoder("convnext_atto", 64, drop_path_rate=0.2).modules() if hasattr(m, "drop_prob")]
    assert max(rates) == pytest.approx(0.2)


def test_some_blocks_are_frozen_by_depth():
    made = encoder("convnext_atto", 64)
    Segmenter(encoder=made, head=LinearSegHead(in_dim=320, num_classes=5), trainable_blocks=2, **STATISTICS)
    learning = {made.depth_of(name) for name, parameter in made.named_parameters() if parameter.requires_grad}
    assert learning == {made.num_depths - 2, made.num_depths - 3}


def test_what_is_asked_for_is_made():
    """Rectangles, some maps, fixed positions, drop path where a model has none; without a weight being drawn."""
    with torch.device("meta"):
        tall = encoder("vit_tiny_patch16_224", (64, 32), positions="fixed", final_norm=True)
        some = TimmEncoder(
            model_name="convnext_atto", image_size=64, in_chans=3, embed_dim=[80, 320], out_indices=[1, 3]
        )
        last = encoder("resnet18", 64)
        without = TimmEncoder(model_name="vgg11", image_size=64, in_chans=3, embed_dim=[256, 512, 512, 512])
    assert (tall.image_size, tuple(tall.model.patch_embed.grid_size)) == ((64, 32), (4, 2))
    assert not tall.model.pos_embed.requires_grad
    assert (some.out_indices, some.widths, some.strides) == ((1, 3), (80, 320), (8, 32))
    assert (last.out_indices, last.strides) == ((1, 2, 3, 4), (4, 8, 16, 32))  # of five, without the stem's
    assert without.strides[-1] == 32
    assert [sizes_of(name) for name in ("vit_base_patch16_siglip_384.webli", "no_such_model")] == [
        (384, 384),
        (224, 224),
    ]


def test_norms_behind_the_maps_have_the_epsilon_of_the_model_and_stand_behind_the_last_one_alone_too():
    made = encoder("convnext_atto", 64, map_norms=True).eval()
    with torch.device("meta"):
        plain = encoder("resnet18", 64, map_norms=True)
    assert [{norm.eps for norm in each.norms} for each in (made, plain)] == [{1e-6}, {1e-5}]  # which has no LayerNorm
    for norm in made.norms:
        torch.nn.init.normal_(norm.weight)
    images = torch.randn(1, 3, 64, 64)
    maps = made.feature_maps(images)
    assert torch.equal(made.final_map(images), maps[-1])
    plain = made._maps(images, list(made.out_indices))
    for level, before, norm in zip(maps, plain, made.norms, strict=True):
        assert torch.equal(level, norm(before))


def test_a_file_of_timms_is_read_with_its_positions_resized():
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=10)
    made = encoder("vit_tiny_patch16_224", 64)
    found = made.from_timm(theirs.state_dict())
    assert found.keys() == made.state_dict().keys()
    assert found["model.pos_embed"].shape == made.model.pos_embed.shape
    assert torch.equal(found["model.blocks.3.mlp.fc1.weight"], theirs.blocks[3].mlp.fc1.weight)


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"model_name": "convnext_ato"}, "has no model 'convnext_ato'; did you mean convnext_atto"),
        ({"model_name": "hf-hub:someone/else"}, "has no model"),
        ({"model_name": "local-dir:/etc"}, "has no model"),
        ({"embed_dim": 64}, r"embed_dim must be \[40, 80, 160, 320\], the widths of convnext_atto, got 64"),
        ({"out_indices": [0, 4]}, r"out_indices must ascend within 0..3, got \[0, 4\]"),
        ({"model_name": "vit_tiny_patch16_224", "image_size": [64, 40], "embed_dim": 192}, "of 16, got 64x40"),
        ({"model_name": "vgg11", "drop_path_rate": 0.1}, "timm's vgg11 cannot be made with .*drop_path_rate"),
        ({"out_indices": [2, 1]}, r"out_indices must ascend within 0..3, got \[2, 1\]"),
        ({"positions": "some"}, "positions must be 'fixed' or 'learned', got 'some'"),
        ({"model_name": "vit_tiny_patch16_224", "image_size": 70, "embed_dim": 192}, "multiple of 16, got 70x70"),
        ({"model_name": "resnet18", "drop_path_rate": 0.1, "embed_dim": [64, 128, 256, 512]}, None),
    ],
)
def test_what_timm_does_not_have_is_said(changes, answer):
    settings = {"model_name": "convnext_atto", "image_size": 64, "in_chans": 3, "embed_dim": [40, 80, 160, 320]}
    with torch.device("meta"), pytest.raises(ValueError, match=answer) if answer else nullcontext():
        TimmEncoder(**(settings | changes))

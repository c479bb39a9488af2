"""Layer-wise groups against the tables of the papers and of mmsegmentation (docs: facts of MAE 5, of UPerNet 6)."""

import pytest
import torch
from torch import nn

from mae_hydra.models import MAE, FCNHead, FeaturePyramid, MAEDecoder, UPerHead, UPerNet, VisionTransformer
from mae_hydra.optim import adamw, describe_groups

ADAMW = {"lr": 1e-4, "base_lr": None, "global_batch": 16, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.05}


class Two(nn.Module):
    """An embedding at depth 0, a block at 1, a head at 2."""

    num_depths = 3

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 2))
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 2), requires_grad=False)
        self.block = nn.Linear(2, 2)
        self.head = nn.Linear(2, 2)

    def depth_of(self, name: str) -> int:
        return {"cls_token": 0, "pos_embed": 0, "block": 1, "head": 2}[name.split(".")[0]]


def vit_base(**changes) -> VisionTransformer:
    settings = {
        "image_size": 512,
        "patch_size": 16,
        "in_chans": 3,
        "embed_dim": 768,
        "depth": 12,
        "num_heads": 12,
        "mlp_ratio": 4.0,
        "out_indices": [3, 5, 7, 11],
        "drop_path_rate": 0.1,
        "positions": "learned",
        "relative_position_bias": True,
        "layer_scale": 1.0,
        "final_norm": False,
    }
    return VisionTransformer(**(settings | changes))


@pytest.fixture(scope="module")
def upernet() -> UPerNet:
    with torch.device("meta"):
        return UPerNet(
            encoder=vit_base(),
            pyramid=FeaturePyramid(dim=768),
            head=UPerHead(in_dim=768, channels=768, num_classes=150, pool_scales=[1, 2, 3, 6], dropout=0.1),
            auxiliary=FCNHead(in_dim=768, channels=256, num_classes=150, dropout=0.1),
            auxiliary_weight=0.4,
            ignore_index=255,
            normalizer="all",
            mean=[0.5] * 3,
            std=[0.5] * 3,
        )


@pytest.fixture(scope="module")
def mae() -> MAE:
    plain = {"positions": "fixed", "relative_position_bias": False, "layer_scale": None, "final_norm": True}
    with torch.device("meta"):
        return MAE(
            encoder=vit_base(image_size=224, drop_path_rate=0.0, **plain),
            decoder=MAEDecoder(
                encoder_dim=768,
                embed_dim=512,
                depth=8,
                num_heads=16,
                mlp_ratio=4.0,
                patch_size=16,
                in_chans=3,
                image_size=224,
            ),
            mask_ratio=0.75,
            masking="random",
            norm_pix=True,
            mean=[0.5] * 3,
            std=[0.5] * 3,
        )


def test_upernet_has_the_28_groups_of_mmsegmentation(upernet):
    optimizer = adamw(upernet, layer_decay=0.65, decay_rule="mmseg", **ADAMW)
    tensors = {(g["depth"], g["weight_decay"] > 0): len(g["params"]) for g in optimizer.param_groups}
    assert len(optimizer.param_groups) == len(tensors) == 28
    expected = {(0, True): 3, (0, False): 1, (13, True): 18, (13, False): 33}
    expected |= {(depth, True): 5 for depth in range(1, 13)} | {(depth, False): 10 for depth in range(1, 13)}
    assert tensors == expected
    assert sum(tensors.values()) == 235


def test_layer_decay_gives_the_published_scales(upernet):
    optimizer = adamw(upernet, layer_decay=0.65, decay_rule="finetune", **ADAMW)
    scales = {group["depth"]: group["lr_scale"] for group in optimizer.param_groups}
    assert scales[0] == pytest.approx(0.00369721, abs=5e-9)
    assert scales[1] == pytest.approx(0.00568801, abs=5e-9)
    assert scales[12] == 0.65
    assert scales[13] == 1.0
    assert sorted(scales.values()) == pytest.approx([0.65**k for k in range(13, -1, -1)])
    assert all(group["lr"] == group["initial_lr"] == 1e-4 * group["lr_scale"] for group in optimizer.param_groups)


def test_vit_large_decay_of_three_quarters_gives_the_published_scales():
    with torch.device("meta"):
        encoder = vit_base(image_size=224, embed_dim=1024, depth=24, num_heads=16, out_indices=[7, 11, 15, 23])
    optimizer = adamw(encoder, layer_decay=0.75, decay_rule="finetune", **ADAMW)
    scales = {group["depth"]: group["lr_scale"] for group in optimizer.param_groups}
    assert scales[0] == pytest.approx(7.52543e-4, rel=1e-5)
    assert scales[1] == pytest.approx(1.00339e-3, rel=1e-5)
    assert scales[24] == 0.75


def test_every_trainable_parameter_is_in_exactly_one_group_and_no_frozen_one_is(mae):
    optimizer = adamw(mae, layer_decay=0.9, decay_rule="pretrain", **ADAMW)
    names = [name for group in optimizer.param_groups for name in group["names"]]
    assert sorted(names) == sorted(name for name, p in mae.named_parameters() if p.requires_grad)
    parameters = dict(mae.named_parameters())
    for group in optimizer.param_groups:
        assert all(parameters[n] is p for n, p in zip(group["names"], group["params"], strict=True))


def test_pretraining_decays_85_tensors_and_spares_167(mae):
    optimizer = adamw(mae, layer_decay=1.0, decay_rule="pretrain", **ADAMW)
    spared, decayed = sorted((g for g in optimizer.param_groups), key=lambda g: g["weight_decay"])
    assert (len(spared["params"]), len(decayed["params"])) == (167, 85)
    assert {"encoder.cls_token", "decoder.mask_token"} <= set(decayed["names"])


@pytest.mark.parametrize(("rule", "spared"), [("finetune", True), ("mmseg", False), ("pretrain", False)])
def test_only_the_fine_tuning_rule_spares_the_tables(upernet, rule, spared):
    optimizer = adamw(upernet, layer_decay=0.65, decay_rule=rule, **ADAMW)
    decay = {name: group["weight_decay"] for group in optimizer.param_groups for name in group["names"]}
    tables = [n for n in decay if n.endswith(("pos_embed", "cls_token", "relative_position_bias_table"))]
    assert len(tables) == 14
    assert {decay[name] for name in tables} == {0.0 if spared else 0.05}
    assert {decay[n] for n in decay if n.endswith((".bias", "gamma_1", "gamma_2"))} == {0.0}


def test_groups_come_in_the_order_of_the_model():
    optimizer = adamw(Two(), layer_decay=0.5, decay_rule="pretrain", **ADAMW)
    assert [g["names"] for g in optimizer.param_groups] == [
        ["cls_token"],
        ["block.weight"],
        ["block.bias"],
        ["head.weight"],
        ["head.bias"],
    ]


def test_the_learning_rate_follows_the_batch_where_it_is_not_given():
    settings = ADAMW | {"lr": None, "base_lr": 1.5e-4, "global_batch": 4096}
    optimizer = adamw(Two(), layer_decay=1.0, decay_rule="pretrain", **settings)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([2.4e-3, 2.4e-3], rel=1e-12)


def test_the_description_has_a_row_per_group_from_embedding_to_head():
    optimizer = adamw(Two(), layer_decay=0.5, decay_rule="pretrain", **ADAMW)
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # a schedule begins at 0; the table has the full rate
    columns = ("depth", "lr_scale", "lr", "weight_decay", "tensors", "parameters")
    assert [tuple(row[column] for column in columns) for row in describe_groups(optimizer)] == [
        (0, 0.25, 0.25e-4, 0.05, 1, 2),
        (1, 0.5, 0.5e-4, 0.0, 1, 2),
        (1, 0.5, 0.5e-4, 0.05, 1, 4),
        (2, 1.0, 1e-4, 0.0, 1, 2),
        (2, 1.0, 1e-4, 0.05, 1, 4),
    ]
    together = describe_groups(adamw(Two(), layer_decay=1.0, decay_rule="pretrain", **ADAMW))
    assert [tuple(row[column] for column in columns) for row in together] == [
        (None, 1.0, 1e-4, 0.0, 2, 4),
        (None, 1.0, 1e-4, 0.05, 3, 10),
    ]


def test_a_bias_of_two_dimensions_is_spared_as_any_other():
    model = Two()
    model.block.bias = nn.Parameter(torch.zeros(1, 2))
    optimizer = adamw(model, layer_decay=1.0, decay_rule="pretrain", **ADAMW)
    decay = {name: group["weight_decay"] for group in optimizer.param_groups for name in group["names"]}
    assert {name for name, value in decay.items() if value == 0} == {"block.bias", "head.bias"}


def test_a_learning_rate_that_is_given_is_not_scaled():
    both = adamw(Two(), layer_decay=1.0, decay_rule="pretrain", **(ADAMW | {"lr": 0.3, "base_lr": 0.1}))
    assert {group["lr"] for group in both.param_groups} == {0.3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_decay": 0.0}, r"layer_decay must lie in \(0, 1\], got 0.0"),
        ({"layer_decay": 1.5}, r"layer_decay must lie in \(0, 1\], got 1.5"),
        ({"decay_rule": "beit"}, "decay_rule must be one of pretrain, finetune, mmseg, got 'beit'"),
        ({"weight_decay": -0.1}, "weight_decay must not be negative, got -0.1"),
        ({"lr": None}, "lr and base_lr are both null"),
        ({"lr": 0.0}, "lr must be positive, got 0.0"),
        ({"betas": [0.9]}, r"betas must be two numbers, got \[0.9\]"),
    ],
)
def test_bad_values_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        adamw(Two(), **(ADAMW | {"layer_decay": 0.5, "decay_rule": "pretrain"} | change))


def test_a_model_without_anything_to_train_is_refused():
    with pytest.raises(ValueError, match="nothing to train"):
        adamw(Two().requires_grad_(False), layer_decay=0.5, decay_rule="pretrain", **ADAMW)


def test_three_steps_equal_the_formula_of_adamw():
    """By hand in float64: three steps tell the betas apart, a large epsilon shows itself."""
    settings = ADAMW | {"betas": [0.8, 0.95], "eps": 0.1, "lr": 0.01}
    model = Two().double()
    optimizer = adamw(model, layer_decay=0.5, decay_rule="pretrain", **settings)
    weight, lr = model.block.weight.detach().clone(), 0.01 * 0.5
    draw = torch.Generator().manual_seed(0)
    first, second = torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    for step in (1, 2, 3):
        gradient = torch.randn(2, 2, generator=draw, dtype=torch.float64)
        model.block.weight.grad = gradient.clone()
        optimizer.step()
        first, second = 0.8 * first + 0.2 * gradient, 0.95 * second + 0.05 * gradient**2
        update = (first / (1 - 0.8**step)) / ((second / (1 - 0.95**step)).sqrt() + 0.1)
        weight = weight * (1 - lr * 0.05) - lr * update
    torch.testing.assert_close(model.block.weight.detach(), weight, rtol=0, atol=1e-15)

"""Classifiers: what is pooled, what the loss counts, what learns and what must not change by a bit."""

import copy
import math
import random

import pytest
import torch
import torch.nn.functional as F
from tiny_models import SIZES, classifier, encoder
from torch import nn

from mae_hydra.errors import UserError
from mae_hydra.models import (
    Classifier,
    ClassifierHead,
    FCNHead,
    LinearSegHead,
    Mixing,
    PatchSegmenter,
    RandomErasing,
)
from mae_hydra.optim import adamw, lars
from mae_hydra.types import Batch


def batch(count: int = 4, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return Batch(images, torch.randint(0, 5, (count,), generator=generator))


def test_mean_pooling_averages_patches_without_cls_before_a_new_norm():
    model = classifier().eval()
    nn.init.normal_(model.head.norm.weight)
    images = batch().images
    tokens = model.encoder.tokens(model.prepare(images))
    mean = sum(tokens[:, 1 + n] for n in range(16)) / 16
    normed = F.layer_norm(mean, (24,), model.head.norm.weight, model.head.norm.bias, 1e-6)
    torch.testing.assert_close(model(images), normed @ model.head.linear.weight.T + model.head.linear.bias)
    assert model.encoder.norm is None


def test_cls_pooling_takes_the_first_token_after_the_encoders_own_norm():
    model = classifier("cls").eval()
    nn.init.normal_(model.encoder.norm.weight)
    images = batch().images
    cls = model.encoder.tokens(model.prepare(images))[:, 0]
    torch.testing.assert_close(model(images), F.linear(cls, model.head.linear.weight, model.head.linear.bias))
    assert model.head.norm is None


@pytest.mark.parametrize(
    ("pool", "norm", "final_norm"), [("mean", False, False), ("cls", True, True), ("cls", False, False)]
)
def test_a_pooling_has_exactly_one_norm(pool, norm, final_norm):
    head = ClassifierHead(in_dim=24, num_classes=5, norm=norm, batch_norm=False, init_std=0.01)
    with pytest.raises(ValueError, match=f"pool={pool} has one norm"):
        classifier(pool, head=head, encoder=encoder(final_norm=final_norm))


def test_a_head_starts_as_the_recipe_says():
    torch.manual_seed(0)
    head = ClassifierHead(in_dim=768, num_classes=1000, norm=True, batch_norm=False, init_std=2e-5)
    assert head.linear.weight.std().item() == pytest.approx(2e-5, rel=0.01)
    assert not head.linear.bias.any()
    probe = ClassifierHead(in_dim=768, num_classes=1000, norm=False, batch_norm=True, init_std=0.01)
    assert probe.linear.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert probe.batch_norm.eps == 1e-6
    assert not list(probe.batch_norm.parameters())


def test_the_loss_is_a_sum_over_images_with_smoothed_targets_in_training_only():
    model, given = classifier(label_smoothing=0.1), batch()
    logits = model.eval()(given.images).detach()
    rows = logits.log_softmax(1)
    plain = -sum(float(rows[i, given.labels[i]]) for i in range(4))
    smooth = -sum(
        float(rows[i, c]) * (0.1 / 5 + (0.9 if c == given.labels[i] else 0)) for i in range(4) for c in range(5)
    )
    loss = model.loss(given)
    assert loss.total.item() == pytest.approx(plain, rel=1e-5)
    assert int(loss.count) == 4
    assert int(loss.extras["accuracy"]) == int((logits.argmax(1) == given.labels).sum())
    assert model.train().loss(given).total.item() == pytest.approx(smooth, rel=1e-5)


def test_erasing_and_mixing_happen_in_training_only():
    mixing = Mixing(mixup=0.8, cutmix=1.0, probability=1.0, switch=0.5)
    erasing = RandomErasing(probability=1.0, area=(0.1, 0.3), aspect=(0.3, 3.3))
    model, given = classifier(mixing=mixing, erasing=erasing), batch()
    assert model.eval().loss(given).total.item() == model.loss(given).total.item()
    assert model.train().loss(given).total.item() != model.loss(given).total.item()
    assert not model.loss(given).extras  # of a mixture no one class is right
    assert set(model.eval().loss(given).extras) == {"accuracy"}


def test_the_targets_of_mixed_images_are_mixed_by_the_same_share(monkeypatch):
    mixing = Mixing(mixup=0.8, cutmix=0.0, probability=1.0, switch=0.5)
    monkeypatch.setattr(random, "betavariate", lambda *_: 0.3)
    model, given = classifier(mixing=mixing).train(), batch()
    images = model.prepare(given.images)
    rows = model.head(model._pooled(0.3 * images + 0.7 * images.flip(0))).log_softmax(1)
    own, other = (rows.gather(1, labels[:, None]).sum() for labels in (given.labels, given.labels.flip(0)))
    torch.testing.assert_close(model.loss(given).total, -(0.3 * own + 0.7 * other))


def test_class_ids_are_asked_for():
    for labels in (None, torch.zeros(4, 32, 32, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="needs class ids"):
            classifier().loss(Batch(batch().images, labels))
    with pytest.raises(UserError, match="at least 2 images"):
        classifier("cls", batch_norm=True).train().loss(batch(1))


def trained(model: nn.Module, make: object, steps: int = 3) -> dict[str, torch.Tensor]:
    """The state dict before the steps; the model has been trained."""
    before = copy.deepcopy(model.state_dict())
    optimizer = make(model)
    model.train()
    for step in range(steps):
        optimizer.zero_grad()
        model.loss(batch(seed=step)).total.backward()
        optimizer.step()
    return before


def plain_adamw(model):
    return adamw(
        model, lr=1e-2, base_lr=None, global_batch=4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05, layer_decay=1.0,
        decay_rule="finetune",
    )  # fmt: skip


def plain_lars(model):
    return lars(
        model, lr=1.0, base_lr=None, global_batch=4, momentum=0.9, trust=1e-3, weight_decay=0.0, layer_decay=1.0,
        decay_rule="finetune",
    )  # fmt: skip


def changed(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, now in model.state_dict().items() if not torch.equal(now, before[name])}


@pytest.mark.parametrize("pool", ["mean", "cls"])
@pytest.mark.parametrize("make", [plain_adamw, plain_lars])
def test_a_linear_probe_changes_its_batch_norm_and_linear_and_nothing_else(pool, make):
    torch.manual_seed(0)
    model = classifier(pool, batch_norm=True, trainable_blocks=0, encoder_changes={"drop_path_rate": 0.5})
    before = trained(model, make)
    statistics = {f"head.batch_norm.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert changed(model, before) == {"head.linear.weight", "head.linear.bias", *statistics}


@pytest.mark.parametrize(
    ("blocks", "wanted"),
    [
        (0.5, {"blocks.3.norm2", "blocks.3.mlp.fc1", "blocks.3.mlp.fc2"}),
        (1, {f"blocks.3.{part}" for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")}),
    ],
)
def test_partial_fine_tuning_changes_the_last_blocks_and_the_head(blocks, wanted):
    torch.manual_seed(0)
    model = classifier("cls", trainable_blocks=blocks)
    before = trained(model, plain_adamw)
    modules = {name.rpartition(".")[0] for name in changed(model, before)}
    assert modules == {f"encoder.{name}" for name in wanted} | {"encoder.norm", "head.linear"}


def test_all_blocks_leave_the_embedding_frozen_and_null_leaves_nothing():
    model = classifier(trainable_blocks=4)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert {name.split(".")[1] for name in frozen} == {"cls_token", "pos_embed", "patch_embed"}
    assert all(p.requires_grad for p in classifier().parameters())


def test_frozen_blocks_draw_no_drop_path_and_learning_ones_do():
    model = classifier(trainable_blocks=1, encoder_changes={"drop_path_rate": 0.9}).train()
    assert [block.training for block in model.encoder.blocks] == [False, False, False, True]
    assert model.encoder.blocks[3].drop_path1.training
    assert model.head.norm.weight.requires_grad
    assert not classifier("cls", trainable_blocks=0).train().encoder.training


def test_a_half_block_of_the_relative_form_freezes_its_attention():
    model = classifier(encoder_changes={"relative_position_bias": True, "layer_scale": 1.0}, trainable_blocks=0.5)
    learning = {n.split(".", 3)[3] for n, p in model.named_parameters() if p.requires_grad and "blocks" in n}
    assert learning == {
        "gamma_2", "norm2.weight", "norm2.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias",
    }  # fmt: skip


def test_the_frozen_half_of_a_block_draws_no_drop_path():
    last = classifier(trainable_blocks=0.5, encoder_changes={"drop_path_rate": 0.9}).train().encoder.blocks[3]
    halves = [(last.norm1, last.attn, last.drop_path1), (last.norm2, last.mlp, last.drop_path2)]
    assert [[part.training for part in half] for half in halves] == [[False] * 3, [True] * 3]


class Maps(nn.Module):
    """An encoder without tokens, of two depths between embedding and head; its last map is behind a norm."""

    num_depths, widths, strides = 4, (3, 3), (8, 8)

    def feature_maps(self, images):
        return [images[..., ::8, ::8], 2 * images[..., ::8, ::8]]

    def final_map(self, images):
        return 3 * images[..., ::8, ::8]

    def depth_of(self, name):
        return 1


def test_an_encoder_without_tokens_gives_the_mean_of_its_last_map():
    model = classifier(
        encoder=Maps(), head=ClassifierHead(in_dim=3, num_classes=5, norm=True, batch_norm=False, init_std=1)
    )
    images = model.prepare(batch().images)
    torch.testing.assert_close(model(images), model.head(3 * images[..., ::8, ::8].mean((2, 3))))
    with pytest.raises(ValueError, match=r"Maps gives no cls token; use model\.pool=mean"):
        classifier("cls", encoder=Maps(), head=model.head)
    with pytest.raises(ValueError, match="from 0 to 2, or null"):  # it has no blocks to halve
        classifier(encoder=Maps(), head=model.head, trainable_blocks=0.5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label_smoothing": -0.1}, r"label_smoothing must lie in \[0, 1\), got -0.1"),
        ({"label_smoothing": 1.0}, r"label_smoothing must lie in \[0, 1\), got 1.0"),
        ({"pool": "max"}, "pool must be one of mean, cls"),
        ({"encoder": encoder(embed_dim=12, final_norm=False)}, "the head's in_dim must be 12 to fit the encoder"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(changes, said):
    with pytest.raises(ValueError, match=said):
        classifier(**changes)


def test_a_head_needs_classes_and_a_start():
    told = {"in_dim": 24, "norm": True, "batch_norm": False}
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        ClassifierHead(**told, num_classes=1, init_std=0.01)
    with pytest.raises(ValueError, match="init_std must be positive, got 0"):
        ClassifierHead(**told, num_classes=2, init_std=0)


@pytest.mark.parametrize("blocks", [-1, 5, 1.5])
def test_an_impossible_number_of_blocks_is_refused(blocks):
    with pytest.raises(ValueError, match="trainable_blocks must be"):
        classifier(trainable_blocks=blocks)


def full_size(name: str, decay: float) -> list[dict]:
    dim, depth, heads, patch, _ = SIZES[name]
    with torch.device("meta"):
        model = Classifier(
            encoder=encoder(
                image_size=224, patch_size=patch, embed_dim=dim, depth=depth, num_heads=heads, positions="learned",
                final_norm=False,
            ),
            head=ClassifierHead(in_dim=dim, num_classes=1000, norm=True, batch_norm=False, init_std=2e-5),
            pool="mean", trainable_blocks=None, label_smoothing=0.1, mixing=None, erasing=None,
            mean=[0.5] * 3, std=[0.5] * 3,
        )  # fmt: skip
    return adamw(
        model, lr=None, base_lr=5e-4, global_batch=1024, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05,
        layer_decay=decay, decay_rule="finetune",
    ).param_groups  # fmt: skip


@pytest.mark.parametrize(
    ("size", "decay", "embedding", "first", "last"),
    [("base", 0.65, 3.69721e-3, 5.68801e-3, 0.65), ("large", 0.75, 7.52543e-4, 1.00339e-3, 0.75)],
)
def test_fine_tuning_groups_are_those_of_the_recipe(size, decay, embedding, first, last):
    groups = full_size(size, decay)
    depth = SIZES[size][1]
    assert len(groups) == 2 * (depth + 2)  # 28 of ViT-B
    scales = {name: group["lr_scale"] for group in groups for name in group["names"]}
    assert scales["encoder.pos_embed"] == scales["encoder.patch_embed.proj.bias"] == pytest.approx(embedding, rel=1e-5)
    assert scales["encoder.blocks.0.norm1.weight"] == pytest.approx(first, rel=1e-5)
    assert scales[f"encoder.blocks.{depth - 1}.mlp.fc2.weight"] == pytest.approx(last)
    assert scales["head.norm.weight"] == scales["head.linear.weight"] == 1
    decays = {name: group["weight_decay"] for group in groups for name in group["names"]}
    assert decays["encoder.pos_embed"] == decays["encoder.cls_token"] == decays["head.norm.weight"] == 0
    assert decays["encoder.patch_embed.proj.weight"] == decays["head.linear.weight"] == 0.05
    assert groups[0]["lr"] / groups[0]["lr_scale"] == pytest.approx(5e-4 * 1024 / 256)


@pytest.mark.parametrize(("size", "millions"), [("base", 86_567_656), ("large", 304_326_632), ("huge", 632_045_800)])
def test_parameter_counts_are_those_of_timm(size, millions):
    """vit_{base,large}_patch16_224 and vit_huge_patch14_224 with 1000 classes: one LayerNorm, wherever it stands."""
    assert sum(math.prod(p.shape) for group in full_size(size, 0.75) for p in group["params"]) == millions


def segmenter(head: nn.Module, **changes: object) -> PatchSegmenter:
    settings = {
        "encoder": encoder(), "head": head, "trainable_blocks": 0, "ignore_index": 255, "normalizer": "valid",
        "mean": [0.5] * 3, "std": [0.25] * 3,
    }  # fmt: skip
    return PatchSegmenter(**(settings | changes))


def test_a_linear_segmentation_probe_is_one_linear_of_standardised_tokens():
    torch.manual_seed(0)
    model = segmenter(LinearSegHead(in_dim=24, num_classes=4)).train()
    images = batch().images
    tokens = model.encoder.tokens(model.prepare(images))[:, 1:].detach()
    flat = tokens.reshape(-1, 24)
    standard = (tokens - flat.mean(0)) / (flat.var(0, correction=0) + 1e-6).sqrt()
    wanted = standard @ model.head.classify.weight.flatten(1).T + model.head.classify.bias
    logits = model.low_resolution_logits(images)
    torch.testing.assert_close(logits.flatten(2).transpose(1, 2), wanted, rtol=1e-4, atol=1e-5)
    assert (model.head.norm.eps, model.head.norm.affine) == (1e-6, False)
    assert model(images).shape == (4, 4, 32, 32)


@pytest.mark.parametrize(
    "head", [LinearSegHead(in_dim=24, num_classes=4), FCNHead(in_dim=24, channels=8, num_classes=4, dropout=0.1)]
)
def test_a_segmentation_probe_leaves_its_encoder_alone(head):
    torch.manual_seed(0)
    model = segmenter(head)
    assert not model.train().encoder.training
    before = copy.deepcopy(model.state_dict())
    optimizer = plain_adamw(model)
    labels = torch.randint(0, 4, (4, 32, 32), dtype=torch.uint8)
    labels[0] = 255
    loss = model.train().loss(Batch(batch().images, labels))
    assert int(loss.count) == 3 * 32 * 32
    loss.total.backward()
    optimizer.step()
    assert {name.split(".")[0] for name in changed(model, before)} == {"head"}

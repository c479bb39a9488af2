"""Fine-tuning and the linear probe, against timm's ViT, timm's losses and what the recipes compute."""

from functools import partial

import pytest
import torch
from agreement import FLOAT32, FLOAT64, limit
from timm.data.mixup import mixup_target
from timm.loss import SoftTargetCrossEntropy
from timm.models import VisionTransformer as TimmViT
from tiny_models import classifier
from torch import nn

from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build, complete
from mae_hydra.models import Mixing
from mae_hydra.models.classification.mixing import Mix, mixed
from mae_hydra.types import Batch
from mae_hydra.weights import to_layout


def timm_of(
    model, pool: str, size: int = 32, patch: int = 8, width: int = 24, depth: int = 4, heads: int = 3
) -> TimmViT:
    peer = TimmViT(
        img_size=size, patch_size=patch, embed_dim=width, depth=depth, num_heads=heads, num_classes=model.num_classes,
        global_pool={"mean": "avg", "cls": "token"}[pool], fc_norm=pool == "mean",
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )  # fmt: skip
    peer.load_state_dict(to_layout(model.state_dict(), "timm").tensors)
    return peer


def scramble(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_logits_and_gradients_of_a_mixed_batch_are_timms(pool, dtype, agree, monkeypatch):
    """Erasing aside, the whole of a fine-tuning step's loss: mixing, smoothed soft targets, cross-entropy."""
    mix = Mix(0.3, None)
    monkeypatch.setattr(Mixing, "draw", lambda self, *size: mix)
    mixing = Mixing(mixup=0.8, cutmix=1.0, probability=1.0, switch=0.5)
    model = scramble(classifier(pool, mixing=mixing, label_smoothing=0.1)).to(dtype)
    peer = timm_of(model, pool).to(dtype)
    images, labels = torch.randn(4, 3, 32, 32, dtype=dtype), torch.tensor([0, 3, 1, 4])
    name, most = limit(dtype)
    agree(f"classifier logits, {pool}, {name}", model.eval()(images), peer.eval()(images), most)
    loss = model.train().loss(Batch(images, labels))
    (loss.total / loss.count).backward()
    targets = mixup_target(labels, 5, 0.3, 0.1).to(dtype)
    theirs = SoftTargetCrossEntropy()(peer.train()(mixed(images, mix)), targets)
    theirs.backward()
    agree(
        f"fine-tuning loss with mixup and smoothing, {pool}, {name}", loss.total / loss.count, theirs, max(most, 1e-6)
    )
    gradients = to_layout({n: p.grad for n, p in model.named_parameters()}, "timm").tensors
    for key, parameter in peer.named_parameters():
        scale = parameter.grad.abs().max()
        error = (gradients[key] - parameter.grad).abs().max() / scale
        assert error < (1e-6 if dtype == torch.float64 else 1e-3), key


def test_one_step_of_the_probe_recipe_is_the_formula(agree):
    """BatchNorm of the batch, softmax, LARS with its trust ratio: a step of the head written out from the paper."""
    model = scramble(classifier("cls", batch_norm=True, trainable_blocks=0)).double().train()
    images, labels = torch.randn(6, 3, 32, 32, dtype=torch.float64), torch.arange(6) % 5
    weight, bias = model.head.linear.weight.detach().clone(), model.head.linear.bias.detach().clone()
    cls = model.encoder.tokens(images)[:, 0].detach()
    normed = (cls - cls.mean(0)) / (cls.var(0, correction=0) + 1e-6).sqrt()
    errors = ((normed @ weight.T + bias).softmax(1) - torch.nn.functional.one_hot(labels, 5)) / 6
    slope_w, slope_b = errors.T @ normed, errors.sum(0)
    rate = 0.1 * 16384 / 256
    wanted = weight - rate * 1e-3 * weight.norm() / slope_w.norm() * slope_w
    config = compose_config(["model=probe_vitb", "data=imagenet", "engine.global_batch=16384", "data.batch_size=512"])
    optimizer = complete("optimizer", build(config.optimizer, "optimizer"), model)
    loss = model.loss(Batch(images, labels))
    (loss.total / loss.count).backward()
    optimizer.step()
    agree("a step of the linear probe, weights, float64", model.head.linear.weight, wanted, 1e-6)
    agree("a step of the linear probe, bias, float64", model.head.linear.bias, bias - rate * slope_b, 1e-6)


@pytest.mark.slow
def test_the_whole_vit_base_classifier_equals_timms(agree):
    with torch.no_grad():
        config = compose_config(["model=classifier_vitb", "data=imagenet"])
        model = scramble(build(config.model, "model")).eval()
        peer = timm_of(model, "mean", 224, 16, 768, 12, 12).eval()
        images = torch.randn(1, 3, 224, 224)
        agree("fine-tuned ViT-B/16 = timm's, float32", model(images), peer(images), FLOAT32)
        model, peer, images = model.double(), peer.double(), images.double()
        agree("fine-tuned ViT-B/16 = timm's, float64", model(images), peer(images), FLOAT64)


@pytest.mark.parametrize(
    ("experiment", "lr", "decay", "drop", "warmup", "epochs", "least"),
    [
        ("classifier_vitb_imagenet", 2e-3, 0.65, 0.1, 5, 100, 1e-6),
        ("classifier_vitl_imagenet", 4e-3, 0.75, 0.2, 5, 50, 1e-6),
        ("classifier_vith_imagenet", 4e-3, 0.75, 0.3, 5, 50, 1e-6),
        ("classifier_vitb_imagenet_table9", 4e-3, 0.75, 0.1, 5, 100, 1e-6),
        ("probe_vitb_imagenet", 6.4, 1.0, 0.0, 10, 90, 0.0),
        ("probe_vith_imagenet", 6.4, 1.0, 0.0, 10, 90, 0.0),
        ("scratch_vitb_imagenet", 1.6e-3, 1.0, 0.1, 20, 300, 0.0),
    ],
)
def test_recipes_carry_the_published_values(experiment, lr, decay, drop, warmup, epochs, least):
    config = compose_config([f"+experiment={experiment}"])
    assert config.optimizer.base_lr * config.engine.global_batch / 256 == pytest.approx(lr)
    assert config.optimizer.lr is None
    assert config.optimizer.layer_decay == decay
    assert config.backbone.drop_path_rate == drop
    assert (config.schedule.warmup, config.schedule.total, config.schedule.unit) == (warmup, epochs, "epoch")
    assert config.schedule.min_factor * lr == pytest.approx(least)
    if experiment.startswith("classifier"):
        assert (config.augment.randaugment, config.model.label_smoothing) == ("rand-m9-mstd0.5-inc1", 0.1)
        assert (config.model.mixing.mixup, config.model.mixing.cutmix) == (0.8, 1.0)
        assert (config.model.mixing.probability, config.model.mixing.switch) == (1.0, 0.5)
        assert config.model.erasing.probability == 0.25
        assert config.model.pool == "mean"
        assert config.backbone.positions == "learned"
    if experiment.startswith("probe"):
        assert (config.optimizer.momentum, config.optimizer.trust, config.optimizer.weight_decay) == (0.9, 1e-3, 0)
        assert (config.model.pool, config.model.trainable_blocks) == ("cls", 0)
        assert (list(config.augment.scale), config.augment.clamp) == ([0.08, 1.0], True)
        assert config.head.batch_norm

"""Learning rates and weight decay of every step and every tensor, as the originals' loops would set them."""

import math
from collections.abc import Iterator

import pytest
import torch
from agreement import FLOAT64

from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.optim import parameter_groups


def official_rates(base: float, least: float, epochs: int, warmup: int, iterations: int) -> Iterator[float]:
    """The loop of MAE: before every iteration, from the epoch and the share of it that is done."""
    for epoch in range(epochs):
        for iteration in range(iterations):
            done = iteration / iterations + epoch
            if done < warmup:
                yield base * done / warmup
            else:
                turned = math.pi * (done - warmup) / (epochs - warmup)
                yield least + (base - least) * 0.5 * (1.0 + math.cos(turned))


def mmsegmentation_0_rates(base: float, total: int, warmup: int) -> Iterator[float]:
    """Its hooks of 0.x: the regular rate of the whole run, held down while it warms up."""
    for iteration in range(total):
        regular = base * (1 - iteration / total) ** 1.0
        if iteration < warmup:
            yield regular * (1 - (1 - iteration / warmup) * (1 - 1e-6))
        else:
            yield regular


def mmsegmentation_1_rates(base: float, total: int, warmup: int) -> Iterator[float]:
    """Its schedulers of 1.x: each multiplies the rate that stands, step after step."""
    rate = base * 1e-6
    for iteration in range(total):
        yield rate
        after = iteration + 1
        if after < warmup:
            growth = (1 - 1e-6) / (warmup - 1)
            rate *= 1 + growth / (1e-6 + (after - 1) * growth)
        elif after > warmup:
            rate *= max(1 - 1 / (total - warmup - (after - warmup)), 0) if after < total else 0


def composed_rates(option: str, base: float, iterations: int, steps: range) -> torch.Tensor:
    schedule = build(compose_config([f"schedule={option}"]).schedule, "schedule")(float(iterations))
    return torch.tensor([base * schedule.factor(step) for step in steps], dtype=torch.float64)


@pytest.mark.parametrize(
    ("option", "base", "least", "epochs", "warmup"),
    [
        ("cosine_800e", 2.4e-3, 0.0, 800, 40),  # pre-training
        ("cosine_1600e", 2.4e-3, 0.0, 1600, 40),
        ("cosine_100e", 2e-3, 1e-6, 100, 5),  # fine-tuning of ViT-B
        ("cosine_50e", 4e-3, 1e-6, 50, 5),  # of ViT-L and H
    ],
)
def test_every_rate_of_the_cosine_options_is_the_originals(option, base, least, epochs, warmup, agree):
    expected = torch.tensor(list(official_rates(base, least, epochs, warmup, 312)), dtype=torch.float64)
    assert expected[0] == 0
    kind = "pre-training" if least == 0 else "fine-tuning"
    found = composed_rates(option, base, 312, range(epochs * 312))
    agree(f"learning rate at every step of MAE {kind}", found, expected, FLOAT64)


@pytest.mark.parametrize(
    ("option", "rates", "version"),
    [("poly_160k", mmsegmentation_0_rates, "0.x"), ("poly_160k_mmseg1", mmsegmentation_1_rates, "1.x")],
)
def test_every_rate_of_the_poly_options_is_mmsegmentations(option, rates, version, agree):
    expected = torch.tensor(list(rates(1e-4, 160000, 1500)), dtype=torch.float64)
    found = composed_rates(option, 1e-4, 1263, range(160000))
    agree(f"learning rate at every step of mmsegmentation {version}", found, expected, FLOAT64)


def test_the_composed_recipe_gives_every_group_its_rate_at_the_published_steps(agree):
    """28 groups of the ADE20K recipe, by depth: embedding, twelve blocks, neck and heads."""
    config = compose_config(["+experiment=upernet_vitb_ade20k"])
    with torch.device("meta"):
        model = build(config.model, "model")
        optimizer = build(config.optimizer, "optimizer")(model)
    schedule = build(config.schedule, "schedule")(20210 / 16)
    published = {0: 1e-6, 750: 0.49765674765625, 1499: 0.98997082982709, 1500: 0.990625, 80000: 0.5, 159999: 6.25e-6}
    assert len(optimizer.param_groups) == 28
    for step, factor in published.items():
        for group in optimizer.param_groups:
            rate = group["initial_lr"] * schedule.factor(step)
            agree(
                "learning rate of every group, ADE20K recipe",
                rate,
                1e-4 * 0.65 ** (13 - group["depth"]) * factor,
                1e-12,
            )


def test_the_smallest_rate_of_fine_tuning_is_scaled_by_depth_too():
    model = build(compose_config(["model=upernet_vitt"]).model, "model")
    groups = parameter_groups(model, lr=2e-3, weight_decay=0.05, layer_decay=0.65, decay_rule="finetune")
    schedule = build(compose_config(["schedule=cosine_100e"]).schedule, "schedule")(100.0)
    last = schedule.factor(schedule.steps)
    for group in groups:
        assert group["initial_lr"] * last == pytest.approx(1e-6 * group["lr_scale"], rel=1e-9)


@pytest.mark.parametrize(
    ("rule", "free"),
    [
        ("pretrain", set()),
        ("mmseg", set()),
        ("finetune", {"cls_token", "pos_embed", "relative_position_bias_table"}),
    ],
)
def test_tokens_and_tables_are_decayed_as_documented(rule, free):
    """Official pre-training decays cls and mask tokens; mmsegmentation all tables, by accident; fine-tuning none."""
    tables = {"cls_token", "mask_token", "pos_embed", "relative_position_bias_table"}
    for name in ("model=upernet_vitt", "model=mae_vitt"):
        model = build(compose_config([name]).model, "model")
        groups = parameter_groups(model, lr=1.0, weight_decay=0.05, layer_decay=1.0, decay_rule=rule)
        for group in groups:
            for parameter in group["names"]:
                last = parameter.rpartition(".")[2]
                if last in tables:
                    assert (group["weight_decay"] == 0) == (last in free), parameter

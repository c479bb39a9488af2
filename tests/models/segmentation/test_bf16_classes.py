"""The classes of a trained UPerNet in bf16 on the CPU are those of fp32, but where two of them are all but equal."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.precision import computing
from mae_hydra.seeds import seed_device
from mae_hydra.types import Batch
from mae_hydra.weights.layouts.mmseg import UPERNET
from mae_hydra.workflows.entry import load

WORDS = ["data=scenes", "data.num_train=32", "data.num_validation=16"]
WORDS += ["backbone.depth=4", "backbone.out_indices=[0,1,2,3]"]
MODELS = {
    "ViT-Tiny": (60, 1e-3, 1.7, ["model=upernet_vitt"]),
    "as wide as ViT-B": (20, 2e-4, 2.2, ["model=upernet_vitb", "data.image_size=64", "head.channels=128"]),
}


@pytest.fixture(scope="module", params=MODELS)
def trained(request: pytest.FixtureRequest) -> tuple[Any, torch.Tensor, list[str]]:
    """A model that has seen a few scenes often, others, and the words that describe it."""
    steps, lr, reached, words = MODELS[request.param]
    config = compose_config([*words, *WORDS])
    data = build(config.data, "data")
    seed_device(0, "init")
    model = build(config.model, "model").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    samples = [data.train[index] for index in range(len(data.train))]
    images, labels = (torch.stack([sample[part] for sample in samples]) for part in (0, 1))
    for step in range(steps):
        some = slice(8 * step % 32, 8 * step % 32 + 8)
        loss = model.loss(Batch(images[some], labels[some]))
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    assert loss.extras["decode"] / loss.count < reached
    return model.eval(), torch.stack([data.validation[index].image for index in range(16)]), [*words, *WORDS]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["as trained", "fast", "as released"])
def test_classes_are_those_of_fp32(trained: tuple[Any, torch.Tensor, list[str]], form: str, tmp_path: Path) -> None:
    model, images, words = trained
    if form == "as released":  # in a file as mmsegmentation's are
        file = tmp_path / "upernet_mae_8xb2-amp-160k_ade20k-512x512.pth"
        torch.save({"meta": {}, "state_dict": UPERNET.from_native(model.state_dict())}, file)
        told = [f"data.{key}={list(getattr(model, key).flatten().tolist())}" for key in ("mean", "std")]
        sizes = [word for word in words if word.startswith(("backbone.", "head."))]
        model = load(file, *sizes, *told, f"data.image_size={images.shape[2]}")
    called = model.fast() if form == "fast" else model
    with torch.no_grad():
        exact = called(images)
        with computing("bf16", "cpu"):
            found = called(images).float()
    best, second = exact.topk(2, dim=1).values.unbind(1)
    margin = (best - second) / exact.std()
    same = found.argmax(1) == exact.argmax(1)
    assert (margin > 1).double().mean() > 0.2  # it has learned something
    assert same.double().mean() >= 0.995
    assert same[margin > 0.05].all()

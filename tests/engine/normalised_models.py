"""The real models with batch normalisation, small and without anything random, and a step of them."""

from typing import Any

import torch
from tiny_training import settings

from mae_hydra.batch_norm import running_statistics
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.engine import State, train_step, wrap
from mae_hydra.engine.log_window import StepResult
from mae_hydra.seeds import seed_device
from mae_hydra.types import Batch

SMALL = ["data.image_size=32", "backbone.embed_dim=24", "backbone.num_heads=3", "backbone.drop_path_rate=0"]
SHALLOW = [*SMALL, "backbone.depth=2", "backbone.out_indices=[1]"]
MODELS = {
    "upernet": [
        "model=upernet_vitt", *SMALL, "backbone.depth=4", "backbone.out_indices=[0,1,2,3]", "head.channels=8",
        "head.dropout=0", "model.auxiliary.channels=8", "model.auxiliary.dropout=0",
    ],
    "segmentation probe": ["model=segprobe_vitt", *SHALLOW],
    "segmentation from tokens": ["model=segprobe_vitt", *SHALLOW, "model.trainable_blocks=null"],
    "linear probe": ["model=probe_vitt", "data=scene_classes", *SHALLOW],
    "classifier with batch norm": ["model=probe_vitt", "data=scene_classes", *SHALLOW, "model.trainable_blocks=1"],
}  # fmt: skip


def model_of(name: str, *words: str) -> Any:
    """In float64, so that what differs is no rounding."""
    seed_device(0, "init")
    return build(compose_config([*MODELS[name], *words]).model, "model").double().train()


def batch_of(model: Any, count: int = 8) -> Batch:
    """`count` images of noise; of label maps the share of ignored pixels runs from most to none."""
    generator = torch.Generator().manual_seed(0)
    size = model.encoder.image_size
    images = torch.randint(0, 256, (count, 3, *size), generator=generator, dtype=torch.uint8)
    if not hasattr(model, "ignore_index"):
        return Batch(images, torch.randint(0, model.num_classes, (count,), generator=generator))
    labels = torch.randint(0, model.num_classes, (count, *size), generator=generator).to(torch.uint8)
    for number in range(count):
        labels[number].view(-1)[: labels[number].numel() * (count - number - 1) // count] = model.ignore_index
    return Batch(images, labels)


def cut(batch: Batch, micro_batch: int) -> list[Batch]:
    assert batch.labels is not None
    return [
        Batch(images, labels)
        for images, labels in zip(batch.images.split(micro_batch), batch.labels.split(micro_batch), strict=True)
    ]


def step_of(model: Any, batches: list[Batch], **changes: Any) -> tuple[StepResult, dict[str, torch.Tensor]]:
    """A step's sums, and by name the gradient and the running statistics that it leaves."""
    chosen = settings(**changes)
    forward = wrap(model, chosen)
    state = State(model, torch.optim.SGD(model.parameters(), lr=1e-3), chosen.scaler())
    result = train_step(state, forward, iter(batches), accumulate=len(batches), settings=chosen)
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return result, found | {f"statistic {n}": s for n, s in enumerate(running_statistics(model))}

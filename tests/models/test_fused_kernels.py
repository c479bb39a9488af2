"""No attention is written out: with PyTorch's fused kernel alone allowed, every model trains and answers."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from mae_hydra.benchmark.estimate import example_batch
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build

SHALLOW = ["backbone.depth=4", "backbone.out_indices=[0,1,2,3]"]


@pytest.mark.parametrize(
    "words",
    [
        ["model=mae_vitt"],
        ["model=mae_vitt", "head=mae_cross_decoder"],
        ["model=mae_vitt", "head=mae_cross_decoder", "head.num_encoder_blocks=${backbone.depth}"],
        ["model=mae_vitt", "head=crossmae_decoder", "backbone.final_norm=false"],
        ["model=upernet_vitt"],
        ["model=upernet_vitt", "backbone=vit_tiny"],
        ["model=classifier_vitt"],
    ],
    ids=lambda words: " ".join(words),
)
def test_every_model_trains_and_answers_with_the_fused_kernel_alone(words):
    model = build(compose_config([*words, *SHALLOW]).model, "model")
    batch = example_batch(model, 2)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # RuntimeError: "No available kernel" where it steps aside
        model.train().loss(batch).total.backward()
        with torch.no_grad():
            model.eval().loss(batch)
            model(batch.images)

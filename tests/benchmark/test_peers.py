"""What we stand beside computes the same as we do."""

import copy

import pytest
import torch

from mae_hydra.benchmark.memory import kept_bytes
from mae_hydra.benchmark.peers import plain_upernet_step
from mae_hydra.benchmark.plain_mae import PlainMAE
from mae_hydra.benchmark.verbs import composed, training_step
from mae_hydra.configuration.construct import build
from mae_hydra.models import UPerNet
from mae_hydra.models.encoders.attention import RelativeAttention
from mae_hydra.types import Batch
from mae_hydra.workflows.entry import build as build_model


def made(*words: str):
    config = composed(list(words))
    settings = build(config.engine, "engine")
    return settings, *training_step(config, settings)


@pytest.mark.parametrize(("norm_pix", "ratio"), [("true", 0.75), ("false", 0.5)])
def test_the_plain_mae_is_the_same_function(norm_pix: str, ratio: float) -> None:
    model = build_model("model=mae_vitt", f"model.norm_pix={norm_pix}", f"model.mask_ratio={ratio}").double()
    images = torch.randn(3, 3, 64, 64, dtype=torch.float64)
    noise = torch.rand(3, 64)
    loss = model.loss(Batch(images), noise=noise)
    plain = PlainMAE(model).double()
    expected = plain(images, noise)
    torch.testing.assert_close(loss.total / loss.count, expected, rtol=1e-12, atol=0)
    expected.backward()
    (loss.total / loss.count).backward()
    torch.testing.assert_close(plain.blocks[0].attn.qkv.weight.grad, model.encoder.blocks[0].attn.qkv.weight.grad)
    torch.testing.assert_close(plain.pixels.weight.grad, model.decoder.pred.weight.grad)


def test_the_plain_upernet_takes_the_same_step() -> None:
    settings, work, model, batch = made("model=upernet_vitt", "data.batch_size=3", "backbone.drop_path_rate=0")
    assert isinstance(model, UPerNet)
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout2d):
            part.p = 0.0
        if isinstance(part, RelativeAttention):  # which begins without a bias, and hardly tells its tokens apart
            torch.nn.init.normal_(part.relative_position_bias_table)
            torch.nn.init.normal_(part.qkv.weight, std=0.2)
    assert batch.labels is not None
    batch.labels[:, :20] = model.ignore_index
    seen: list[torch.Tensor] = []
    step = plain_upernet_step(model, settings, batch, lr=0.0)
    original = torch.Tensor.backward

    def note(loss: torch.Tensor, *arguments: object, **options: object) -> None:
        seen.append(loss.detach())
        original(loss, *arguments, **options)

    expected = copy.deepcopy(model).loss(batch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", note)
        step()
    torch.testing.assert_close(seen[0], (expected.total / expected.count).detach(), rtol=1e-5, atol=0)
    work()  # and ours is none the worse for it


def test_what_is_kept_for_the_backward_pass_is_counted_once_and_without_parameters() -> None:
    layer = torch.nn.Linear(10, 20)
    values = torch.randn(5, 10)

    def step() -> None:
        hidden = layer(values)
        (hidden.sigmoid() * hidden.sigmoid()).sum().backward()

    # the input of the layer, and the output of each sigmoid, which the product keeps as well
    assert kept_bytes(step) == 4 * (5 * 10 + 2 * 5 * 20)

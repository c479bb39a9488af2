"""What passes between packages."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from mae_hydra.types import Batch, answers, channels_of, image_size_of


def test_all_parts_of_a_batch_move_together(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels, index = torch.zeros(2, 3, 4, 4), torch.ones(2), torch.arange(2)
    moved = Batch(images, labels, index).to("meta")
    assert [part.device.type for part in (moved.images, moved.labels, moved.index)] == ["meta"] * 3  # type: ignore[union-attr]
    assert [part.shape for part in (moved.images, moved.labels, moved.index)] == [  # type: ignore[union-attr]
        images.shape, labels.shape, index.shape
    ]  # fmt: skip
    asked: list[object] = []
    part: Any = SimpleNamespace(to=lambda *given, **named: asked.append((given, named)))
    Batch(part, part).to("cuda:1")
    Batch(part).to("cuda:1", non_blocking=False)
    assert asked == [(("cuda:1",), {"non_blocking": wait}) for wait in (True, True, False)]  # nobody waits for it
    bare = Batch(images).to("meta")
    assert (bare.labels, bare.index, len(bare)) == (None, None, 2)
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor + 1)  # which needs a GPU
    pinned = Batch(images, labels, index).pin_memory()
    assert pinned.labels is not None
    assert pinned.index is not None
    assert (pinned.images.max(), pinned.labels.max(), pinned.index.tolist()) == (1, 2, [1, 2])


def test_a_model_says_what_it_takes_or_its_encoder_does() -> None:
    encoder = SimpleNamespace(image_size=[64, 32], in_chans=4)
    whole = SimpleNamespace(image_size=(8, 9), encoder=encoder, mean=torch.zeros(1, 3, 1, 1), answers="pixels")
    assert [image_size_of(model) for model in (whole, SimpleNamespace(encoder=encoder), encoder, object())] == [
        (8, 9), (64, 32), (64, 32), None
    ]  # fmt: skip
    bare = SimpleNamespace(mean=torch.zeros(1, 3, 1, 1))
    bands = SimpleNamespace(mean=torch.zeros(1, 5, 1, 1))
    assert [channels_of(model) for model in (whole, encoder, bare, bands)] == [4, 4, 3, 5]
    assert (answers(whole), answers(encoder)) == ("pixels", None)

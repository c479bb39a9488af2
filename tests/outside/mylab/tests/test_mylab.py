"""The parts keep what they promise, by themselves and in a run."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from mylab.data import Shapes
from mylab.encoder import DINOv3
from mylab.loss import Dice

from mae_hydra.types import Loss, MaskedEncoder

ROOT = Path(__file__).parents[1]
SMALL = [
    "backbone.embed_dim=32",
    "backbone.depth=4",
    "backbone.num_heads=2",
    "data.num_train=8",
    "data.num_validation=2",
]


def small_encoder() -> DINOv3:
    shape = {"patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2}
    return DINOv3(image_size=32, in_chans=3, drop_path_rate=0.0, **shape).eval()


def test_the_maps_have_the_widths_and_strides_that_the_encoder_tells():
    encoder, images = small_encoder(), torch.rand(2, 3, 32, 32)
    assert isinstance(encoder, MaskedEncoder)
    sizes = [
        (2, width, 32 // stride, 32 // stride) for width, stride in zip(encoder.widths, encoder.strides, strict=True)
    ]
    assert [tuple(level.shape) for level in encoder.feature_maps(images)] == sizes


def test_all_patches_in_another_order_are_the_same_tokens():
    encoder, images = small_encoder(), torch.rand(2, 3, 32, 32)
    keep = torch.stack([torch.randperm(encoder.num_patches) for _ in images])
    whole, mixed = encoder.tokens(images), encoder.tokens(images, keep)
    torch.testing.assert_close(mixed[:, 1:], whole[:, 1:].take_along_dim(keep[..., None], 1))


def test_every_parameter_has_a_depth():
    encoder = small_encoder()
    assert {encoder.depth_of(name) for name, _ in encoder.named_parameters()} == set(range(encoder.num_depths))


def test_the_loss_of_a_batch_is_the_sum_of_its_parts():
    loss, logits = Dice(ignore_index=255), torch.randn(4, 3, 8, 8)
    labels = torch.randint(0, 3, (4, 16, 16))
    labels[0], labels[1, :8] = 255, 255
    parts = [loss(logits[:3], labels[:3]), loss(logits[3:], labels[3:])]
    whole: Loss = loss(logits, labels)
    torch.testing.assert_close(whole.total, parts[0].total + parts[1].total)
    assert int(whole.count) == int(parts[0].count + parts[1].count) == 3


def test_a_sample_is_a_function_of_its_position():
    one, same, other = Shapes(4, 32, seed=0)[2], Shapes(9, 32, seed=0)[2], Shapes(4, 32, seed=1)[2]
    assert torch.equal(one.image, same.image)
    assert not torch.equal(one.image, other.image)


def test_all_parts_train_together(tmp_path):
    environment = os.environ | {"MAE_HYDRA_TRUST": "mylab"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = ["--config-dir", str(ROOT / "mylab" / "conf"), "+experiment=mylab", "+debug=smoke", "logger=mylab"]
    command = [sys.executable, "-m", "mae_hydra", "train", *words, *SMALL, "hydra.run.dir=run"]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert '"finished": "completed"' in (tmp_path / "run" / "diary.jsonl").read_text()

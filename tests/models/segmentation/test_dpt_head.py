"""DPT's head against transformers' neck and head with the same weights."""

import re

import pytest
import torch
from tiny_models import relative_encoder, upernet
from transformers import DPTConfig
from transformers.models.dpt.modeling_dpt import DPTNeck, DPTSemanticSegmentationHead

from mae_hydra.models import DPTHead, FeaturePyramid
from mae_hydra.types import Batch

NAMES = [  # of transformers, as ours
    (r"reassemble_stage\.layers\.(\d)\.projection", r"project.\1"),
    (r"reassemble_stage\.layers\.(\d)\.resize", r"resize.\1"),
    (r"residual_layer1\.", "lateral."),
    (r"residual_layer2\.", "fuse."),
    (r"convolution(\d)", r"conv\1"),
    (r"batch_norm(\d)", r"norm\1"),
    (r"^head\.0", "conv.conv"),
    (r"^head\.1", "conv.norm"),
    (r"^head\.4", "classify"),
]


def ours(name):
    for theirs, own in NAMES:
        name = re.sub(theirs, own, name)
    found = re.match(r"fusion_stage\.layers\.(\d)\.(\w+)\.(.*)", name)
    if found is None:
        return name
    level = 3 - int(found[1])  # theirs begin with the coarsest
    return f"{'out' if found[2] == 'projection' else found[2]}.{level}.{found[3]}"


def head(**changes):
    settings = {"in_dim": 24, "widths": [8, 12, 16, 20], "channels": 10, "num_classes": 5, "dropout": 0.0}
    return DPTHead(**(settings | changes))


@pytest.mark.parametrize("training", [False, True])
def test_logits_are_those_of_transformers(training):
    torch.manual_seed(0)
    config = DPTConfig(
        hidden_size=24, neck_hidden_sizes=[8, 12, 16, 20], fusion_hidden_size=10, readout_type="ignore", num_labels=5,
        use_batch_norm_in_fusion_residual=True, is_hybrid=False, image_size=32, patch_size=8,
        semantic_classifier_dropout=0.0,
    )  # fmt: skip
    neck, theirs = DPTNeck(config).double(), DPTSemanticSegmentationHead(config).double()
    weights = {ours(name): value for name, value in {**neck.state_dict(), **theirs.state_dict()}.items()}
    for value in weights.values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.1 if value.ndim == 1 else torch.randn_like(value) * 0.3)
    made = head().double()
    unused = {name for name in weights if name.startswith("lateral.3.")}
    made.load_state_dict({name: value.clone() for name, value in weights.items() if name not in unused})
    maps = [torch.randn(2, 24, 4, 6, dtype=torch.float64) for _ in range(4)]
    for part in (neck, theirs, made):
        part.train(training)
    # Theirs takes token sequences with a class token, and enlarges once more.
    tokens = [torch.cat([torch.zeros(2, 1, 24).double(), each.flatten(2).mT], 1) for each in maps]
    fused = neck(tokens, 4, 6)
    expected = theirs.head[:-1](fused[-1])
    assert expected.shape == (2, 5, 32, 48)
    torch.testing.assert_close(made(maps), expected, rtol=1e-9, atol=1e-9)


def test_a_model_trains_with_it():
    torch.manual_seed(0)
    model = upernet(pyramid=None, head=head())
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert model.eval()(images).shape == (2, 5, 32, 32)
    assert model.fast() is model
    model.train().loss(Batch(images, torch.randint(0, 5, (2, 32, 32)))).total.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("size", [24, 40])
def test_odd_grids_fit(size):
    model = upernet(encoder=relative_encoder(image_size=size), pyramid=None, head=head()).eval()
    assert model(torch.zeros(1, 3, size, size)).shape == (1, 5, size, size)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"DPTHead makes the sizes of its maps itself: .*model.pyramid=null"):
        upernet(pyramid=FeaturePyramid(dim=24), head=head())
    for widths in ([8], [8, 12, 16, 0]):
        with pytest.raises(ValueError, match="widths must be four positive numbers"):
            head(widths=widths)
    assert head(dropout=0.3).dropout.p == 0.3
    with pytest.raises(ValueError, match="dropout must lie in"):
        head(dropout=1.0)

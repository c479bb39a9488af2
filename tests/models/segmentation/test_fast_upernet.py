"""The form for evaluation, against the model itself: every choice of shortcuts, and never a stale weight."""

import copy
import gc
import itertools
import operator
import weakref

import pytest
import torch
from tiny_models import encoder, scramble, upernet

from mae_hydra.models import FastUPerNet, Shortcuts

CHOICES = [Shortcuts(*choice) for choice in itertools.product((False, True), repeat=3)]


def build(image_size=32, channels=3, **changes):
    model = upernet(image_size, channels, **changes).eval()
    scramble(model)
    return model


def images_for(model, count=2, dtype=torch.float32):
    shape = (count, model.encoder.in_chans, *model.encoder.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize("shortcuts", CHOICES, ids=str)
@pytest.mark.parametrize(("image_size", "channels"), [(32, 3), ([40, 24], 1), ([24, 56], 3)])
def test_every_choice_of_shortcuts_gives_the_models_logits(shortcuts, image_size, channels):
    model = build(image_size, channels).double()
    images = images_for(model, dtype=torch.float64)
    fast = model.fast(shortcuts)
    for found, expected in [
        (fast(images), model(images)),
        (fast.low_resolution_logits(images), model.low_resolution_logits(images)),
    ]:
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10 * expected.abs().max().item())


@pytest.mark.parametrize("shortcuts", CHOICES, ids=str)
def test_in_float32_the_classes_are_the_models_own(shortcuts):
    model = build()
    images = images_for(model)
    expected, found = model(images), model.fast(shortcuts)(images)
    best = expected.topk(2, dim=1).values
    clear = best[:, 0] - best[:, 1] > 1e-4 * expected.abs().max()
    assert clear.float().mean() > 0.99
    assert torch.equal(found.argmax(1)[clear], expected.argmax(1)[clear])


def test_a_backbone_without_relative_positions_has_no_bias_to_keep():
    form = {"final_norm": False, "positions": "learned"}
    model = build(encoder=encoder(**form)).double()
    images = images_for(model, dtype=torch.float64)
    torch.testing.assert_close(model.fast()(images), model(images), rtol=1e-10, atol=1e-10)


def test_uint8_images_are_normalised_as_the_model_does():
    model = build()
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    torch.testing.assert_close(model.fast()(images), model(images), rtol=1e-4, atol=1e-4)


def test_it_has_the_models_parameters():
    model = build()
    assert all(map(operator.is_, model.fast().parameters(), model.parameters()))
    assert len(list(model.fast().parameters())) == len(list(model.parameters()))


def test_the_auxiliary_head_is_not_asked():
    model, asked = build(), []
    model.auxiliary.register_forward_pre_hook(lambda *_: asked.append(True))
    model.fast()(images_for(model))
    assert not asked


def test_the_model_stays_as_it_is_and_nothing_is_saved():
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.fast()(images_for(model))
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def changed_in_place(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05)


def loaded(model):
    other = build()
    scramble(other, seed=5)
    model.load_state_dict(other.state_dict())


def one_table(model):
    with torch.no_grad():
        model.encoder.blocks[2].attn.relative_position_bias_table[7] += 3


def one_statistic(model):
    model.head.smooths[1].norm.running_var.mul_(2)


def another_tensor(model):
    model.head.fuse.conv.weight = torch.nn.Parameter(model.head.fuse.conv.weight.detach() * 1.5)


def trained_a_step(model):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model.train()
    model(images_for(model)).square().mean().backward()
    optimizer.step()
    model.eval()


@pytest.mark.parametrize(
    "change",
    [changed_in_place, loaded, one_table, one_statistic, another_tensor, trained_a_step, torch.nn.Module.double],
)
def test_what_was_kept_is_made_anew_when_a_weight_has_changed(change):
    model = build()
    images, fast = images_for(model), model.fast()
    before = fast(images)
    change(model)
    images = images.to(model.head.classify.weight.dtype)
    expected = model(images)
    assert not torch.allclose(before.to(expected.dtype), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(fast(images), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_what_was_kept_is_shared_and_serves_until_something_changes():
    model = build()
    images = images_for(model)
    model.fast()(images)
    [kept] = model.derived.values()
    model.fast()(images)
    assert list(model.derived.values()) == [kept]


def test_training_mode_is_the_models_own_and_forgets_what_was_kept():
    model = build()
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout2d):
            part.p = 0.0
    fast, images = model.fast(), images_for(model)
    fast(images)
    model.train()
    assert model.derived == {}
    torch.testing.assert_close(fast(images), model(images))
    assert model.derived == {}


def test_a_copy_keeps_nothing_and_answers_with_its_own_weights():
    model = build()
    images = images_for(model)
    expected = model.fast()(images)
    copied = copy.deepcopy(model)
    assert copied.derived == {}
    changed_in_place(model)
    torch.testing.assert_close(copied.fast()(images), expected)


def test_a_model_that_is_no_longer_used_is_freed_at_once():
    model = build()
    model.fast()(images_for(model))
    gone = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert gone() is None
    finally:
        gc.enable()


def test_autocast_gives_its_precision_and_leaving_it_the_full_one():
    model = build()
    images, fast = images_for(model), model.fast()
    exact = fast(images)
    with torch.autocast("cpu", torch.bfloat16):
        low, expected = fast(images), model(images)
    assert low.dtype == expected.dtype
    scale = exact.abs().max()
    assert 0 < (low.float() - exact).abs().max() < 0.1 * scale
    assert (low.argmax(1) == exact.argmax(1)).float().mean() > 0.9
    assert torch.equal(fast(images), exact)


def test_a_model_in_bfloat16_answers_in_bfloat16():
    model = build()
    exact = model(images_for(model))
    model = model.bfloat16()
    found = FastUPerNet(model)(images_for(model).bfloat16())
    assert found.dtype == torch.bfloat16
    assert (found.float() - exact).abs().max() < 0.1 * exact.abs().max()

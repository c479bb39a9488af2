"""What batch normalisation sees: with `batch_norm=step` a step of the real models does not depend on how it is cut."""

import random
from weakref import WeakSet

import pytest
import torch
from normalised_models import MODELS, batch_of, cut, model_of, step_of
from tiny_training import TinySegmenter, images_of, settings
from torch import Tensor, nn

from mae_hydra import batch_norm
from mae_hydra.batch_norm import running_statistics
from mae_hydra.engine import wrap
from mae_hydra.errors import UserError
from mae_hydra.types import Batch, Loss


def difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Of all tensors together, in units of the expected ones' length."""
    assert found.keys() == expected.keys()
    ours, theirs = (torch.cat([part.double().flatten() for part in values.values()]) for values in (found, expected))
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("micro_batch", [4, 2, 1])
@pytest.mark.parametrize("name", MODELS)
def test_statistics_over_the_step_make_it_independent_of_its_cut(name, micro_batch):
    """Loss, extras, gradient and running statistics of the real models are those of 8 images in one piece."""
    batch = batch_of(model_of(name))
    whole, expected = step_of(model_of(name), [batch])
    result, found = step_of(model_of(name), cut(batch, micro_batch), batch_norm="step")
    for key, value in (whole.sums | {"count": whole.count}).items():
        torch.testing.assert_close((result.sums | {"count": result.count})[key], value, rtol=1e-12, atol=0)
    assert difference(found, expected) < 1e-12


@pytest.mark.parametrize("name", MODELS)
def test_statistics_of_a_micro_batch_make_a_step_depend_on_its_cut(name):
    """As the documents say of the default: this is no rounding. Without batch normalisation nothing depends on it."""
    batch = batch_of(model_of(name))
    _, expected = step_of(model_of(name), [batch])
    _, found = step_of(model_of(name), cut(batch, 2))
    assert difference(found, expected) > 0.01


RANDOM = {
    "upernet": ["backbone.drop_path_rate=0.5"],
    "classifier with batch norm": [
        "backbone.drop_path_rate=0.5",
        "+model.mixing={_target_:mae_hydra.models.Mixing,mixup:0.8,cutmix:1.0,probability:1.0,switch:0.5}",
    ],
}


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name", RANDOM)
def test_what_is_random_is_drawn_alike_in_both_passes(name, recompute, monkeypatch):
    """Drop path from torch's generator, mixing from Python's: as if the features had been kept."""
    words = RANDOM[name]
    batches = cut(batch_of(model_of(name)), 2)

    def drawn() -> dict[str, Tensor]:
        batch_norm.random.seed(0)
        torch.manual_seed(0)
        return step_of(model_of(name, *words), batches, batch_norm="step", recompute=recompute)[1]

    found = drawn()
    monkeypatch.setattr(batch_norm, "_computed_twice", lambda features, batch: features(batch))
    expected = drawn()
    assert difference(found, expected) < 1e-12
    assert found.keys() == expected.keys()


LAYERS = {
    "of maps": (lambda: nn.BatchNorm2d(3), (4, 3, 5, 6)),
    "of vectors, without scale": (lambda: nn.BatchNorm1d(3, eps=1e-6, affine=False), (8, 3)),
    "with a cumulative mean": (lambda: nn.BatchNorm2d(3, momentum=None), (4, 3, 5, 6)),
    "without running statistics": (lambda: nn.BatchNorm2d(3, track_running_stats=False), (4, 3, 5, 6)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", LAYERS)
def test_the_synchronised_layer_is_the_librarys_where_there_is_one_process(kind, dtype):
    """Far from zero, too, where a mean of squares minus a squared mean would be all rounding."""
    make, shape = LAYERS[kind]
    ours, theirs = nn.Sequential(make()), nn.Sequential(make())
    batch_norm.synchronise(ours, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    for offset in (0.0, 100.0):
        values = (torch.randn(shape, generator=generator) + offset).to(dtype)
        weights = torch.randn(shape, generator=generator)
        gradients = []
        for layer in (ours, theirs):
            x = values.clone().requires_grad_()
            y = layer(x)
            (y * weights).sum().backward()
            gradients.append([y.detach(), x.grad, *(p.grad for p in layer.parameters())])
        for found, expected in zip(*gradients, strict=True):
            assert found.dtype == expected.dtype
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-2 if dtype == torch.bfloat16 else 1e-4)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.eval()(values), theirs.eval()(values))


class Watched(nn.Module):
    """Counts, whenever features are computed, the micro-batches whose inner values are still there."""

    def __init__(self, *, norm_in_features: bool = False) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.norm_in_features = norm_in_features
        self.inner: WeakSet[Tensor] = WeakSet()
        self.counts: list[int] = []

    def features(self, batch: Batch) -> tuple[Tensor, ...]:
        self.counts.append(len(self.inner))
        maps = self.conv(batch.images / 255)
        inner = (self.norm(maps) if self.norm_in_features else maps).sin()
        self.inner.add(inner)
        return (inner.cos(),)

    def loss_of(self, features: tuple[Tensor, ...], batch: Batch) -> Loss:
        return Loss(self.norm(features[0]).square().sum(), torch.tensor(len(batch)))

    def loss(self, batch: Batch) -> Loss:
        return self.loss_of(self.features(batch), batch)


def test_only_one_micro_batchs_inner_values_are_there_at_a_time():
    model = Watched()
    step_of(model, cut(images_of(0), 2), batch_norm="step")
    assert len(model.counts) == 8  # twice each of four
    assert model.counts == [0] * 8
    assert not model.inner


def test_features_with_batch_normalisation_are_refused():
    """They would be those of a micro-batch, and the numbers wrong without a word."""
    model = Watched(norm_in_features=True)
    with pytest.raises(UserError, match=r"has batch normalization in them; use engine\.batch_norm=micro with a larger"):
        step_of(model, cut(images_of(0), 2), batch_norm="step")
    model.norm.eval()  # frozen, it depends on nothing
    model.train = lambda mode=True: model
    step_of(model, cut(images_of(0), 2), batch_norm="step")


def test_a_model_in_one_part_is_refused_before_training():
    with pytest.raises(UserError, match="needs a model with `features` and `loss_of`, and TinySegmenter has none"):
        wrap(TinySegmenter(norm=True), settings(batch_norm="step"))


def test_without_batch_normalisation_there_is_nothing_to_gather():
    """A MAE's step is then that of micro-batches, to the last bit."""
    found = []
    for choice in ("micro", "step"):
        torch.manual_seed(0)
        found.append(step_of(TinySegmenter(), cut(images_of(0), 2), batch_norm=choice)[1])
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_a_step_that_fails_leaves_the_running_statistics():
    model = model_of("upernet")
    batch = batch_of(model)
    before = [values.clone() for values in running_statistics(model)]
    batch.labels[7] = 200  # no class: found out by the loss, when all layers have seen the images
    with pytest.raises(IndexError, match="out of bounds"):
        step_of(model, cut(batch, 2), batch_norm="step")
    assert all(torch.equal(old, now) for old, now in zip(before, running_statistics(model), strict=True))


def test_images_of_all_processes_count_for_what_statistics_are_taken_from(monkeypatch):
    for processes, images, enough in (("1", 1, False), ("1", 2, True), ("2", 1, True)):
        monkeypatch.setenv("WORLD_SIZE", processes)
        if enough:
            batch_norm.check_enough(images)
        else:
            with pytest.raises(UserError, match=r"at least 2 images at a time; use data\.batch_size=2 or more"):
                batch_norm.check_enough(images)


def test_a_layer_without_momentum_averages_all_its_batches_and_a_frozen_one_is_not_among_those_that_learn():
    ours, theirs = nn.Sequential(nn.BatchNorm1d(2, momentum=None)), nn.BatchNorm1d(2, momentum=None)
    batch_norm.synchronise(ours, torch.device("cpu"))
    for number in range(3):
        batch = torch.randn(5, 2, generator=torch.Generator().manual_seed(number)) + number
        ours(batch), theirs(batch)
    torch.testing.assert_close(ours[0].running_mean, theirs.running_mean)
    torch.testing.assert_close(ours[0].running_var, theirs.running_var)
    assert batch_norm.learned_statistics(ours) == [ours[0]]
    assert batch_norm.learned_statistics(ours.eval()) == []


def test_draws_of_the_host_go_on_after_a_second_pass_where_they_were():
    """A pass that is computed again draws as the first did; what comes behind it draws on."""
    first, second = batch_norm._same_draws()
    with first:
        drawn = random.random()
    random.random()  # of something else between the passes
    state = random.getstate()
    with second:
        assert random.random() == drawn
    assert random.getstate() == state


def test_one_image_at_a_time_is_enough_where_a_step_has_two():
    """What is too little is the images that statistics are taken from, not those of a micro-batch."""
    model = model_of("linear probe")
    batch = batch_of(model, 2)
    with pytest.raises(UserError, match="at least 2 images"):
        step_of(model, cut(batch, 1))
    _, found = step_of(model, cut(batch, 1), batch_norm="step")
    assert difference(found, step_of(model_of("linear probe"), [batch])[1]) < 1e-12


@pytest.mark.parametrize("affine", [True, False])
def test_statistics_of_two_processes_with_the_same_images_are_those_of_one_but_for_their_number(affine, monkeypatch):
    """Each adds the other's sums to its own, forward and backward; the variance is of twice as many values."""
    monkeypatch.setattr(batch_norm, "all_reduce_sum", lambda tensor: tensor.mul_(2))
    ours, theirs = (nn.Sequential(nn.BatchNorm1d(2, eps=0.5, affine=affine)) for _ in range(2))
    batch_norm.synchronise(ours, torch.device("cpu"))
    values = torch.tensor([[1.0, -2.0], [3.0, 2.0], [8.0, 0.0]])
    weights = torch.tensor([[1.0, 0.5], [2.0, -1.0], [-4.0, 3.0]])
    gradients = []
    for layer in (ours, theirs):
        if affine:
            layer[0].weight.data.copy_(torch.tensor([2.0, 3.0]))
        x = values.clone().requires_grad_()
        y = layer(x)
        (y * weights).sum().backward()
        gradients.append([y.detach(), x.grad, *(p.grad for p in layer.parameters())])
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(ours[0].running_mean, torch.tensor([0.4, 0.0]))
    unbiased = torch.tensor([26 / 3, 8 / 3]) * 6 / 5  # mean squares about the means 4 and 0, of six values
    torch.testing.assert_close(ours[0].running_var, 0.9 + 0.1 * unbiased)


def test_on_cuda_the_library_synchronises_and_what_passes_change_are_the_buffers_of_every_norm(monkeypatch):
    told = []
    monkeypatch.setattr(nn.SyncBatchNorm, "convert_sync_batchnorm", told.append)
    model = nn.Sequential(nn.BatchNorm1d(2), nn.InstanceNorm1d(2, track_running_stats=True), nn.LayerNorm(2))
    batch_norm.synchronise(model, torch.device("cuda", 1))
    assert told == [model]
    assert "forward" not in vars(model[0])
    found = batch_norm.running_statistics(model)
    assert [id(values) for values in found] == [id(values) for values in model.buffers()]
    assert len(found) == 6


def test_maps_that_hardly_differ_are_normalised_with_the_layers_own_epsilon():
    x = 1e-4 * torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).double()
    ours, theirs = (nn.Sequential(nn.BatchNorm1d(3, eps=1e-9)).double() for _ in range(2))
    batch_norm.synchronise(ours, torch.device("cpu"))
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-6, atol=0)
    assert 0.5 < ours(x).std() < 1.0

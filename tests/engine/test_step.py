"""A step is a function of its images, not of how they are cut."""

import math

import pytest
import torch
import torch.nn.functional as F
from tiny_training import IGNORED, TinySegmenter, TinyStream, images_of, settings
from torch.utils._python_dispatch import TorchDispatchMode

from mae_hydra.engine import State, step, train_step, wrap
from mae_hydra.types import Batch, Loss


def sgd_step(batches: list[Batch], precision: str = "fp32", dtype: torch.dtype = torch.float32, **changes):
    torch.manual_seed(0)
    model = TinySegmenter().to(dtype)
    chosen = settings(precision=precision, **changes)
    state = State(model, torch.optim.SGD(model.parameters(), lr=1.0), chosen.scaler())
    before = [p.detach().clone() for p in model.parameters()]
    result = train_step(state, wrap(model, chosen), iter(batches), accumulate=len(batches), settings=chosen)
    return result, [old - p.detach() for old, p in zip(before, model.parameters(), strict=True)], state


def reference(batches: list[Batch]) -> tuple[float, list[torch.Tensor]]:
    """Mean loss over all labelled pixels, and its gradient, in one piece and in float64."""
    torch.manual_seed(0)
    model = TinySegmenter().double()
    images = torch.cat([batch.images for batch in batches])
    labels = torch.cat([batch.labels for batch in batches]).long()
    loss = F.cross_entropy(model(images), labels, ignore_index=IGNORED)
    return loss.item(), [g.detach() for g in torch.autograd.grad(loss, list(model.parameters()))]


def cut(micro_batch: int, whole: Batch | None = None) -> list[Batch]:
    whole = whole or images_of(0)
    starts = range(0, len(whole), micro_batch)
    return [Batch(whole.images[s : s + micro_batch], whole.labels[s : s + micro_batch]) for s in starts]


@pytest.mark.parametrize("micro_batch", [8, 4, 2, 1])
def test_a_step_does_not_depend_on_how_the_batch_is_cut(micro_batch):
    loss, gradient = reference(cut(8))
    result, change, _ = sgd_step(cut(micro_batch))
    assert (result.sums["loss"] / result.count).item() == pytest.approx(loss, rel=1e-6)
    assert result.sums["doubled"].item() == pytest.approx(2 * result.sums["loss"].item())
    for ours, theirs in zip(change, gradient, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("micro_batch", [8, 2])
def test_a_count_below_one_divides_too(micro_batch, monkeypatch):
    """Class weights may be so small that their sum is: the gradient is that of the loss which the log has."""
    loss, gradient = reference(cut(8))
    counted = TinySegmenter.loss

    def small(self, batch):
        found = counted(self, batch)
        return found._replace(total=found.total * 1e-6, count=found.count * 1e-6)

    monkeypatch.setattr(TinySegmenter, "loss", small)
    result, change, _ = sgd_step(cut(micro_batch))
    assert result.count < 1
    assert (result.sums["loss"] / result.count).item() == pytest.approx(loss, rel=1e-6)
    for ours, theirs in zip(change, gradient, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-6)


def test_the_mean_of_the_means_would_be_something_else():
    """The images of these tests can tell a sum divided once from the usual loss.mean() / accumulate."""
    loss, _ = reference(cut(8))
    means = [reference([batch])[0] for batch in cut(2)]
    assert abs(sum(means) / len(means) - loss) > 0.01 * loss


def test_a_step_in_which_nothing_counts_changes_nothing():
    whole = images_of(0)
    nothing = Batch(whole.images, torch.full_like(whole.labels, IGNORED))
    result, change, _ = sgd_step(cut(4, nothing))
    assert result.count.item() == result.grad_norm.item() == 0
    assert all(not difference.any() for difference in change)


def test_a_first_micro_batch_in_which_nothing_counts_does_no_harm():
    whole = images_of(0)
    labels = whole.labels.clone()
    labels[:4] = IGNORED
    batches = cut(4, Batch(whole.images, labels))
    _, gradient = reference(batches)
    _, change, _ = sgd_step(batches)
    for ours, theirs in zip(change, gradient, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("micro_batch", [8, 2])
def test_clipping_shortens_the_divided_gradient_to_the_given_norm(micro_batch):
    _, gradient = reference(cut(8))
    norm = math.sqrt(sum(g.square().sum().item() for g in gradient))
    result, change, _ = sgd_step(cut(micro_batch), clip_grad=norm / 4)
    assert result.grad_norm.item() == pytest.approx(norm, rel=1e-5)
    for ours, theirs in zip(change, gradient, strict=True):
        torch.testing.assert_close(ours.double(), theirs / 4, rtol=1e-4, atol=1e-6)


def test_a_gradient_shorter_than_the_clipping_norm_is_left_alone():
    _, gradient = reference(cut(8))
    _, change, _ = sgd_step(cut(8), clip_grad=1000.0)
    for ours, theirs in zip(change, gradient, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-6)


def test_double_precision_stays_double():
    loss, gradient = reference(cut(8))
    result, change, _ = sgd_step(cut(2), dtype=torch.float64)
    assert (result.sums["loss"] / result.count).item() == pytest.approx(loss, rel=1e-13)
    for ours, theirs in zip(change, gradient, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.05), ("fp16", 0.01)])
def test_low_precision_gives_nearly_the_same_step(precision, tolerance):
    _, gradient = reference(cut(8))
    _, change, _ = sgd_step(cut(2), precision=precision)
    ours, theirs = torch.cat([c.flatten() for c in change]), torch.cat([g.flatten() for g in gradient])
    assert (ours.double() - theirs).norm() < tolerance * theirs.norm()
    assert ours.dtype == torch.float32


def test_an_overflow_in_fp16_skips_the_step_and_halves_the_scale():
    chosen = settings(precision="fp16")
    model = TinySegmenter()
    state = State(
        model, torch.optim.AdamW(model.parameters(), fused=True), torch.amp.GradScaler("cpu", init_scale=2.0**40)
    )
    before = [p.detach().clone() for p in model.parameters()]
    result = train_step(state, wrap(model, chosen), iter(cut(8)), accumulate=1, settings=chosen)
    assert not result.grad_norm.isfinite()
    assert all(torch.equal(old, p) for old, p in zip(before, model.parameters(), strict=True))
    assert state.scaler.get_scale() == 2.0**39


SPOILS = {
    "the loss": lambda loss: loss._replace(total=loss.total * math.nan),
    "an overflow": lambda loss: loss._replace(total=loss.total * 1e38 * 1e38),
    "the features": None,  # a hook: the running statistics of batch norm are spoilt as well
}
OPTIMIZERS = {
    "fused": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, fused=True),
    "not fused": lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
}


class Training:
    """Steps on one model, some of which have a gradient that is not finite."""

    def __init__(self, optimizer: str, spoilt: str, clip_grad: float | None) -> None:
        torch.manual_seed(0)
        self.settings, self.spoilt = settings(clip_grad=clip_grad), spoilt
        self.model = TinySegmenter(norm=True)
        self.state = State(self.model, OPTIMIZERS[optimizer](self.model.parameters()), self.settings.scaler())

    def step(self, number: int, *, spoil: bool = False) -> None:
        spoil_loss, hook = SPOILS[self.spoilt], None
        forward = wrap(self.model, self.settings)
        if spoil and spoil_loss is None:
            hook = self.model.features.register_forward_hook(lambda module, args, output: output * math.nan)
        elif spoil:
            whole = forward
            forward = torch.nn.Module()
            forward.forward = lambda batch: spoil_loss(whole(batch))
        batches = iter(cut(4, images_of(number)))
        result = train_step(self.state, forward, batches, accumulate=2, settings=self.settings)
        self.state.window.add(result)
        if hook is not None:
            hook.remove()

    def bits(self) -> dict[str, torch.Tensor]:
        states = self.state.optimizer.state_dict()["state"]
        moments = {f"{n}.{key}": value for n, values in states.items() for key, value in values.items()}
        return {name: value.clone() for name, value in (self.model.state_dict() | moments).items()}


def assert_equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert [name for name, value in ours.items() if not torch.equal(value, theirs[name])] == []


@pytest.mark.parametrize("clip_grad", [None, 1.0])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("spoilt", SPOILS)
def test_a_step_whose_gradient_is_not_finite_changes_nothing(optimizer, spoilt, clip_grad):
    """Neither weights, running statistics, moments nor step counts; the steps after it go on as if it had not been."""
    training, without = (Training(optimizer, spoilt, clip_grad) for _ in range(2))
    for number in (0, 1):
        training.step(number)
        without.step(number)
    before = training.bits()
    training.step(2, spoil=True)
    assert_equal(training.bits(), before)
    assert training.state.step == 3  # it was taken, and its images are gone
    training.step(3)
    without.step(3)
    assert_equal(training.bits(), without.bits())
    assert any(not torch.equal(value, before[name]) for name, value in training.bits().items())
    assert training.state.window.read()["nonfinite_steps"] == 1


class HostReads(TorchDispatchMode):
    """Counts the operations for which the host would wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("finite", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_step_never_waits_for_the_device(precision, finite):
    chosen = settings(precision=precision, clip_grad=1.0)
    model = TinySegmenter(dropout=0.1, norm=True)
    state = State(model, torch.optim.AdamW(model.parameters(), fused=True), chosen.scaler())
    forward, batches = wrap(model, chosen), TinyStream(4).batches(0)
    if not finite:
        model.features.register_forward_hook(lambda module, args, output: output * math.nan)
    with HostReads() as reads:
        result = train_step(state, forward, batches, accumulate=2, settings=chosen)
        state.window.add(result)
    assert reads.count == 0
    with reads:
        result.count.item()
    assert reads.count == 1  # the counter does count


@pytest.mark.parametrize("micro_batch", [8, 2])
def test_two_processes_with_the_same_images_take_the_step_of_one(micro_batch, monkeypatch):
    """The other one has counted as much: DDP averages gradients, and sums and counts are those of both."""
    alone, gradient, _ = sgd_step(cut(micro_batch))
    monkeypatch.setattr(step, "world_size", lambda: 2)
    monkeypatch.setattr(step, "all_reduce_sum", lambda tensor: tensor.mul_(2))
    both, found, _ = sgd_step(cut(micro_batch))
    assert (both.count, both.sums["loss"], both.sums["doubled"]) == (
        2 * alone.count, 2 * alone.sums["loss"], 2 * alone.sums["doubled"],
    )  # fmt: skip
    for ours, theirs in zip(found, gradient, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_sums_of_a_step_keep_their_names():
    losses = [
        Loss(torch.tensor(a), torch.tensor(b), {"x": torch.tensor(c), "y": torch.tensor(d)})
        for a, b, c, d in ((1.0, 2, 3.0, 4.0), (10.0, 20, 30.0, 40.0))
    ]
    sums, count = step._add_up(losses)
    assert {name: value.item() for name, value in sums.items()} == {"loss": 11.0, "x": 33.0, "y": 44.0}
    assert (count.item(), count.dtype) == (22.0, torch.float64)


def test_gradients_are_exchanged_once_a_step(monkeypatch):
    told, exchange = [], step._exchange
    monkeypatch.setattr(step, "_exchange", lambda forward, gradients: told.append(gradients) or exchange(
        forward, gradients=gradients
    ))  # fmt: skip
    sgd_step(cut(2))
    assert told == [False, False, False, True]

    class Parallel(torch.nn.Module):
        def no_sync(self):
            return "no sync"

    monkeypatch.setattr(step, "DistributedDataParallel", Parallel)
    assert exchange(Parallel(), gradients=False) == "no sync"
    assert exchange(Parallel(), gradients=True) != "no sync"

"""Which evaluators run after a step, with which random numbers, and what two of them may not both report."""

from typing import Any

import pytest
import torch
from tiny_training import settings
from torch.utils._python_dispatch import TorchDispatchMode

from mae_hydra.engine import evaluations as module
from mae_hydra.engine.evaluations import Evaluations, scalars
from mae_hydra.engine.interrupt import Interruption
from mae_hydra.engine.state import State
from mae_hydra.errors import UserError
from mae_hydra.types import Evaluation


class Told:
    """Due at every `every`-th step and at the last; finds `found`."""

    def __init__(self, every: int, found: Evaluation | None) -> None:
        self.every, self.found = every, found

    def due(self, step: int, total_steps: int) -> bool:
        return step % self.every == 0 or step == total_steps

    def run(self, model: torch.nn.Module, step: int) -> Any:
        self.told = (step, model.training, torch.is_grad_enabled(), model(torch.ones(1, 1)).dtype)
        return self.found


def at(step: int, total: int = 10, precision: str = "fp32", **evaluators: Any) -> dict[str, Evaluation] | None:
    model, chosen = torch.nn.Linear(1, 1), settings(precision=precision)
    state = State(model, torch.optim.SGD(model.parameters(), lr=1.0), chosen.scaler(), step=step)
    return Evaluations(evaluators, total, chosen, 7).run(state, Interruption())


FOUND = Evaluation({"loss": 1.0}, tables={"classes": []}, pictures={"first": None})


def test_every_evaluator_draws_of_its_own_at_every_step_in_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[tuple[Any, ...]] = []
    monkeypatch.setattr(module, "seed_device", lambda *words: seeded.append(words))
    monkeypatch.setattr(module, "rank", lambda: 3)
    evaluators = {"a": Told(2, Evaluation({"x": 1.0})), "b": Told(3, Evaluation({"y": 2.0}))}
    assert [list(at(step, **evaluators) or {}) for step in (2, 3, 5, 6, 10)] == [
        ["a"],
        ["b"],
        [],
        ["a", "b"],
        ["a", "b"],
    ]
    assert seeded[:4] == [(7, "evaluate", name, step, 3) for name, step in (("a", 2), ("b", 3), ("a", 6), ("b", 6))]


def test_all_scalars_are_told_by_name() -> None:
    found = at(2, a=Told(2, Evaluation({"x": 1})), b=Told(2, Evaluation({"y": 2.5, "z": torch.tensor(3.0)})))
    assert found is not None
    told = scalars(found)
    assert told == {"val/x": 1.0, "val/y": 2.5, "val/z": 3.0}
    assert {type(value) for value in told.values()} == {float}  # a tensor would wait for its device at every use


def test_an_evaluator_computes_in_the_precision_of_the_training_and_without_gradients() -> None:
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        evaluator = Told(2, FOUND)
        at(4, precision=precision, a=evaluator)
        assert evaluator.told == (4, False, False, dtype)


def test_where_one_is_cut_short_nothing_was_found() -> None:
    assert at(2, a=Told(2, FOUND), b=Told(2, None)) is None


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (Evaluation({"loss": 2.0, "x": 1.0}), "evaluator c reports val/loss, and so does another"),
        (Evaluation({"x": 1.0}, tables={"classes": []}), "evaluator c reports the table classes"),
        (Evaluation({"x": 1.0}, pictures={"first": None}), "evaluator c reports the picture first"),
        (Evaluation({"classes": 1.0}, tables={"first": []}, pictures={"loss": None}), ""),
    ],
)
def test_what_two_evaluators_call_alike_is_refused(other: Evaluation, said: str) -> None:
    evaluators = {"a": Told(2, FOUND), "b": Told(2, Evaluation({"between": 1.0})), "c": Told(2, other)}
    if said:
        with pytest.raises(UserError, match=said):
            at(2, **evaluators)
    else:
        assert list(at(2, **evaluators) or {}) == ["a", "b", "c"]


class Casts(TorchDispatchMode):
    """Counts tensors that become bf16, by their shape."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten._to_copy.default and kwargs.get("dtype") is torch.bfloat16:
            self.shapes.append(tuple(args[0].shape))
        return function(*args, **(kwargs or {}))


class Thrice:
    """Calls the model three times, with other numbers each time."""

    def due(self, step: int, total_steps: int) -> bool:
        return True

    def run(self, model: torch.nn.Module, step: int) -> Evaluation:
        with Casts() as casts:
            self.found = [model(torch.full((2, 1), number)) for number in (0.5, 1.5, -2.5)]
        self.weights = casts.shapes.count((1, 1))
        return Evaluation({"x": 1.0})


def test_weights_are_cast_once_an_evaluation_and_at_every_call_without_the_cache() -> None:
    cached, plain = Thrice(), Thrice()
    for evaluator in (cached, plain):
        torch.manual_seed(0)
        torch.set_autocast_cache_enabled(evaluator is cached)
        try:
            at(1, precision="bf16", a=evaluator)
        finally:
            torch.set_autocast_cache_enabled(True)
    assert (cached.weights, plain.weights) == (1, 3)
    assert all(map(torch.equal, cached.found, plain.found))
    assert {values.dtype for values in cached.found} == {torch.bfloat16}

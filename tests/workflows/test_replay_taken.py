"""How a step is taken again: with which seeds, rates and batches, and what is left of the model afterwards."""

import math
import random
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mae_hydra import products
from mae_hydra.errors import UserError
from mae_hydra.types import Batch
from mae_hydra.workflows import replay, replay_step
from mae_hydra.workflows.replayed import Found, Shown

DATA: Any = None


@dataclass(frozen=True)
class Engine:
    """What of the engine's settings a replay looks at."""

    clip_grad: float | None = 0.1
    sharded: bool = False
    torch_device: str = "cpu"


@pytest.mark.parametrize("sharded", [False, True])
def test_steps_before_are_computed_as_they_were_and_the_last_one_before_its_gradient_is_clipped(
    monkeypatch: pytest.MonkeyPatch, sharded: bool
) -> None:
    model = torch.nn.Linear(2, 1)
    model.eval()
    groups = [{"params": [model.weight], "lr": 0.1}, {"params": [model.bias], "lr": 0.4}]
    state = SimpleNamespace(model=model, step=3, optimizer=torch.optim.SGD(groups))
    drawn: list[int] = []

    def batches(step: int) -> Iterator[Batch]:
        for number in range(2 * step, 99):
            drawn.append(number)
            yield Batch(torch.full((number, 3, 2, 2), number))

    steps: list[Any] = []

    def train_step(state: Any, forward: Any, given: Iterator[Batch], *, accumulate: int, settings: Engine) -> Any:
        assert model.training
        steps.append((state.step, settings.clip_grad, [len(next(given).images) for _ in range(accumulate)]))
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 3.0)
            parameter.data += 1
        state.step += 1
        return f"result {state.step}"

    seeds: list[Any] = []
    rates: list[float] = []
    looked: list[Any] = []
    for what, stub in {
        "train_step": train_step, "seed_device": lambda *told: seeds.append(told), "rank": lambda: 1,
        "set_learning_rates": lambda optimizer, factor: rates.append(factor), "world_size": lambda: 2,
        "_images": lambda seen, model, settings, config, data, cheap: looked.append(
            (len(seen), model.bias.item(), settings.clip_grad, cheap)
        ) or ["image"],
        "_found": lambda *told: told,
    }.items():  # fmt: skip
        monkeypatch.setattr(replay_step, what, stub)
    made: Any = SimpleNamespace(
        state=state, schedule=SimpleNamespace(factor=lambda step: step / 10), forward=None,
        stream=SimpleNamespace(batches=batches), cut=SimpleNamespace(accumulate=2),
    )  # fmt: skip
    before = model.bias.item()
    config: Any = SimpleNamespace(seed=5)
    settings: Any = Engine(sharded=sharded)
    result, norms, found, rate, images, numbers = replay_step._take(made, settings, config, None, 6)  # type: ignore
    assert steps == [(3, 0.1, [6, 7]), (4, 0.1, [8, 9]), (5, None, [10, 11])]
    assert drawn == list(range(6, 12))
    assert seeds == [(5, "step", step, 1) for step in (3, 4, 5)]
    assert rates == [0.3, 0.4, 0.5]
    assert (result, found, rate, images, numbers) == ("result 6", model, 0.4, ["image"], 2 * (10 + 11))
    assert norms == {"weight": pytest.approx(3 * 2**0.5), "bias": 3.0}
    # Images are looked at with the weights from before the step, where a whole model can be set back.
    left = before + (3 if sharded else 2)
    assert looked == [(2, pytest.approx(left), 0.1, not sharded)]
    assert model.bias.item() == pytest.approx(left)


def test_the_loss_of_one_image_is_of_its_own_pixels_in_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    restored: list[Any] = []
    monkeypatch.setattr(replay_step, "_restore", restored.append)
    labels = torch.arange(3)[:, None, None].expand(3, 2, 2)
    batch = Batch(torch.arange(3.0)[:, None, None, None].expand(3, 3, 2, 2), labels, torch.tensor([7, 8, 9]))
    each = replay_step.Seen(batch, ("generators",))
    asked: list[Any] = []
    model: Any = SimpleNamespace(predicted_share=1.0, loss=lambda batch, **more: asked.append((batch, more)) or "loss")
    data: Any = SimpleNamespace(ignore_index=99)
    assert replay_step._loss_of(each, model, 1, None, "segment", data) == "loss"
    [(given, more)] = asked
    assert given.labels[:, 0, 0].tolist() == [99, 1, 99]
    assert (given.images is batch.images, given.index is batch.index, more) == (True, True, {})
    assert restored == [("generators",)]
    keep = torch.tensor([[0], [1], [2]])
    assert replay_step._loss_of(each, model, 2, keep, "pretrain", data) == "loss"
    given, more = asked[1]
    assert (given.images.unique().tolist(), given.labels, more["keep"].tolist()) == ([2.0], None, [[2]])
    assert replay_step._loss_of(each, model, 2, None, "pretrain", data) is None
    model.predicted_share = 0.5
    assert replay_step._loss_of(each, model, 2, keep, "pretrain", data) is None
    single = replay_step.Seen(Batch(batch.images, torch.arange(3)), ())
    assert replay_step._loss_of(single, model, 1, None, "classify", data) is None
    assert len(asked) == 2


def test_a_replay_takes_the_step_with_what_computed_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[Any] = []
    config = {"engine": {"device": "auto"}, "init_from": "mae.pth"}
    start = {"device": "cpu", "processes": 1}
    state: dict[str, Any] = {"from": Path("a.pt"), "world": 1, "processes": 1, "same": True}
    for name, stub in {
        "_beginning": lambda run, step: replay.Beginning(state["from"], 3 if state["from"] else 0, config),
        "_changed": lambda config, changes, run: {**config, "engine": {**config["engine"]}},
        "start_of": lambda run, step: state.get("start", start),
        "same_weights": lambda run, path, download: made.append((path, download)) or state["same"],
        "processes_of": lambda start, run: state["processes"], "world_size": lambda: state["world"],
        "take_again": lambda config, run, **told: made.append((config["engine"]["device"], told)),
        "run_in_processes": lambda count, config, run, replay: made.append((count, replay["step"])),
    }.items():  # fmt: skip
        monkeypatch.setattr(replay, name, stub)

    def again(*words: str, **changes: Any) -> list[Any]:
        made.clear()
        state.update({"from": Path("a.pt"), "world": 1, "processes": 1, "same": True, "start": start} | changes)
        assert replay.replay(tmp_path, ["step=5", *words]) == tmp_path / "replay/step-5"
        return list(made)

    told = {"step": 5, "checkpoint": str(Path("a.pt").absolute()), "start": start}
    assert again() == [("cpu", told)]
    assert again(start=None) == [("auto", told | {"start": {}})]
    # The initial weights are those that the run began from; an address is only fetched where it is typed.
    begun = ("cpu", told | {"checkpoint": None})
    assert again(**{"from": None}) == [("mae.pth", False), begun]
    assert again("init_from=x", **{"from": None}) == [("mae.pth", True), begun]
    with pytest.raises(UserError, match=r"mae\.pth is not the file that the run began from"):
        again(**{"from": None, "same": False})
    assert again("data.root=x", **{"from": None}) == [("mae.pth", False), begun]
    assert again(same=False) == [("cpu", told)]  # the checkpoint counts
    assert again(start={"device": "cuda"}) == [("auto", told | {"start": {"device": "cuda"}})]
    introduced: list[Any] = []
    monkeypatch.setattr(replay, "_introduce", lambda *given: introduced.append(given[1:]))
    assert again(processes=2) == [(2, 5)]
    monkeypatch.setattr(replay, "is_main", lambda: False)
    assert again() == [("cpu", told)]
    [(beginning, step, processes)] = introduced
    assert (beginning.step, step, processes) == (3, 5, 2)
    monkeypatch.setattr(replay, "is_main", lambda: True)
    assert again(processes=2) == [(2, 5)]
    assert again(processes=2, world=2) == [("cpu", told)]
    for world, processes in ((2, 4), (4, 2), (2, 1)):
        with pytest.raises(UserError, match=rf"was computed by {processes} process\(es\), and there are {world}"):
            again(world=world, processes=processes)


def test_where_a_replay_begins_and_what_is_computed_again_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    for checkpoint, done, processes in (
        (None, 0, 1),
        (Path("x/last.pt"), 4, 2),
        (Path("x/last.pt"), 3, 1),
        (None, 2, 1),
    ):
        replay._introduce(Path("run"), replay.Beginning(checkpoint, done, {}), 5, processes)
    assert capsys.readouterr().out.splitlines() == [
        "step 5 of run, from the initial weights, after 4 steps computed again",
        "step 5 of run, from last.pt, by 2 processes",
        "step 5 of run, from last.pt, after 1 step computed again",
        "step 5 of run, from the initial weights, after 2 steps computed again",
    ]


def test_a_step_is_assembled_by_what_the_start_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}
    filled: list[Any] = []
    refused: list[Any] = []
    shown: list[Any] = []
    applied: list[int] = []
    settings = SimpleNamespace(
        apply=lambda: applied.append(1), torch_device=torch.device("cpu"), resolved_precision="bf16"
    )
    checkpoints = SimpleNamespace(fill=lambda state, read, path: filled.append((state, read, path)))
    assembled = SimpleNamespace(checkpoints=checkpoints, state="state", settings="settled")
    threads: list[int] = []
    for name, stub in {
        "build": lambda node, key: settings if key == "engine" else DATA, "session": lambda device: nullcontext(),
        "_refuse_other_images": lambda *told: refused.append(told[2:]),
        "read_training_state": lambda path: f"read {path}",
        "assemble": lambda node, run, data, settings, **told: (made.update(told), assembled)[1],
        "_take": lambda made, settings, node, data, step: SimpleNamespace(means={"loss": step + 0.5}, by=settings),
        "write_and_show": lambda found, data, run, step, node, **more: shown.append((found.by, run, step, more)),
    }.items():  # fmt: skip
        monkeypatch.setattr(replay_step, name, stub)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)

    def again(checkpoint: str | None, **start: Any) -> dict[str, Any]:
        assert replay_step.take_again({}, Path("run"), step=5, checkpoint=checkpoint, start=start) == 5.5
        return dict(made)

    monkeypatch.setattr(replay_step, "literal", lambda config: SimpleNamespace(data=None, engine=None))
    facts = {"steps_per_epoch": 7.5, "class_weights": [1.0, 2.0], "precision": "fp32"}
    assert again(None, data=facts, threads=3) == facts | {"from_the_beginning": True}
    assert (filled, threads) == ([], [3])
    assert again("a.pt", threads="3") == {
        "steps_per_epoch": None, "class_weights": None, "precision": "bf16", "from_the_beginning": False,
    }  # fmt: skip
    assert (filled, threads) == ([("state", "read a.pt", Path("a.pt"))], [3])
    assert refused == [(facts, 5, Path("run")), ({}, 5, Path("run"))]
    starts = [{"data": facts, "threads": 3}, {"threads": "3"}]
    assert shown == [
        ("settled", Path("run"), 5, {"checkpoint": path, "start": start})
        for path, start in zip((None, "a.pt"), starts, strict=True)
    ]
    assert applied == [1, 1]
    monkeypatch.setattr(replay_step, "is_main", lambda: False)
    again(None)
    assert len(shown) == 2  # others write nothing
    for told, library in (({"products": "onednn"}, "onednn"), ({}, "torch")):  # as the start that is taken again
        again(None, data=told)
        assert products.taken() == library


def test_the_first_images_of_all_micro_batches_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_step, "cast_parameters", lambda model, precision: nullcontext())
    monkeypatch.setattr(replay_step, "_name", lambda data, index: f"image {index}")
    settings: Any = SimpleNamespace(autocast=nullcontext, precision="fp32")
    config: Any = SimpleNamespace(task="classify")
    data: Any = SimpleNamespace(mean=(0.0,) * 3, std=(1.0,) * 3)

    def batch(first: int, count: int) -> replay_step.Seen:
        numbers = torch.arange(first, first + count)
        images = numbers.to(torch.uint8).view(-1, 1, 1, 1).expand(count, 3, 2, 2)
        return replay_step.Seen(Batch(images, numbers % 5, numbers + 100), ())

    def looked(*seen: replay_step.Seen) -> list[Shown]:
        return replay_step._images(list(seen), torch.nn.Identity(), settings, config, data, cheap=True)

    images = looked(batch(0, 40), batch(40, 40))
    assert [(each.index, each.name, each.labels, int(each.pixels[0, 0, 0])) for each in images] == [
        (number + 100, f"image {number + 100}", number % 5, number) for number in range(64)
    ]
    assert {(each.loss, each.counted, each.visible, each.process) for each in images} == {(None, None, None, 0)}
    opened: list[Any] = []
    settings.autocast = lambda: nullcontext(opened.append("autocast"))
    monkeypatch.setattr(replay_step, "cast_parameters", lambda model, precision: nullcontext(opened.append(precision)))
    losses = iter([(6.0, 4.0), (1.0, 0.0), None])

    def loss_of(each: Any, model: Any, place: int, keep: Any, task: str, data: Any) -> Any:
        assert (keep, task) == ("keep", "classify")
        found = next(losses)
        return found and SimpleNamespace(total=torch.tensor(found[0]), count=torch.tensor(found[1]))

    monkeypatch.setattr(replay_step, "_loss_of", loss_of)
    monkeypatch.setattr(replay_step, "_what_was_seen", lambda *told: ("keep", np.arange(3)))
    maps = replay_step.Seen(Batch(torch.zeros(3, 3, 2, 2), torch.ones(3, 2, 2, dtype=torch.uint8)), ())
    found = looked(maps)
    assert [(each.loss, each.counted, each.visible, each.index, each.name) for each in found] == [
        (1.5, 4.0, 0, None, ""), (None, 0.0, 1, None, ""), (None, None, 2, None, ""),
    ]  # fmt: skip
    assert opened == ["autocast", "fp32"]
    assert all(np.array_equal(each.labels, np.ones((2, 2))) for each in found)  # type: ignore[arg-type]
    monkeypatch.setattr(replay_step, "_what_was_seen", lambda *told: (None, None))
    monkeypatch.setattr(replay_step, "_loss_of", lambda *told: None)
    monkeypatch.setattr(replay_step, "world_size", lambda: 16)
    assert len(looked(batch(0, 40))) == 4
    monkeypatch.setattr(replay_step, "world_size", lambda: 100)
    assert len(looked(batch(0, 40))) == 1


def test_means_are_of_all_counted_elements_and_generators_are_set_back() -> None:
    result: Any = SimpleNamespace(
        count=torch.tensor(4.0), grad_norm=torch.tensor(2.5),
        sums={"loss": torch.tensor(6.0), "auxiliary": torch.tensor(1.0)},
    )  # fmt: skip
    model: Any = SimpleNamespace(depth_of=lambda name: {"a": 0, "b": 3}[name])
    image: Any = "image"
    made = replay_step._found(result, {"a": 1.0, "b": 2.0}, model, 0.1, [image], 9)
    assert made == Found(
        {"loss": 1.5, "auxiliary": 0.25}, 4.0, 0.1, 2.5, {"a": 1.0, "b": 2.0}, {"a": 0, "b": 3}, [image], 9
    )
    result.count = torch.tensor(0.0)
    assert all(map(math.isnan, replay_step._found(result, {}, model, 0.1, [], 9).means.values()))
    before = replay_step._generators()
    drawn = torch.rand(1).item(), random.random()
    replay_step._restore(before)
    assert (torch.rand(1).item(), random.random()) == drawn
    device, seen = torch.device("cpu"), []  # type: ignore[var-annotated]
    given = replay_step._keeping(iter([Batch(torch.zeros(1, 3, 2, 2))] * 2), device, seen)
    states = []
    for batch in given:
        states.append(torch.get_rng_state())  # as the step begins
        assert seen[-1].batch is not None
        assert batch.images.shape == (1, 3, 2, 2)
        torch.rand(1)
    assert [torch.equal(each.generators[0], state) for each, state in zip(seen, states, strict=True)] == [True, True]


def test_an_image_has_the_name_that_it_has_in_the_training_set_and_one_that_cannot_be_read_none() -> None:
    class Images:
        def __getitem__(self, index: int) -> Any:
            if index == 1:
                raise UserError("damaged")
            return SimpleNamespace(name=f"image {index}")

    data: Any = SimpleNamespace(train=Images(), validation=[])
    assert [replay_step._name(data, index) for index in (0, 1, 2)] == ["image 0", "(unreadable)", "image 2"]


def test_a_step_of_other_images_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    now = {"train": {"images": 5, "contents": "a"}, "root": "here"}
    monkeypatch.setattr(replay_step, "facts_of", lambda config, data: now)
    asked: list[Any] = []
    monkeypatch.setattr(replay_step, "differ", lambda before, now, split: asked.append(split) or before != now)
    replay_step._refuse_other_images(DATA, DATA, {}, 3, Path("run"))  # of an older run nothing is known
    replay_step._refuse_other_images(DATA, DATA, now, 3, Path("run"))
    with pytest.raises(
        UserError, match=r"step 3 of run was computed on 7 images in there, and these are 5 others in here"
    ):
        replay_step._refuse_other_images(DATA, DATA, {"train": {"images": 7}, "root": "there"}, 3, Path("run"))
    assert asked == ["train"] * 2
    monkeypatch.setattr(replay_step, "is_main", lambda: False)
    told = [None, "step 3 is of others"]
    monkeypatch.setattr(replay_step, "broadcast_object", lambda own: told.pop(0))
    other = {"train": {"images": 7}, "root": "there"}
    replay_step._refuse_other_images(DATA, DATA, other, 3, Path("run"))  # the first process looks
    with pytest.raises(UserError, match="step 3 is of others"):
        replay_step._refuse_other_images(DATA, DATA, now, 3, Path("run"))
    assert asked == ["train"] * 2


def test_progress_is_said_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for last in (120, 1000):
        for done in range(1, last):
            replay_step._say_progress(done, last)
    said = [int(line.rpartition(" ")[2]) for line in capsys.readouterr().out.splitlines()]
    assert said == [50, 100, 100, 200, 300, 400, 500, 600, 700, 800, 900]
    monkeypatch.setattr(replay_step, "is_main", lambda: False)
    replay_step._say_progress(50, 120)
    assert capsys.readouterr().out == ""

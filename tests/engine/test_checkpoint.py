"""Checkpoints survive what happens to files."""

import os
import threading
from pathlib import Path

import pytest
import torch
from raising import raising
from tiny_training import TinySegmenter, adamw, settings
from torch import nn

from mae_hydra.archive import read_training_state
from mae_hydra.engine import Checkpoints, State, moving_average
from mae_hydra.engine import checkpoint as module
from mae_hydra.engine.checkpoint_writer import Writer, write
from mae_hydra.errors import UserError


def state(step: int = 0, model: nn.Module | None = None) -> State:
    torch.manual_seed(step)
    model = model or TinySegmenter(norm=True)
    return State(model, adamw(model), settings().scaler(), step=step, evaluated=step)


def checkpoints(directory: Path, **changes) -> Checkpoints:
    """Written at once, so that a test sees what a save did; `background` is tested by itself."""
    best = {"save_best": True, "monitor": "val/mIoU", "mode": "max"}
    return Checkpoints(
        directory, **({"every": 10, "keep_last": 2, "keep_every": None, "background": False} | best | changes)
    )


def steps_kept(directory: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("step-")) for path in directory.glob("step-*.pt"))


def step_in(path: Path) -> int:
    return torch.load(path, weights_only=True)["step"]


def test_without_a_checkpoint_nothing_is_restored(tmp_path):
    fresh = state(3)
    before = {name: value.clone() for name, value in fresh.model.state_dict().items()}
    assert checkpoints(tmp_path).restore(fresh) is False
    assert fresh.step == 3
    assert all(torch.equal(before[name], value) for name, value in fresh.model.state_dict().items())


@pytest.mark.parametrize("failure", ["write", "sync", "rename"])
def test_a_save_that_fails_leaves_the_former_checkpoint(tmp_path, monkeypatch, failure):
    """A full disk in the middle of the write, at the sync, and a crash just before the rename."""
    kept = checkpoints(tmp_path)
    kept.save(state(1), is_best=True)

    def write_half(content, file):
        file.write(b"half a checkpoint")
        raise OSError(28, "No space left on device")

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(
            *{"write": (torch, "save", write_half), "sync": (os, "fsync", fail), "rename": (os, "replace", fail)}[
                failure
            ]
        )
        with pytest.raises(UserError, match=r"step 2 could not be written .*No space left on device.*; make room"):
            kept.save(state(2), is_best=failure == "rename", last=True)
    assert step_in(tmp_path / "last.pt") == step_in(tmp_path / "best.pt") == 1
    kept.save(state(3), last=True)
    names = ["best.pt", "last.pt", "step-00000001.pt", "step-00000003.pt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize("background", [False, True])
def test_training_goes_on_where_the_disk_is_full_and_the_next_best_is_a_best_again(
    tmp_path, monkeypatch, capsys, background
):
    kept = checkpoints(tmp_path, background=background)
    assert kept.improves(1, {"val/mIoU": 1.0})
    kept.save(state(1), is_best=True)
    kept.close()
    assert kept.improves(2, {"val/mIoU": 3.0})
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", raising(OSError(28, "No space left on device")))
        kept.save(state(2), is_best=True)
        kept.close()
    assert "step 2 could not be written" in capsys.readouterr().out
    assert step_in(tmp_path / "best.pt") == 1
    assert kept.improves(3, {"val/mIoU": 2.0})  # better than what is on the disk
    kept.save(state(3), is_best=True, last=True)
    assert (step_in(tmp_path / "best.pt"), step_in(tmp_path / "last.pt")) == (3, 3)


@pytest.mark.parametrize("background", [False, True])
def test_what_torch_says_of_a_full_disk_is_told_as_that(tmp_path, monkeypatch, background):
    """Its writer raises a RuntimeError while it handles the OSError."""

    def confused(content, file):
        try:
            raise OSError(28, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0\nmore") from None

    def broken(content, file):
        raise RuntimeError("unexpected pos 64 vs 0\nmore")

    writer = Writer(background=background)
    for failing, said in ((confused, "No space left on device"), (broken, "unexpected pos 64 vs 0")):
        monkeypatch.setattr(torch, "save", failing)
        writer.begin({"a": torch.ones(1)}, [tmp_path / "a.pt"])
        assert writer.busy
        error = writer.end()
        assert isinstance(error, OSError)
        assert str(error).endswith(said)
        assert not writer.busy
    assert list(tmp_path.iterdir()) == []


def test_what_a_crash_has_left_of_a_file_goes_with_the_next(tmp_path):
    (tmp_path / ".step-1.pt.01234567.89abcdef-1.partial").write_bytes(b"half")
    write({"a": 1}, [tmp_path / "best.pt", tmp_path / "last.pt"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "last.pt"]
    assert os.path.samefile(tmp_path / "best.pt", tmp_path / "last.pt")


def test_a_file_written_in_the_background_holds_the_state_at_its_save(tmp_path, monkeypatch):
    """Training changes the parameters while the thread writes."""
    kept, gate, written = checkpoints(tmp_path, background=True), threading.Event(), torch.save
    monkeypatch.setattr(torch, "save", lambda content, file: (gate.wait(60), written(content, file)))
    saved = state(1)
    before = {name: value.clone() for name, value in saved.model.state_dict().items()}
    kept.save(saved)
    with torch.no_grad():
        for parameter in saved.model.parameters():
            parameter.zero_()
    saved.step = 2
    assert not kept.last_path.exists()
    gate.set()
    kept.close()
    content = read_training_state(kept.last_path)
    assert content["step"] == 1
    assert all(torch.equal(value, before[name]) for name, value in content["model"].items())


def test_the_newest_and_the_milestones_are_kept(tmp_path):
    kept = checkpoints(tmp_path, keep_last=2, keep_every=30)
    for step in range(10, 101, 10):
        kept.save(state(step))
    kept.close()
    assert steps_kept(tmp_path) == [30, 60, 90, 100]


def test_a_milestone_of_a_future_that_was_left_goes_too(tmp_path):
    kept = checkpoints(tmp_path, keep_last=1, keep_every=20)
    for step in (10, 20, 30, 40):
        kept.save(state(step))
    kept.save(state(25), last=True)
    assert steps_kept(tmp_path) == [20, 25]


def test_a_best_one_that_is_not_to_be_saved_is_remembered_all_the_same(tmp_path):
    kept = checkpoints(tmp_path, save_best=False)
    assert [kept.improves(step, {"val/mIoU": value}) for step, value in ((1, 2.0), (2, 3.0), (3, 1.0))] == [False] * 3
    assert kept.best == {"value": 3.0, "step": 2}


def test_where_the_best_one_alone_is_left_it_is_gone_on_from(tmp_path):
    kept = checkpoints(tmp_path)
    kept.save(state(10), is_best=True)
    kept.save(state(20), last=True)
    for path in (kept.last_path, *tmp_path.glob("step-*.pt")):
        path.unlink()
    (tmp_path / "step-x.pt").write_bytes(b"")  # of somebody else
    restored = state()
    assert checkpoints(tmp_path).exist
    assert checkpoints(tmp_path).restore(restored)
    assert restored.step == 10


def test_what_was_saved_after_the_step_that_a_run_went_back_to_is_dropped(tmp_path):
    kept = checkpoints(tmp_path, keep_last=3)
    for step in (10, 20, 30):
        kept.save(state(step))
    kept.save(state(15), last=True)
    assert steps_kept(tmp_path) == [10, 15]


@pytest.mark.parametrize("harm", ["truncated", "flipped", "gone"])
def test_a_damaged_last_checkpoint_falls_back_to_the_one_before_it(tmp_path, capsys, harm):
    kept = checkpoints(tmp_path)
    kept.save(state(10))
    kept.save(state(20), last=True)
    content = kept.last_path.read_bytes()
    place = content.index(state(20).model.features.weight.detach().numpy().tobytes()) + 5
    flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    {
        "truncated": lambda: kept.last_path.write_bytes(content[:-9]),
        "flipped": lambda: kept.last_path.write_bytes(flipped),
        "gone": lambda: (kept.last_path.unlink(), (tmp_path / "step-00000020.pt").unlink()),
    }[harm]()
    again, restored = checkpoints(tmp_path), state()
    assert again.exist
    assert again.restore(restored)
    assert restored.step == 10
    assert ("last.pt is damaged; going back" in capsys.readouterr().out) == (harm != "gone")
    expected = state(10).model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in restored.model.state_dict().items())


def test_the_moving_average_is_part_of_the_state(tmp_path):
    def averaged() -> State:
        made = state(1)
        made.average = moving_average(made.model, 0.9)
        return made

    first, second = averaged(), averaged()
    for _ in range(3):
        with torch.no_grad():
            first.model.features.weight.add_(1)
        first.average.update_parameters(first.model)
    checkpoints(tmp_path).save(first, last=True)
    assert checkpoints(tmp_path).restore(second)
    assert int(second.average.n_averaged) == 3
    for ours, theirs in zip(first.average.module.parameters(), second.average.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_best_is_what_was_saved_then_although_last_goes_on(tmp_path):
    kept = checkpoints(tmp_path)
    kept.save(state(1), is_best=True)
    kept.save(state(2))
    assert (step_in(tmp_path / "best.pt"), step_in(tmp_path / "last.pt")) == (1, 2)
    kept.save(state(3), is_best=True)
    assert (step_in(tmp_path / "best.pt"), step_in(tmp_path / "last.pt")) == (3, 3)
    kept.write(state(4))  # after an error
    assert (step_in(tmp_path / "best.pt"), step_in(tmp_path / "last.pt")) == (3, 4)


def test_a_crash_between_the_two_renames_does_not_endanger_best(tmp_path, monkeypatch):
    """Then best.pt is the same file as the left-over temporary one, into which the next save must not write."""
    kept = checkpoints(tmp_path)
    kept.save(state(1))
    rename = os.replace

    def only_best(source, target):
        if Path(target).name == "last.pt":
            raise OSError(5, "crash")
        rename(source, target)

    def write_half(content, file):
        file.write(b"half a checkpoint")
        raise OSError(5, "crash")

    for broken in ((os, "replace", only_best), (torch, "save", write_half)):
        with monkeypatch.context() as patch:
            patch.setattr(*broken)
            with pytest.raises(UserError, match="crash"):
                kept.save(state(2), is_best=True, last=True)
    assert (step_in(tmp_path / "last.pt"), step_in(tmp_path / "best.pt")) == (1, 2)


def test_best_is_copied_where_there_are_no_hard_links(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    kept = checkpoints(tmp_path)
    kept.save(state(1), is_best=True)
    kept.save(state(2))
    assert (step_in(tmp_path / "best.pt"), step_in(tmp_path / "last.pt")) == (1, 2)


@pytest.mark.parametrize(
    ("mode", "values", "best"),
    [
        ("max", [1.0, 3.0, 3.0, 2.0], [True, True, False, False]),
        ("min", [3.0, 1.0, float("nan"), 0.5], [True, True, False, True]),
        ("max", [float("nan"), -1.0, float("nan"), 0.0], [False, True, False, True]),
    ],
)
def test_best_follows_the_monitor_and_its_mode(tmp_path, mode, values, best):
    kept = checkpoints(tmp_path, mode=mode)
    assert [kept.improves(step, {"val/mIoU": value, "val/loss": 9.0}) for step, value in enumerate(values)] == best
    assert kept.best == {
        "step": max(s for s, b in enumerate(best) if b),
        "value": (max if mode == "max" else min)(v for v in values if v == v),
    }
    assert kept.improves(9, {"val/other": 1e9}) is False


def test_the_best_so_far_is_remembered_over_a_restart(tmp_path, monkeypatch, capsys):
    kept = checkpoints(tmp_path)
    assert kept.improves(1, {"val/mIoU": 50.0})
    kept.save(state(1), is_best=True)
    again = checkpoints(tmp_path)
    assert again.restore(state())
    assert again.improves(2, {"val/mIoU": 49.0}) is False
    assert again.improves(3, {"val/mIoU": 51.0}) is True
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", raising(OSError(28, "No space left on device")))
        again.save(state(3), is_best=True)
        again.close()
    assert again.best == {"value": 50.0, "step": 1}  # that of the disk
    assert "step 3 could not be written" in capsys.readouterr().out


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_checkpoint_is_one_clear_sentence(tmp_path, share):
    kept = checkpoints(tmp_path)
    kept.save(state(1))
    content = kept.last_path.read_bytes()
    kept.last_path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"last.pt is damaged or no checkpoint.*resume=never"):
        kept.restore(state())


class Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_a_pickle_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Evil(), "optimizer": {}, "step": 1}, tmp_path / "last.pt")
    with pytest.raises(UserError, match="damaged or no checkpoint"):
        checkpoints(tmp_path).restore(state())
    assert not (tmp_path / "executed").exists()


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save({"weights": torch.zeros(3)}, tmp_path / "last.pt")
    with pytest.raises(UserError, match="no checkpoint of a training run"):
        checkpoints(tmp_path).restore(state())


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    checkpoints(tmp_path).save(state(1))
    with pytest.raises(UserError, match="does not fit this run"):
        checkpoints(tmp_path).restore(state(model=TinySegmenter(norm=False)))


def test_parameter_groups_in_another_order_are_refused(tmp_path):
    """torch would load the state of one parameter into another of the same shape."""
    checkpoints(tmp_path).save(state(1))
    other = state()
    other.optimizer.param_groups[0]["names"].reverse()
    with pytest.raises(UserError, match="other parameter groups"):
        checkpoints(tmp_path).restore(other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"every": 0}, "every must be at least 1 step, or null for the end of the run only, got 0"),
        ({"keep_last": 0}, "keep_last must be at least 1, got 0"),
        ({"keep_every": 0}, r"keep_every must be a multiple of every \(10\), or null for none, got 0"),
        ({"keep_every": 10, "every": None}, r"keep_every must be a multiple of every \(None\)"),
        ({"keep_every": 15}, r"keep_every must be a multiple of every \(10\), or null for none, got 15"),
        ({"mode": "best"}, "mode must be max or min, got 'best'"),
    ],
)
def test_bad_values_are_named(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        checkpoints(tmp_path, **change)


def test_a_null_clock_saves_only_at_the_end(tmp_path):
    assert not any(checkpoints(tmp_path, every=None).due(step) for step in range(1, 100))
    assert [step for step in range(1, 31) if checkpoints(tmp_path).due(step)] == [10, 20, 30]


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["optimizer"].update(state={0: {"exp_avg": torch.zeros(1).expand(10**9)}}),
        lambda c: c["model"].update({next(iter(c["model"])): torch.zeros(1).expand(10**9)}),
        lambda c: c["model"].update({next(iter(c["model"])): torch.zeros(3, 3).to_sparse()}),
        lambda c: c.update(step="x", window=5),
        lambda c: c.update(window={"a": None}),
        lambda c: c.update(optimizer=[]),
        lambda c: c["optimizer"].update(param_groups=[]),
        lambda c: c["optimizer"].update(param_groups=5),
        lambda c: c.update(model=5),
    ],
)
def test_an_odd_checkpoint_to_go_on_from_is_one_sentence(tmp_path, change):
    checkpoints(tmp_path).save(state(), last=True)
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    change(content)
    for path in tmp_path.glob("*.pt"):
        path.unlink()
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(UserError, match=r"last\.pt") as caught:
        checkpoints(tmp_path).restore(state())
    assert "\n" not in str(caught.value)


def test_the_newest_whole_one_before_a_damaged_one_is_gone_back_to(tmp_path, capsys):
    """Not the best, and nothing that another start has left beyond the last."""
    kept = checkpoints(tmp_path, keep_last=3)
    for step in (10, 20, 30):
        kept.save(state(step), is_best=step == 10)
    write({"step": 99}, [tmp_path / "step-00000099.pt"])
    assert [step_in(path) for path in checkpoints(tmp_path)._candidates()] == [30, 99, 20, 10]
    for name in ("last.pt", "step-00000099.pt"):
        (tmp_path / name).write_bytes(b"damaged")
    restored = state()
    assert checkpoints(tmp_path).restore(restored)
    assert restored.step == 20
    for name in ("step-00000020.pt", "step-00000010.pt"):
        (tmp_path / name).unlink()
    assert checkpoints(tmp_path).restore(restored)
    assert restored.step == 10  # of best.pt
    assert "last.pt is damaged; going back" in capsys.readouterr().out


def test_the_main_process_writes_and_all_wait_for_the_last_one(tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(module, "barrier", lambda: waited.append(kept.exist))
    kept = checkpoints(tmp_path)
    monkeypatch.setenv("RANK", "1")
    kept.save(state(1), last=True)
    monkeypatch.setenv("RANK", "0")
    kept.save(state(2))
    kept.save(state(3), last=True)
    assert waited == [False, True]
    assert steps_kept(tmp_path) == [2, 3]


def test_what_is_best_is_what_the_main_process_says(tmp_path, monkeypatch):
    kept = checkpoints(tmp_path)
    for theirs in (False, True):
        monkeypatch.setattr(module, "broadcast_object", lambda own, theirs=theirs: theirs)
        assert kept.improves(1, {"val/mIoU": 5.0 - theirs}) is theirs
        assert kept.best == ({"value": 4.0, "step": 1} if theirs else None)


def test_the_scale_of_fp16_is_part_of_the_state(tmp_path):
    scales = []
    for init in (64.0, 2.0):
        made = state(1)
        made.scaler = torch.amp.GradScaler("cpu", init_scale=init)
        made.scaler.scale(torch.zeros(1))
        if not scales:
            checkpoints(tmp_path).save(made, last=True)
        checkpoints(tmp_path).restore(made)
        scales.append(made.scaler.get_scale())
    assert scales == [64.0, 64.0]

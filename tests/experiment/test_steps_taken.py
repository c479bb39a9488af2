"""Which start computed a step, in a file that a kill or a stranger has left damaged."""

import errno
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mae_hydra import lines
from mae_hydra.errors import UserError
from mae_hydra.experiment import steps_taken
from mae_hydra.experiment.steps_taken import metrics_of, note_start, processes_of, recorded_loss, start_of

SETTINGS: Any = SimpleNamespace(torch_device=torch.device("cpu"))
FACTS = {"root": "photos", "steps_per_epoch": 4.0, "train": {"images": 16, "contents": "x"}}


def told(run: Path, *steps: int) -> None:
    for step in steps:
        note_start(run, step, SETTINGS, FACTS)


def test_a_start_that_follows_a_torn_line_is_told(tmp_path: Path) -> None:
    told(tmp_path, 0)
    with open(tmp_path / "starts.jsonl", "ab") as file:
        file.write(b'{"step": 4, "processes": 2, "thr')  # killed before it had begun to train
    told(tmp_path, 6)
    assert [(start_of(tmp_path, step) or {}).get("step") for step in (1, 6, 7)] == [0, 0, 6]
    assert [json.loads(line)["step"] for line in (tmp_path / "starts.jsonl").read_bytes().splitlines()] == [0, 6]


def test_a_start_is_told_with_all_that_its_steps_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps_taken, "world_size", lambda: 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 512)
    facts = FACTS | {
        "class_weights": [1.0, 2.0],
        "precision": "bf16",
        "products": "onednn",
        "classes": ["sky"],
        "validation": {"images": 2},
    }
    settings: Any = SimpleNamespace(torch_device=torch.device("cuda", 1))
    note_start(tmp_path, 7, settings, facts)
    known = {key: facts[key] for key in ("root", "steps_per_epoch", "class_weights", "precision", "products", "train")}
    line = {"step": 7, "processes": 3, "threads": 512, "device": "cuda", "data": known}
    assert start_of(tmp_path, 8) == line
    assert start_of(tmp_path, 7) is None
    assert (tmp_path / "starts.jsonl").read_text() == json.dumps(line) + "\n"


def test_the_loss_of_a_step_is_that_of_a_line_of_this_step_alone(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"step": 1, "train/loss": 0.9}, {"step": 1, "val/loss": 0.8}, {"step": 2, "train/loss": 0.5},
        {"step": 4, "train/loss": 0.25}, {"step": 5, "val/loss": 0.1}, {"step": 5, "train/loss": None},
        {"step": 7, "train/lr": 0.1}, {"step": 7, "train/loss": 0.125},
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert repr([recorded_loss(tmp_path, step) for step in range(1, 8)]) == repr(
        [0.9, 0.5, None, None, math.nan, None, None]
    )


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xfe", b"[" * 100_000, b"5", b"null", b"{}", b'{"step": true}', b'{"step": "4"}', b'{"step": -1}',
        b'{"step": 4, "processes": 0}', b'{"step": 4, "processes": 1e9}', b'{"step": 4, "processes": 99999999}',
        b'{"step": 4, "processes": "x"}', b'{"step": 4, "processes": null}', b'{"step": 4, "threads": 1000000}',
        b'{"step": 4, "threads": -1}', b'{"step": 4, "device": 5}', b'{"step": 4, "data": [1]}',
    ],
    ids=lambda damage: repr(damage[:40]),
)  # fmt: skip
def test_a_line_that_tells_of_no_start_is_left_out_and_said(tmp_path: Path, damage: bytes, capsys: Any) -> None:
    told(tmp_path, 0)
    with open(tmp_path / "starts.jsonl", "ab") as file:
        file.write(damage + b"\n")
    told(tmp_path, 9)
    assert (start_of(tmp_path, 5) or {})["step"] == 0
    said = capsys.readouterr().err
    assert said.startswith(f"warning: 1 damaged line(s) of {tmp_path / 'starts.jsonl'} are left out")
    assert (start_of(tmp_path, 10) or {})["step"] == 9


def test_a_start_may_have_as_many_processes_and_threads_as_the_largest_machines(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "starts.jsonl"
    for processes, threads, told in ((65_536, 1024, True), (65_537, 1024, False), (65_536, 1025, False), (1, 1, True)):
        file.write_text(json.dumps({"step": 0, "processes": processes, "threads": threads}) + "\n")
        assert (start_of(tmp_path, 1) is not None) is told
    capsys.readouterr()


def test_a_line_behind_the_zeros_of_a_machine_that_went_down_counts(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "starts.jsonl").write_bytes(b"\0" * 4096 + b'{"step": 4, "processes": 2}\n')
    assert start_of(tmp_path, 5) == {"step": 4, "processes": 2}
    (tmp_path / "metrics.jsonl").write_bytes(b"\0" * 4096 + b'{"step": 1, "train/loss": 0.5}\n')
    assert recorded_loss(tmp_path, 1) == 0.5
    assert capsys.readouterr().err == ""


def test_a_disk_that_does_not_take_the_line_is_no_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*told: Any, **more: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lines.os, "open", full)
    with pytest.raises(OSError, match="No space left"):
        told(tmp_path, 0)


def test_lines_of_metrics_that_are_none_tell_of_no_loss(tmp_path: Path) -> None:
    rows = [b'{"step": 1, "train/loss": 0.5}', b"[" * 100_000, b'{"step": 2, "train/loss": "x"}', b'{"step": 2.5}',
            b'{"step": -1, "train/loss": 9}', b'{"step": true, "train/loss": 9}']  # fmt: skip
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([*rows, b'{"step": 2, "train/loss": 0.25}', b""]))
    assert metrics_of(tmp_path) == [{"step": 1, "train/loss": 0.5}, {"step": 2, "train/loss": 0.25}]
    assert recorded_loss(tmp_path, 2) == 0.25


def test_no_host_of_processes_is_started_because_a_file_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cpus, gpus, most in ((12, 0, 12), (4, 16, 16), (None, 0, 8)):
        monkeypatch.setattr(steps_taken.os, "cpu_count", lambda cpus=cpus: cpus)
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        assert processes_of({"processes": most}, tmp_path) == most
        with pytest.raises(UserError, match=f"more than {most} are not started on this machine"):
            processes_of({"processes": most + 1}, tmp_path)
    assert processes_of({}, tmp_path) == 1
    monkeypatch.setenv("WORLD_SIZE", "5000")  # as a person has started them
    assert processes_of({"processes": 5000}, tmp_path) == 5000
    monkeypatch.delenv("WORLD_SIZE")
    with pytest.raises(UserError, match=r"starts\.jsonl tells of 5000 processes.*torchrun --nproc-per-node=5000"):
        processes_of({"processes": 5000}, tmp_path)

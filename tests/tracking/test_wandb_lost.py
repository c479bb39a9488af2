"""W&B out of reach, artifacts, and what a run says of the weights it began from."""

import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import forked
import pytest
from test_wandb_run import CONFIG, SETTINGS, offline_runs

from mae_hydra.terminal import upload_line
from mae_hydra.tracking.offline_records import BLOCK, records, steps_in

# In a process of its own: wandb keeps a service and its settings for as long as a process lives.
SCRIPT = """
import json, sys
from pathlib import Path
from mae_hydra.tracking import LocalFiles, Trackers, Wandb
settings, config, run_dir = json.loads(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
tracker = Trackers([LocalFiles(), Wandb(**settings)])  # in the order of a run
tracker.start(run_dir, config, 0)
tracker.scalars(1, {"train/loss": 2.0})
tracker.finish(sys.argv[4], {"train/loss": 2.0})
"""


KEY = "a" * 40


def track(run_dir: Path, ending: str = "completed", **changes: object) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment |= {"HOME": str(run_dir / "home"), "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": KEY}
    environment |= {"FORK_SERVER": forked.NAME}
    command = [forked.python(), "-c", SCRIPT, json.dumps(SETTINGS | changes), json.dumps(CONFIG), str(run_dir), ending]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_a_server_out_of_reach_leaves_the_run_offline_with_one_warning(tmp_path):
    done = track(tmp_path, mode="online", patience=3.0)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: W&B cannot be reached") == 1
    assert "this run is kept offline" in done.stderr
    assert "wandb sync" in done.stdout
    [path] = offline_runs(tmp_path)
    assert any(record.WhichOneof("record_type") == "history" for record in records(path))


@pytest.mark.slow
def test_checkpoints_and_the_weights_a_run_began_from_are_told(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name in ("last.pt", "best.pt"):
        (tmp_path / "checkpoints" / name).write_bytes(b"weights")
    parent = {"path": "/elsewhere/checkpoints/best.pt", "sha256": "ab", "step": 3}
    (tmp_path / "parent.json").write_text(json.dumps(parent))
    done = track(tmp_path, artifacts=True)
    assert done.returncode == 0, done.stderr
    [path] = offline_runs(tmp_path)
    found = list(records(path))
    logged = [r.request.log_artifact.artifact for r in found if r.WhichOneof("record_type") == "request"]
    logged += [r.artifact for r in found if r.WhichOneof("record_type") == "artifact"]
    [artifact] = [each for each in logged if each.name]
    assert artifact.type == "model"
    assert {entry.path for entry in artifact.manifest.contents} == {"last.pt", "best.pt", "results.json"}
    assert json.loads((tmp_path / "results.json").read_text()) == {"train/loss": 2.0}
    told = {item.key or item.nested_key[0]: item.value_json for r in found for item in r.config.update}
    told |= {item.key: item.value_json for r in found for item in r.run.config.update}
    assert json.loads(told["parent"]) == parent


@pytest.mark.slow
def test_a_failed_run_is_a_failed_run(tmp_path):
    done = track(tmp_path, ending="failed")
    assert done.returncode == 0, done.stderr
    [path] = offline_runs(tmp_path)
    assert [r.exit.exit_code for r in records(path) if r.WhichOneof("record_type") == "exit"] == [1]


@pytest.mark.slow
def test_who_is_not_logged_in_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "KEY", "")
    done = track(tmp_path, mode="online", patience=3.0)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: not logged in to W&B (") == 1
    assert "wandb login" in done.stderr
    assert f"wandb sync {tmp_path}/wandb/offline-run-*" in done.stdout
    assert len(offline_runs(tmp_path)) == 1


KILLED = """
import json, os, signal, sys
from pathlib import Path
from mae_hydra.tracking import LocalFiles, Trackers, Wandb
os.setsid()
settings, config, run_dir = *map(json.loads, sys.argv[1:3]), Path(sys.argv[3])
first, last, ending = map(int, sys.argv[4:])
tracker = Trackers([LocalFiles(), Wandb(**settings)])
tracker.start(run_dir, config, first)
for step in range(first + 1, last + 1):
    tracker.scalars(step, {"train/loss": 1.0 / step, "val/mIoU": float(step)})
if ending:
    os.killpg(0, signal.SIGKILL)
tracker.finish("completed", {})
"""


@pytest.mark.slow
def test_what_a_killed_part_lacks_is_sent_by_the_next(tmp_path):
    """The whole group is killed, wandb's own process with it: of a few steps nothing had been written yet."""

    def part(first: int, last: int, *, killed: bool) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        environment |= {"HOME": str(tmp_path / "home"), "WANDB_BASE_URL": "http://127.0.0.1:9"}
        words = [json.dumps(SETTINGS), json.dumps(CONFIG), str(tmp_path), str(first), str(last), str(int(killed))]
        environment |= {"FORK_SERVER": forked.NAME}
        command = [forked.python(), "-c", KILLED, *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    assert part(0, 8, killed=True).returncode == -signal.SIGKILL
    written = steps_in(offline_runs(tmp_path))
    done = part(6, 10, killed=False)  # its checkpoint is of step 6
    assert done.returncode == 0, done.stderr
    parts = offline_runs(tmp_path)
    assert len(parts) == 2
    assert steps_in(parts) == {*range(1, 11)}
    assert steps_in(parts[1:]) == {step for step in range(1, 11) if step not in written or step > 6}
    assert f"wandb sync {tmp_path}/wandb/offline-run-*" in done.stdout


def test_one_line_uploads_all_parts_of_a_run_or_of_a_sweep(tmp_path):
    assert upload_line(tmp_path) == ""
    for place in ("a b/job1", "a b/job2", "a b/job2/upernet"):
        for part in ("offline-run-1-x", "offline-run-2-x"):
            (tmp_path / place / "wandb" / part).mkdir(parents=True)
    sweep = f"'{tmp_path}/a b'"
    assert upload_line(tmp_path / "a b") == (
        f"wandb sync {sweep}/*/wandb/offline-run-* {sweep}/*/*/wandb/offline-run-*"
    )
    found = subprocess.run(["bash", "-c", upload_line(tmp_path / "a b").replace("wandb sync", "ls -d", 1)],
                           capture_output=True, text=True, check=True)  # fmt: skip
    assert len(found.stdout.splitlines()) == 6


def test_a_record_that_ends_in_the_middle_is_read_as_far_as_it_is_whole(tmp_path):
    """A LevelDB log of one record, then a piece of which only the head was written."""
    from wandb.proto.wandb_internal_pb2 import Record

    record = Record()
    item = record.history.item.add()
    item.key, item.value_json = "step", "3"
    content = record.SerializeToString()
    head = struct.pack("<IHB", 0, len(content), 1)
    for tail in (b"", head, head + content[:3], b"\0" * 40, struct.pack("<IHB", 0, 4, 1) + b"\xff" * 4):
        (tmp_path / "x.wandb").write_bytes(b":W&B\0\0\0" + head + content + tail)
        assert steps_in([tmp_path / "x.wandb"]) == {3}
    (tmp_path / "x.wandb").write_bytes(b":XYZ\0\0\0" + head + content)
    assert steps_in([tmp_path / "x.wandb"]) == set()


@pytest.mark.parametrize("short", range(9))
def test_records_are_read_over_the_ends_of_blocks(tmp_path, short):
    """A header that does not fit into the rest of a block begins the next one; a record may take several blocks."""
    from wandb.proto.wandb_internal_pb2 import Record

    def record(step: int, filler: int, *, nested: bool = False) -> bytes:
        made = Record()
        item = made.history.item.add()
        if nested:
            item.nested_key.append("step")
        else:
            item.key = "step"
        item.value_json = str(step)
        other = made.history.item.add()
        other.key, other.value_json = "x", "1" * filler
        return made.SerializeToString()

    data = b":W&B\0\0\0"
    rest = BLOCK - len(data) - 7 - short  # so that so many bytes of the first block are left behind the first record
    first = record(1, rest - (len(record(1, rest)) - rest))
    assert len(first) == rest
    for content in (first, record(2, 5), record(3, 3 * BLOCK, nested=True), record(4, 5)):
        left, begun = content, False
        while left or not begun:
            room = BLOCK - len(data) % BLOCK
            if room < 7:
                data += b"\0" * room
                continue
            piece, left = left[: room - 7], left[room - 7 :]
            kind = (4 if begun else 1) if not left else 3 if begun else 2
            data += struct.pack("<IHB", 0, len(piece), kind) + piece
            begun = True
    (tmp_path / "x.wandb").write_bytes(data)
    assert steps_in([tmp_path / "x.wandb"]) == {1, 2, 3, 4}
    found = [[item.value_json for item in each.history.item] for each in records(tmp_path / "x.wandb")]
    assert [(items[0], *map(len, items[1:])) for items in found] == [
        ("1", len(first) - (len(record(1, rest)) - rest)), ("2", 5), ("3", 3 * BLOCK), ("4", 5)
    ]  # fmt: skip

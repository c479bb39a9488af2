"""What is asked of Slurm's programs and made of their answers, with programs that answer as real ones did."""

import json
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mae_hydra.errors import UserError
from mae_hydra.experiment import sweeps
from mae_hydra.launching import slurm, submissions
from mae_hydra.launching.launch import _reason
from mae_hydra.launching.slurm import Seen
from mae_hydra.launching.slurm_launcher import SHARED, _Looking
from mae_hydra.launching.sweep_jobs import SweepJob

RECIPE = Path(__file__).parents[2] / "mae_hydra/launching/train.sbatch"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`programs(squeue="…")` puts programs on the path that say that; one that begins with ! fails with the rest."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def make(**said: str) -> None:
        for name, text in said.items():
            (folder / f"{name}.txt").write_text(text.removeprefix("!"))
            fails = text.startswith("!")
            line = f"cat {folder / name}.txt {'>&2; exit 1' if fails else ''}"
            (folder / name).write_text(f"#!/bin/sh\n{line}\n")
            (folder / name).chmod(0o755)

    return make


def test_keys_become_options_of_sbatch() -> None:
    told = {"timeout_min": 90, "tasks_per_node": 8, "mem_gb": 64, "gpus_per_node": 0, "qos": None, "mail-type": "END"}
    told |= {"requeue": True, "exclusive": False, "comment": "two words", "constraint": "a&b"}
    assert slurm.options(told) == [
        "--time=90", "--ntasks-per-node=8", "--mem=64G", "--mail-type=END", "--requeue", "--comment='two words'",
        "--constraint='a&b'",
    ]  # fmt: skip


def test_the_queue_is_read_with_names_and_paths_of_any_kind(programs: Any) -> None:
    programs(squeue="5_2|PENDING|Priority||/a b/x|y.sh\n5_0|RUNNING|None|vm|/a b/x|y.sh\n4_N/A|FAILED|NonZero||\n")
    assert slurm.queue() == {
        "5_2": Seen("PENDING", "Priority", "", "/a b/x|y.sh"),
        "5_0": Seen("RUNNING", "", "vm", "/a b/x|y.sh"),
        "4_N/A": Seen("FAILED", "NonZero"),
    }
    programs(squeue="!slurm_load_jobs error: Unable to contact slurm controller")
    assert slurm.queue() is None


def test_what_left_the_queue_is_asked_of_the_accounting(programs: Any) -> None:
    programs(sacct="5_0|COMPLETED\n5_1|CANCELLED by 0\n5_2|OUT_OF_MEMORY\n")
    assert slurm.ended(["5_0"]) == {job: Seen(state) for job, state in
        (("5_0", "COMPLETED"), ("5_1", "CANCELLED"), ("5_2", "OUT_OF_MEMORY"))}  # fmt: skip
    programs(sacct="5_0|FAILED\nwithout a state\n")
    assert slurm.ended(["5_0"]) == {"5_0": Seen("FAILED")}
    programs(sacct="!Slurm accounting storage is disabled")
    assert slurm.ended(["5_0"]) == {}


def test_jobs_are_renamed_and_cancelled_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run(command: Any, **told: Any) -> Any:
        asked.append((" ".join(command), told.get("input")))
        return subprocess.CompletedProcess(command, 0, "8;cluster\n" if command[0] == "sbatch" else "", "")

    monkeypatch.setattr(slurm.subprocess, "run", run)
    monkeypatch.setattr(slurm, "is_here", lambda: True)
    slurm.rename({"7_0": "seed-1", "7_1": "seed-2"})
    slurm.cancel(["7_0", "7_1"])
    slurm.ended(["7_0", "7_1"])
    slurm.queue()
    assert slurm.submit(Path("a/001.sh")) == "8"
    user = pwd.getpwuid(os.getuid()).pw_name
    assert asked == [
        ("scontrol -Q", "update JobId=7_0 JobName=seed-1\nupdate JobId=7_1 JobName=seed-2\n"),
        ("scancel 7_0 7_1", None),
        ("sacct -X -n -P -o JobID,State -j 7_0,7_1", None),  # of a job as a whole, not of its steps
        (f"squeue --noheader --array --user {user} --states=all --format=%F_%K|%T|%r|%N|%o", None),
        ("sbatch --parsable a/001.sh", None),
    ]

    def fail(command: Any, **told: Any) -> Any:
        raise subprocess.TimeoutExpired(command, 60)

    monkeypatch.setattr(slurm.subprocess, "run", fail)
    assert slurm.queue() is None
    assert slurm.ended(["7_0"]) == {}
    slurm.rename({"7_0": "seed-1"})  # it keeps its name; what was submitted goes on


@pytest.mark.parametrize("state", sorted(slurm.WAITING | slurm.RUNNING))
def test_what_waits_and_what_runs_is_under_way(state: str) -> None:
    waits = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
    runs = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
    assert (waits, runs) == (slurm.WAITING, slurm.RUNNING)
    assert (Seen(state).active, Seen(state).waits) == (True, state in waits)
    assert not any(Seen(ended).active for ended in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "LOST"))


def test_what_sbatch_refuses_is_said_in_its_words(programs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(sbatch="!sbatch: error: invalid partition specified: nix\nsbatch: Batch job submission failed\n")
    with pytest.raises(UserError, match="Slurm does not take the jobs: invalid partition specified: nix; Batch job"):
        slurm.submit(Path("x.sh"))
    programs(sbatch="!sbatch: error: Invalid generic resource (gres) specification", sinfo="(null)\n(null)\n")
    with pytest.raises(UserError, match=r"no GPUs: hydra\.launcher\.gpus_per_node=0 hydra\.launcher\.tasks_per_node=1"):
        slurm.submit(Path("x.sh"))
    programs(sbatch="!sbatch: error: Requested node configuration is not available")
    with pytest.raises(UserError, match=r"not available\. This cluster has no GPUs: "):
        slurm.submit(Path("x.sh"))
    programs(sbatch="!sbatch: error: Invalid generic resource (gres) specification")
    programs(sinfo="(null)\ngpu:a100:8\n")  # there are some, of another kind
    with pytest.raises(UserError, match=r"gres\) specification$"):
        slurm.submit(Path("x.sh"))
    programs(sbatch="4711;cluster\n")
    assert slurm.submit(Path("x.sh")) == "4711"
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="sbatch is not found here: hydra/launcher=slurm is typed on a machine of the"):
        slurm.submit(Path("x.sh"))


def test_a_submission_whose_number_was_not_written_down_is_found_by_its_script(tmp_path: Path) -> None:
    first = submissions.new(tmp_path, ["a", "b"])
    first.write()  # and then the process was killed
    queue = {"9_1": Seen("RUNNING", script=str(first.script)), "8_0": Seen("RUNNING", script="/other/001.sh")}
    [found] = submissions.submissions(tmp_path)
    assert found.elements(queue) == {"a": "9_0", "b": "9_1"}
    assert found.elements({}) == {}
    assert submissions.new(tmp_path, ["c"]).script.name == "002.sh"
    assert first.log == str(tmp_path / ".slurm/%A_%a.log")
    submissions.tell(tmp_path, ["a", "z"])
    [found] = submissions.submissions(tmp_path)
    assert found.elements(queue) == {"b": "9_1"}
    submissions.tell(tmp_path, ["b", "b"])
    tenth = submissions.Submission(first.script.with_name("010.sh"), ["c", "d"], "12")
    tenth.write()
    (first.script.parent / "notes.json").write_text("{}")
    assert [(each.script.name, each.number, each.told) for each in submissions.submissions(tmp_path)] == [
        ("001.sh", None, ("a", "b")), ("010.sh", "12", ()),
    ]  # fmt: skip
    assert tenth.elements(queue) == {"c": "12_0", "d": "12_1"}
    assert submissions.new(tmp_path, ["e"]).script.name == "011.sh"
    submissions.tell(tmp_path, ["d", "b"])
    assert [each.told for each in submissions.submissions(tmp_path)] == [("a", "b"), ("d",)]
    (first.script.parent / "011.json").write_text('{"jobs": "ab"}')
    assert len(submissions.submissions(tmp_path)) == 2


@pytest.mark.parametrize(
    ("seen", "status", "expected"),
    [
        ("COMPLETED", {"state": "completed", "value": 0.5}, None),
        ("COMPLETED", {"state": "pruned", "value": 0.5, "ended": "pruned at step 2"}, None),
        ("CANCELLED", {"state": "completed", "value": 0.5}, None),  # it had just ended
        ("LOST", {"state": "completed", "value": 0.5}, None),
        ("FAILED", {"state": "failed", "error": "ValueError: x"}, ("failed", "ValueError: x")),
        ("FAILED", {"state": "interrupted", "error": "state saved"}, ("interrupted", "state saved")),
        ("FAILED", None, ("failed", "bash: python: not found")),
        ("CANCELLED", None, ("cancelled", "CANCELLED in Slurm (7_0): bash: python: not found")),
        ("CANCELLED", {"state": "interrupted", "error": "x"}, ("cancelled", "CANCELLED in Slurm (7_0): x")),
        ("CANCELLED", {"state": "failed", "error": "x"}, ("cancelled", "CANCELLED in Slurm (7_0): x")),
        ("FAILED", {"state": "completed", "value": 0.5}, ("failed", "bash: python: not found")),
        ("DEADLINE", {"state": "interrupted", "error": "x"}, ("timed out", "DEADLINE in Slurm (7_0): x")),
        ("NODE_FAIL", {"state": "running", "error": "x"}, ("failed", "NODE_FAIL in Slurm (7_0): x")),
        ("TIMEOUT", {"state": "interrupted"}, ("timed out", "TIMEOUT in Slurm (7_0): bash: python: not found")),
        (
            "OUT_OF_MEMORY",
            {"state": "interrupted"},
            ("failed", "OUT_OF_MEMORY in Slurm (7_0): bash: python: not found"),
        ),
        ("LOST", {"state": "failed", "error": "ValueError: x"}, ("failed", "ValueError: x")),
        ("LOST", {"state": "interrupted", "error": "stopped"}, ("lost", "LOST in Slurm (7_0): stopped")),
    ],
)
def test_how_a_job_ended_follows_from_slurm_and_from_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seen: str,
    status: dict | None, expected: tuple | None,
) -> None:  # fmt: skip
    job = SweepJob(0, ["a=1"], tmp_path / "job", OmegaConf.create(), "a-1")
    job.directory.mkdir()
    (job.directory / "console.log").write_text("begun\nbash: python: not found\n\n")
    if status is not None:
        (job.directory / "status.json").write_text(json.dumps({"value": None, "error": None} | status))
    monkeypatch.setattr(slurm, "queue", lambda: {} if seen == "LOST" else {"7_0": Seen(seen)})
    monkeypatch.setattr(slurm, "ended", lambda jobs: {})
    monkeypatch.setattr(sweeps, "outcomes", {})
    looking = _Looking(tmp_path, {"7_0": job})
    assert not looking.look()
    assert looking.failed == (expected is not None)
    told = {name: (each.state, each.error) for name, each in sweeps.outcomes.items()}
    assert told == ({} if expected is None else {"job": expected})
    done = status or {}
    ending = expected or (done.get("state"), done.get("ended") or f"value {done.get('value')}")
    assert capsys.readouterr().out == f"job 0 {ending[0]}: {ending[1]}\n"


def test_a_status_may_lag_behind_slurm_and_slurm_may_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = SweepJob(0, ["a=1"], tmp_path / "job", OmegaConf.create(), "a-1")
    answers: list[dict | None] = [None, None, {"7_0": Seen("COMPLETED")}, {"7_0": Seen("COMPLETED")}]
    monkeypatch.setattr(slurm, "queue", lambda: answers.pop(0))
    monkeypatch.setattr(sweeps, "outcomes", {})
    looking = _Looking(tmp_path, {"7_0": job})
    assert looking.look()
    assert [looking.look() for _ in range(2)] == [True] * 2
    assert capsys.readouterr().out.count("Slurm does not answer") == 1
    job.directory.mkdir()
    (job.directory / "status.json").write_text(json.dumps({"state": "completed", "value": 2.0}))
    assert not looking.look()
    assert "job 0 completed: value 2.0" in capsys.readouterr().out


def test_a_status_that_never_comes_is_a_failure_after_three_looks_for_each_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = {f"7_{n}": SweepJob(n, [], tmp_path / f"job{n}", OmegaConf.create()) for n in range(2)}
    monkeypatch.setattr(
        slurm, "queue", lambda: {"7_0": Seen("COMPLETED"), "7_1": Seen("RUNNING" if early else "COMPLETED")}
    )
    monkeypatch.setattr(sweeps, "outcomes", {})
    looking, early = _Looking(tmp_path, jobs), True
    looking.look()
    early = False
    assert [(looking.look(), sorted(looking.under_way)) for _ in range(4)] == [
        (True, ["7_0", "7_1"]), (True, ["7_0", "7_1"]), (True, ["7_1"]), (False, []),
    ]  # fmt: skip
    assert {name: (each.state, each.error) for name, each in sweeps.outcomes.items()} == {
        "job0": ("failed", ""), "job1": ("failed", "")
    }  # fmt: skip


def test_what_left_the_queue_ends_as_the_accounting_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = {f"7_{n}": SweepJob(n, [], tmp_path / f"job{n}", OmegaConf.create()) for n in range(3)}
    asked: list[list[str]] = []
    monkeypatch.setattr(slurm, "queue", lambda: {"7_1": Seen("RUNNING")})
    monkeypatch.setattr(
        slurm, "ended", lambda gone: asked.append(gone) or {"7_0": Seen("TIMEOUT"), "7_2": Seen("CANCELLED")}
    )
    monkeypatch.setattr(sweeps, "outcomes", {})
    assert _Looking(tmp_path, jobs).look()
    assert asked == [["7_0", "7_2"]]
    assert {name: each.state for name, each in sweeps.outcomes.items()} == {
        "job0": "timed out", "job1": "running", "job2": "cancelled"
    }  # fmt: skip


def test_every_array_that_is_under_way_is_named_to_who_leaves(tmp_path: Path) -> None:
    job = SweepJob(0, [], tmp_path / "job", OmegaConf.create())
    said = _Looking(tmp_path, dict.fromkeys(("10_0", "9_1", "9_0"), job)).go_on()
    assert said.startswith("3 jobs are in Slurm still")
    assert said.endswith("To stop them: scancel 9 10")


def test_the_script_of_the_repository_is_what_the_launcher_uses() -> None:
    text = RECIPE.read_text()
    head, mark, shared = text.partition(SHARED)
    assert mark
    assert "scontrol requeue" in shared
    assert "#SBATCH --signal=USR2@" in head
    subprocess.run(["bash", "-n", str(RECIPE)], check=True)


def test_the_reason_that_submitit_gives_is_said_with_the_job() -> None:
    said = "Job 5_1 (task: 0) with path /x/5_1_0_result.pkl\nhas not produced any output (state: CANCELLED by 0)\n"
    error = RuntimeError(said + "Error stream produced:\n" + "-" * 40 + "\nslurmstepd: error: …\n")
    assert _reason(error) == (
        "Job 5_1 (task: 0) with path /x/5_1_0_result.pkl has not produced any output (state: CANCELLED by 0)"
    )
    assert _reason(RuntimeError('Could not detect "srun"')) == 'Could not detect "srun"'

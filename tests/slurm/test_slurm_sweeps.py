"""`hydra/launcher=slurm` on a real Slurm: what the process that was typed says and does."""

import json
from pathlib import Path

from conftest import LAUNCHER, TINY, Lab, interrupt, until

from mae_hydra.experiment.status import read_status

SWEEP = Path("outputs/sweeps/x")
RATIOS = ("0.5", "0.6", "0.7", "1.5")
COMMAND = ["-m", "+sweep=mask_ratio", f"model.mask_ratio={','.join(RATIOS)}", *TINY, *LAUNCHER]
COMMAND += [f"hydra.sweep.dir={SWEEP}", "schedule.total=400", "hydra.launcher.array_parallelism=2"]


def table(lab: Lab) -> dict[str, dict]:
    """The rows by their mask ratio."""
    rows = json.loads((lab.folder / SWEEP / "results.json").read_text())
    return {str(row["model.mask_ratio"]): row for row in rows}


def attempts(lab: Lab) -> dict[str, int]:
    found = {name: read_status(row) for name, row in runs(lab).items()}
    return {name: status["attempt"] for name, status in found.items() if status is not None}


def runs(lab: Lab) -> dict[str, Path]:
    """Run directories by their mask ratio."""
    found = {}
    for file in (lab.folder / SWEEP).glob("*/status.json"):
        [word] = [word for word in json.loads(file.read_text())["overrides"] if word.startswith("model.mask_ratio")]
        found[word.partition("=")[2]] = file.parent
    return found


def test_a_sweep_lives_through_its_head_and_through_jobs_that_fail_or_are_cancelled(lab):
    code, said = lab.type(*COMMAND, "hydra.launcher.detach=true")
    assert code == 0, said
    assert "4 jobs are in Slurm still" in said
    assert {row["state"] for row in table(lab).values()} <= {"waiting", "running"}
    numbers = {name: number for name, (number, _) in lab.queue().items()}
    assert sorted(numbers) == [f"mask_ratio-{ratio}" for ratio in RATIOS]  # what is swept, as squeue shows it
    lab.cluster.run("scancel", numbers["mask_ratio-0.7"])  # it has not begun

    head = lab.start(*COMMAND)
    until(lambda: "0.6" in runs(lab) and (runs(lab)["0.6"] / "metrics.jsonl").exists(), "the second job trains")
    # It stands still until it is cancelled, however long the rest takes: Slurm sends SIGCONT before SIGTERM
    lab.cluster.run("scancel", "--signal=STOP", numbers["mask_ratio-0.6"])
    assert head.stdout is not None
    assert "4 jobs are in Slurm already" in head.stdout.readline()
    code, said = interrupt(head)
    assert code == 75, said
    assert "the same command collects what they find. To stop them: scancel" in said
    assert "Traceback" not in said
    assert lab.queue()["mask_ratio-0.6"][1] == "STOPPED"  # under way, as it was
    lab.cluster.run("scancel", numbers["mask_ratio-0.6"])

    code, said = lab.type(*COMMAND)  # collects, and queues nothing
    assert code == 1
    rows = table(lab)
    states = {ratio: rows[ratio]["state"] for ratio in RATIOS}
    assert states == {"0.5": "completed", "0.6": "cancelled", "0.7": "cancelled", "1.5": "failed"}, said
    assert "model.mask_ratio must lie in" in rows["1.5"]["error"]
    assert rows["0.7"]["error"] == f"CANCELLED in Slurm ({numbers['mask_ratio-0.7']})"
    assert rows["0.5"]["val/loss"] is not None
    assert attempts(lab) == {"0.5": 1, "0.6": 1, "1.5": 1}
    ends = {ratio: lab.cluster.job(numbers[f"mask_ratio-{ratio}"]) for ratio in ("0.5", "1.5")}
    assert [ends[ratio]["JobState"] for ratio in ends] == ["COMPLETED", "FAILED"]  # afterok and sacct go by that
    assert lab.queue() == {}

    code, said = lab.type(*COMMAND)  # runs what is missing, and nothing else
    assert code == 1  # one is a mistake
    assert said.count("is already complete") == 1
    assert "of Slurm: mask_ratio-0.5" not in said
    assert {row["state"] for row in table(lab).values()} == {"completed", "failed"}
    assert attempts(lab) == {"0.5": 1, "0.6": 2, "0.7": 1, "1.5": 2}
    assert "from step" in (runs(lab)["0.6"] / "train.log").read_text()  # what was saved when it was cancelled


def test_what_slurm_does_not_take_is_one_sentence_with_the_way_out(lab):
    said = lab.type("-m", "seed=0,1", *TINY, f"hydra.sweep.dir={SWEEP}", "hydra/launcher=slurm")[1]
    assert "This cluster has no GPUs: hydra.launcher.gpus_per_node=0 hydra.launcher.tasks_per_node=1" in said
    assert "Traceback" not in said
    assert not list((lab.folder / SWEEP).glob("*/status.json"))
    said = lab.type("-m", "seed=0,1", *TINY, f"hydra.sweep.dir={SWEEP}", *LAUNCHER, "hydra.launcher.partition=none")[1]
    assert "error: Slurm does not take the jobs: invalid partition specified: none" in said
    wide = [*LAUNCHER, "hydra.launcher.cpus_per_task=64"]
    said = lab.type("-m", "seed=0,1", *TINY, f"hydra.sweep.dir={SWEEP}", *wide, "hydra.launcher.detach=true")[1]
    assert "2 jobs are waiting; the reason, in Slurm's words: PartitionConfig (no node of the partition has" in said


def test_tasks_of_a_job_are_the_processes_of_one_run_and_one_failure_stops_all_where_that_is_asked_for(lab):
    two = ["hydra.launcher.tasks_per_node=2", "engine.global_batch=4", "data.batch_size=2"]
    long = ["-m", "model.mask_ratio=1.5,0.5", *TINY, "schedule.total=100000", f"hydra.sweep.dir={SWEEP}", *LAUNCHER]
    code, said = lab.type(*long, *two, "fail_fast=true")
    assert code == 1
    assert {ratio: row["state"] for ratio, row in table(lab).items()} == {"1.5": "failed", "0.5": "cancelled"}, said
    code, said = lab.type("-m", "model.mask_ratio=0.3", *TINY, f"hydra.sweep.dir={SWEEP}", *LAUNCHER, *two)
    assert code == 0, said
    assert "2 processes" in (runs(lab)["0.3"] / "train.log").read_text()

"""Preempted, warned or on a node that fails, a job comes back: by the launcher and in a script; cancelled it does not.

A preempted job gets SIGTERM alone where there is a grace time, and what ends by itself then has ended for good.
"""

import json
import shlex
import sys
import time
from pathlib import Path

import pytest
from conftest import LAUNCHER, ROOT, TINY, Lab, until

from mae_hydra.experiment.status import read_status

RECIPE = ROOT / "mae_hydra/launching/train.sbatch"
LONG = [*TINY, "schedule.total=800"]
ALL_CORES = ["--partition=urgent", "-n4", "--output=/dev/null", "--wrap=sleep 2"]
pytestmark = pytest.mark.slow


def plain_script(lab: Lab, *words: str) -> str:
    """A script as one writes it, without a line about coming back."""
    command = shlex.join([sys.executable, "-u", str(ROOT / "train.py"), *words])
    script = lab.folder / "plain.sh"
    script.write_text(f"#!/bin/bash\n#SBATCH -n1 --requeue --open-mode=append --output=job.log\nsrun {command}\n")
    return str(script)


def goes_on(lab: Lab, run: Path, attempt: int) -> None:
    """Wait until a run trains for the `attempt`-th time."""
    until(lambda: (status := read_status(run)) is not None and status["attempt"] == attempt, "it goes on")
    lab.until_it_trains(str(run.relative_to(lab.folder)), len(_lines(run)) + 1)


def told(run: Path, lab: Lab, number: str) -> tuple:
    status = read_status(run)
    assert status is not None
    return status["state"], status["attempt"], lab.cluster.job(number)["JobState"]


@pytest.mark.parametrize("partition", ["graceful", "short"])
def test_a_preempted_job_of_a_plain_script_goes_on_from_its_last_step(lab, partition):
    """Without a grace time there is no signal to heed: the last checkpoint is what there is."""
    words = [*LONG, "data.num_workers=2", "hydra.run.dir=run", "checkpoint.every=20"]
    number = lab.submit(f"--partition={partition}", plain_script(lab, *words))
    run = lab.until_it_trains("run", 2)
    urgent = lab.submit(*ALL_CORES)
    assert lab.until_ended(urgent, 30) == "COMPLETED"  # it does not wait for the end of the grace time
    assert lab.until_ended(number) == "COMPLETED", (lab.folder / "job.log").read_text()
    assert told(run, lab, number) == ("completed", 2, "COMPLETED")
    said = (lab.folder / "job.log").read_text()
    assert "800 steps of 2 images, from step" in said
    assert ("is preempted and is queued again" in said) == (partition == "graceful")


def test_a_job_that_is_preempted_while_it_imports_comes_back(lab):
    number = lab.submit(plain_script(lab, *TINY, "hydra.run.dir=run"))
    until(lambda: lab.cluster.job(number)["JobState"] == "RUNNING", "it runs")
    until(lambda: any(line.startswith(f"{sys.executable} -u") for line in _processes(lab)), "its process is there")
    time.sleep(0.5)  # Python itself heeds nothing
    lab.submit(*ALL_CORES)
    assert lab.until_ended(number) == "COMPLETED"
    assert lab.cluster.job(number)["Restarts"] == "1"
    assert told(lab.folder / "run", lab, number)[0] == "completed"


def _processes(lab: Lab) -> list[str]:
    return lab.cluster.run("ps", "-eo", "args").splitlines()


@pytest.mark.parametrize("parameters", ["", "preempt_send_user_signal"])
def test_the_script_of_the_repository_comes_back_and_finds_its_directory(lab, parameters):
    lab.cluster.configure(parameters)
    lab.cluster.run("scontrol", "reconfigure")
    try:
        number = lab.submit("-n1", "--job-name=x", "--output=job.log", str(RECIPE), *LONG, "engine.devices=2")
        run = lab.until_it_trains(f"outputs/runs/x-{number}")
        lab.submit(*ALL_CORES)
        assert lab.until_ended(number) == "COMPLETED", (lab.folder / "job.log").read_text()
    finally:
        lab.cluster.configure("")
        lab.cluster.run("scontrol", "reconfigure")
    assert told(run, lab, number) == ("completed", 2, "COMPLETED")
    assert "from step" in (run / "train.log").read_text()


def test_the_script_of_the_repository_comes_back_after_a_warning_and_not_when_it_is_cancelled(lab):
    number = lab.submit("-n1", "--output=job.log", str(RECIPE), *LONG, "schedule.total=100000", "hydra.run.dir=run")
    run = lab.until_it_trains("run")
    lab.cluster.run("scancel", "--signal=USR2", number)
    until(lambda: lab.cluster.job(number).get("Restarts") == "1", "it is queued again")
    goes_on(lab, run, 2)
    lab.cluster.run("scancel", number)
    assert lab.until_ended(number, 30) == "CANCELLED"
    status = read_status(run)
    assert status is not None
    assert "state saved" in status["error"]


def test_a_script_that_fails_has_failed_for_slurm(lab):
    for script in (str(RECIPE), plain_script(lab, *TINY, "model.mask_ratio=2")):
        number = lab.submit("-n1", "--output=job.log", script, *TINY, "model.mask_ratio=2")
        after = lab.submit(f"--dependency=afterok:{number}", "--output=/dev/null", "--wrap=true")
        assert lab.until_ended(number) == "FAILED"
        until(
            lambda job=after: lab.cluster.job(job)["Reason"] == "DependencyNeverSatisfied",
            "what hangs on it never runs",
        )


def test_six_jobs_and_a_head_that_is_killed(lab):
    """One fails, one is cancelled while it runs, one while it waits, one is preempted, one gets the warning of its
    time's end, one is on a node that fails; and the process that was typed is killed."""
    ratios = ("0.2", "0.3", "0.4", "1.5", "0.6", "0.5")  # in this order: the last number is also the array's
    sweep = lab.folder / "outputs/x"
    command = [
        "-m",
        "+sweep=mask_ratio",
        f"model.mask_ratio={','.join(ratios)}",
        *LONG,
        "schedule.total=2000",
        f"hydra.sweep.dir={sweep}",
        *LAUNCHER,
    ]
    command += [f"hydra.sweep.dir={sweep}", "hydra.launcher.array_parallelism=4"]
    head = lab.start(*command)
    until(lambda: len(lab.queue()) == 6, "all are queued")
    number = {name.partition("-")[2]: each for name, (each, _) in lab.queue().items()}
    lab.cluster.run("scancel", number["0.6"])  # waits for its place
    for ratio in ("0.2", "0.3", "0.4", "0.5"):
        lab.until_it_trains(f"outputs/x/mask_ratio-{ratio}_*")
    head.kill()
    head.communicate()
    lab.cluster.run("scancel", number["0.2"])
    lab.cluster.run("scancel", "--signal=USR2", number["0.3"])
    until(lambda: lab.cluster.job(number["0.3"])["Restarts"] == "1", "the warned one is queued again")
    node = lab.cluster.job(number["0.4"])["NodeList"]
    lab.submit(*ALL_CORES)  # whatever runs now is preempted
    until(lambda: lab.cluster.job(number["0.4"])["Restarts"] == "1", "the preempted one is queued again")
    [last] = sweep.glob("mask_ratio-0.5_*")
    goes_on(lab, last, 2)
    lab.cluster.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    lab.cluster.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
    code, said = lab.type(*command)
    assert code == 1
    rows = {str(row["model.mask_ratio"]): row["state"] for row in _rows(sweep)}
    expected = dict.fromkeys(("0.3", "0.4", "0.5"), "completed") | dict.fromkeys(("0.2", "0.6"), "cancelled")
    assert rows == expected | {"1.5": "failed"}, said
    assert "of Slurm: mask_ratio" not in said  # nothing was submitted a second time
    for ratio in ("0.3", "0.4", "0.5"):
        [run] = sweep.glob(f"mask_ratio-{ratio}_*")
        steps = [line["step"] for line in _lines(run)]
        assert steps == sorted(set(steps)), "a step stands there twice"
        assert steps[-1] == 2000


def _rows(sweep: Path) -> list[dict]:
    return json.loads((sweep / "results.json").read_text())


def _lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_job_whose_time_is_over_comes_back_as_often_as_it_may(lab):
    """Slurm warns up to a minute early. The first sweep may come back, the second one may not."""
    limits = [*LAUNCHER, "hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=10"]
    words = ["-m", "model.mask_ratio=0.5", *TINY, "schedule.total=1000000", *limits]
    head = lab.start(*words, "hydra.sweep.dir=outputs/once", "hydra.launcher.max_num_timeout=0")
    code, said = lab.type(*words, "hydra.sweep.dir=outputs/often", "hydra.launcher.detach=true")
    assert code == 0, said
    number = lab.queue()["often"][0]  # a sweep of one job has its name
    until(lambda: lab.cluster.job(number)["Restarts"] == "1", "it is queued again")
    [run] = (lab.folder / "outputs/often").glob("*/status.json")
    until(lambda: "1000000 steps of 2 images, from step" in (run.parent / "train.log").read_text(), "it goes on")
    once, _ = head.communicate(timeout=100)
    assert head.returncode == 1
    assert "interrupted: interrupted after step" in once

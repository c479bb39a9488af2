"""What `hydra/launcher=slurm` hands to Slurm and makes of its answers, without a Slurm."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from mae_hydra.errors import UserError
from mae_hydra.experiment import sweeps
from mae_hydra.experiment.sweeps import SweepStopped
from mae_hydra.launching import slurm, slurm_launcher, submissions
from mae_hydra.launching.slurm import Seen
from mae_hydra.launching.slurm_launcher import LeftToSlurm, SlurmLauncher
from mae_hydra.launching.sweep_jobs import SweepJob

SETTINGS: dict[str, Any] = {
    "array_parallelism": 0, "signal_delay_s": 90, "max_num_timeout": 3, "setup": None, "additional_parameters": {},
    "detach": False, "timeout_min": 60,
}  # fmt: skip


class Cluster:
    """Stands for Slurm: `looks` are its answers to squeue, the last one for ever; `asked`: what it was told to do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.looks: list[Any] = [{}]
        self.asked: list[tuple[str, Any]] = []
        self.complete: set[str] = set()  # jobs that are there already
        self.refusal: str | None = None

    def queue(self) -> dict[str, Seen] | None:
        look = self.looks[0] if len(self.looks) == 1 else self.looks.pop(0)
        if isinstance(look, BaseException):
            raise look
        for job in () if look is None else range(9):  # what has ended has left its status
            if look.get(f"7_{job}") in (Seen("COMPLETED"), Seen("FAILED")):
                self.ends(job, "completed" if look[f"7_{job}"].state == "COMPLETED" else "failed")
        return look

    def ends(self, job: int, state: str) -> None:
        (self.folder / f"job{job}").mkdir(exist_ok=True)
        told = {"state": state, "value": job + 0.5, "error": "ValueError: x" if state == "failed" else None}
        (self.folder / f"job{job}" / "status.json").write_text(json.dumps(told))

    def submit(self, script: Path) -> str:
        if self.refusal is not None:
            raise UserError(self.refusal)
        told = json.loads(script.with_suffix(".json").read_text())  # it is written before
        self.asked.append(("submit", told["jobs"]))
        return "7"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster(tmp_path)
    monkeypatch.setattr(sweeps, "outcomes", {})
    monkeypatch.setattr(slurm, "is_here", lambda: True)
    monkeypatch.setattr(slurm, "ended", lambda jobs: {})
    for name in ("queue", "submit"):
        monkeypatch.setattr(slurm, name, getattr(made, name))
    for name in ("rename", "cancel"):
        monkeypatch.setattr(slurm, name, lambda told, name=name: made.asked.append((name, dict(told))))
    monkeypatch.setattr(slurm_launcher.time, "sleep", lambda seconds: made.asked.append(("sleep", seconds)))
    return made


def launch(
    cluster: Cluster, count: int = 2, fail_fast: bool = False, sweeper: str = "x.Grid", **told: Any
) -> list[Any]:
    config = {
        "hydra": {"sweep": {"dir": str(cluster.folder)}, "sweeper": {"_target_": sweeper}},
        "fail_fast": fail_fast,
    }

    class Launcher(SlurmLauncher):
        def jobs_of(self, job_overrides: Any, first: int) -> list[SweepJob]:
            return [
                SweepJob(first + n, words, cluster.folder / f"job{n}", OmegaConf.create({"then": {}}), f"title{n}")
                for n, words in enumerate(job_overrides)
            ]

        def tell_complete(self, job: SweepJob) -> bool:
            return job.name in cluster.complete

    launcher = Launcher(**SETTINGS | told)
    launcher.config = OmegaConf.create(config)
    return list(launcher.launch([["a=b c", f"seed={n}"] for n in range(count)], 5))


def values(found: list[JobReturn]) -> list[Any]:
    return [each.return_value for each in found]


def test_jobs_are_one_array_and_their_values_are_collected_when_all_have_ended(cluster: Cluster, capsys: Any) -> None:
    running = {"7_0": Seen("RUNNING", nodes="gpu1"), "7_1": Seen("PENDING", "Priority")}
    cluster.looks = [{}, running, running | {"7_0": Seen("COMPLETED")}, {"7_1": Seen("COMPLETED")}]
    assert values(launch(cluster)) == [0.5, 1.5]
    assert [name for name, _ in cluster.asked] == ["submit", "rename", "sleep", "sleep"]
    assert cluster.asked[:2] == [("submit", ["job0", "job1"]), ("rename", {"7_0": "title0", "7_1": "title1"})]
    assert all(2.0 <= seconds < 3.0 for _, seconds in cluster.asked[2:])
    assert json.loads((cluster.folder / ".slurm/001.json").read_text()) == {
        "number": "7", "jobs": ["job0", "job1"], "told": ["job0", "job1"],
    }  # fmt: skip
    said = capsys.readouterr().out.splitlines()
    assert "job 5 is 7_0 of Slurm: title0" in said
    assert "job 5 runs on gpu1: title0" in said
    assert "job 6 completed: value 1.5" in said
    assert sweeps.outcomes == {}


def test_the_script_has_the_options_the_words_of_every_job_and_the_recipe(cluster: Cluster, tmp_path: Path) -> None:
    added = {"mail-type": "END", "timeout_min": 30, "open_mode": "truncate"}  # which wins over all else
    more = {"setup": ["module load cuda", "# a line"], "additional_parameters": added, "qos": "low"}
    launch(cluster, 3, detach=True, array_parallelism=2, **more)
    text = (tmp_path / ".slurm/001.sh").read_text()
    options = {line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")}
    assert options == {
        f"--job-name={shlex.quote(tmp_path.name)}", "--array=0-2%2", f"--output={tmp_path}/.slurm/%A_%a.log",
        "--open-mode=truncate", "--signal=USR2@90", "--requeue", "--time=30", "--mail-type=END", "--qos=low",
    }  # fmt: skip
    assert "\nmodule load cuda\n# a line\n" in text
    launch(cluster, 2, detach=True)
    lines = (tmp_path / ".slurm/002.sh").read_text().splitlines()
    assert {"#SBATCH --array=0-1", "#SBATCH --open-mode=append", "#SBATCH --time=60"} <= set(lines)
    assert f"export MAE_HYDRA_PYTHON={shlex.quote(sys.executable)}\nexport COMES_BACK=3\n" in text
    assert "export MAE_HYDRA_JOB_OF_A_SWEEP=1\n" in text
    assert "scontrol requeue" in text
    # As element 1 it runs the second job, in its directory, and tells its words to `srun`.
    shown = text.partition("trap :")[0] + '\nprintf "%s\\n" "$@"'
    subprocess.run(["bash", "-c", shown], env={"SLURM_ARRAY_TASK_ID": "1", "PATH": "/usr/bin:/bin"}, check=True)
    assert (tmp_path / "job1/console.log").read_text() == f"a=b c\nseed=1\nhydra.run.dir={tmp_path}/job1\n"


def test_what_is_done_is_not_submitted_and_what_is_under_way_not_again(cluster: Cluster, capsys: Any) -> None:
    cluster.looks = [{}, {"7_0": Seen("RUNNING"), "7_1": Seen("RUNNING")}]
    launch(cluster, detach=True)
    cluster.asked.clear()
    assert "2 jobs are in Slurm still, without this process; the same command collects" in capsys.readouterr().out
    cluster.complete = {"job1"}
    cluster.ends(1, "completed")
    cluster.looks = [{"7_0": Seen("RUNNING")}, {"7_0": Seen("COMPLETED")}]
    assert values(launch(cluster, 3, detach=True)) == [0.5, 1.5, None]
    assert [(name, told) for name, told in cluster.asked if name == "submit"] == [("submit", ["job2"])]
    assert "1 job is in Slurm already, or ended there while nobody looked" in capsys.readouterr().out
    told = [json.loads(file.read_text())["told"] for file in sorted((cluster.folder / ".slurm").glob("*.json"))]
    assert told == [["job1"], []]


def test_jobs_of_a_process_that_died_before_it_knew_their_number_are_not_submitted_again(cluster: Cluster) -> None:
    submission = submissions.new(cluster.folder, ["job0", "job1"])
    submission.write()
    running = {f"7_{n}": Seen("RUNNING", script=str(submission.script)) for n in range(2)}
    cluster.looks = [running, running, {f"7_{n}": Seen("COMPLETED") for n in range(2)}]
    assert values(launch(cluster)) == [0.5, 1.5]
    assert [name for name, _ in cluster.asked] == ["sleep"]


def test_without_a_slurm_what_is_complete_is_collected_and_all_else_refused_by_what_submits(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.looks, cluster.complete, cluster.refusal = [None], {"job0", "job1"}, "sbatch is not found here"
    for number in range(2):
        cluster.ends(number, "completed")
    for is_here in (True, False):  # nobody is asked where all is complete
        monkeypatch.setattr(slurm, "is_here", lambda told=is_here: told)
        assert values(launch(cluster)) == [0.5, 1.5]
    with pytest.raises(UserError, match="sbatch is not found here"):
        launch(cluster, 3)


def test_who_leaves_before_anything_was_submitted_leaves_nothing_to_come_back_to(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(script: Path) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(slurm, "submit", stop)
    with pytest.raises(KeyboardInterrupt) as left:
        launch(cluster)
    assert left.value.__cause__ is None


def test_a_job_that_failed_is_told_and_queued_anew_by_the_same_command(cluster: Cluster, capsys: Any) -> None:
    cluster.looks = [{}, {"7_0": Seen("FAILED"), "7_1": Seen("COMPLETED")}]
    assert values(launch(cluster)) == [None, 1.5]
    assert {name: (each.state, each.error) for name, each in sweeps.outcomes.items()} == {
        "job0": ("failed", "ValueError: x")
    }
    assert "what is not complete is queued anew by the same command" in capsys.readouterr().out
    cluster.complete, cluster.looks = {"job1"}, [{}, {"7_0": Seen("COMPLETED")}]
    assert values(launch(cluster)) == [0.5, 1.5]
    assert [told for name, told in cluster.asked if name == "submit"] == [["job0", "job1"], ["job0"]]


def test_where_one_failure_ends_a_sweep_the_others_are_cancelled(cluster: Cluster) -> None:
    cluster.looks = [{}, {"7_0": Seen("FAILED"), "7_1": Seen("RUNNING"), "7_2": Seen("PENDING")}]
    with pytest.raises(SweepStopped):
        launch(cluster, 3, fail_fast=True)
    assert [list(told) for name, told in cluster.asked if name == "cancel"] == [["7_1", "7_2"]]
    states = {name: each.state for name, each in sweeps.outcomes.items()}
    assert states == {"job0": "failed", "job1": "cancelled", "job2": "cancelled"}
    assert sweeps.outcomes["job2"].overrides == ["a=b c", "seed=2"]
    assert json.loads((cluster.folder / ".slurm/001.json").read_text())["told"] == ["job0", "job1", "job2"]


def test_who_leaves_is_told_how_to_come_back_and_the_jobs_go_on(cluster: Cluster, capsys: Any) -> None:
    cluster.looks = [{}, {"7_0": Seen("RUNNING"), "7_1": Seen("PENDING", "QOSMaxJobs")}, KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt) as left:
        launch(cluster)
    assert isinstance(left.value.__cause__, LeftToSlurm)
    assert left.value.__cause__.exit_code == 75
    said = capsys.readouterr().out
    assert "To stop them: scancel 7\n" in said
    assert "1 job is waiting; the reason, in Slurm's words: QOSMaxJobs\n" in said
    assert {name: each.state for name, each in sweeps.outcomes.items()} == {"job0": "running", "job1": "waiting"}
    assert not any(name == "cancel" for name, _ in cluster.asked)


def test_reasons_that_pass_by_themselves_are_not_told_and_one_that_never_does_has_its_way_out(
    cluster: Cluster, capsys: Any
) -> None:
    no_node = "no node of the partition has what a job asks for: tasks_per_node, cpus_per_task, gpus_per_node, mem_gb"
    passing = dict.fromkeys(("", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime"))
    never = dict.fromkeys(("PartitionConfig", "BadConstraints", "PartitionNodeLimit"), f" ({no_node})")
    for reason, way_out in (passing | never | {"QOSMaxJobs": ""}).items():
        cluster.looks = [{}, {"7_0": Seen("PENDING", reason), "7_1": Seen("PENDING", reason)}]
        launch(cluster, detach=True)
        said = [line for line in capsys.readouterr().out.splitlines() if "in Slurm's words" in line]
        told = f"2 jobs are waiting; the reason, in Slurm's words: {reason}{way_out}"
        assert said == ([] if way_out is None else [told])
        submissions.tell(cluster.folder, ["job0", "job1"])


def test_a_job_that_comes_back_is_said_once(cluster: Cluster, capsys: Any) -> None:
    waits, runs = {"7_0": Seen("PENDING")}, {"7_0": Seen("RUNNING", nodes="n1")}
    cluster.looks = [{}, waits, waits, runs, runs, waits, runs, {"7_0": Seen("COMPLETED")}]
    launch(cluster, 1)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("job 5 ") and "is 7_0" not in line]
    assert told == [
        "job 5 runs on n1: title0", "job 5 is queued again: title0", "job 5 runs on n1: title0",
        "job 5 completed: value 0.5",
    ]  # fmt: skip


def test_what_slurm_does_not_take_leaves_nothing_to_be_found_again(cluster: Cluster) -> None:
    cluster.refusal = "Slurm does not take the jobs: no such partition"
    with pytest.raises(UserError, match="no such partition"):
        launch(cluster)
    assert not list((cluster.folder / ".slurm").glob("*.json"))


def test_where_it_is_not_known_what_is_under_way_nothing_is_submitted(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.looks = [None]
    with pytest.raises(UserError, match=r"Slurm does not answer \(squeue\)"):
        launch(cluster)
    with pytest.raises(UserError, match=r"leave out hydra\.launcher\.detach"):
        launch(cluster, detach=True, sweeper="hydra_plugins.mae_hydra.Search")
    assert cluster.asked == []


def test_the_queue_is_looked_into_less_often_the_longer_it_takes(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter((1000.0, 1000.0, 1300.0, 5000.0))
    monkeypatch.setattr(slurm_launcher.time, "monotonic", lambda: next(times))
    running = {"7_0": Seen("RUNNING")}
    cluster.looks = [{}, running, running, running, {"7_0": Seen("COMPLETED")}]
    assert values(launch(cluster, 1)) == [0.5]
    assert [told for name, told in cluster.asked if name == "sleep"] == [2.0, 12.0, 15.0]

"""Tasks of Slurm as the processes of a run: what srun sets, and what it does not."""

import signal
from pathlib import Path

import pytest

from mae_hydra.launching import scheduler
from mae_hydra.launching.scheduler import join_tasks, pass_on

SRUN = {
    "SLURM_PROCID": "9",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "16",
    "SLURM_STEP_NODELIST": "gpu[007-008],cpu1",
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
}


def test_tasks_of_srun_are_the_processes() -> None:
    environment = dict(SRUN)
    join_tasks(environment)
    found = {name: environment[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR")}
    assert found == {"RANK": "9", "LOCAL_RANK": "1", "WORLD_SIZE": "16", "MASTER_ADDR": "gpu007"}
    others = [SRUN | {"SLURM_PROCID": "3"}, SRUN | {"SLURM_STEP_ID": "1"}, SRUN | {"SLURM_JOB_ID": "4712"}]
    for other in others:
        join_tasks(other)
    ports = [other["MASTER_PORT"] for other in (environment, *others)]
    assert ports[0] == ports[1]
    assert len(set(ports)) == 3
    every = [scheduler._port({"SLURM_JOB_ID": str(job)}) for job in range(200)]
    assert len(set(every)) > 150
    assert all(1024 < port < 65536 for port in every)
    given = SRUN | {"MASTER_PORT": "1234"}
    join_tasks(given)
    assert given["MASTER_PORT"] == "1234"
    assert 1024 < int(environment["MASTER_PORT"]) < 65536


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "16", "SLURM_JOB_NODELIST": "gpu[007-008]"},  # a batch script, a shell
        SRUN | {"SLURM_STEP_NUM_TASKS": "1"},
        SRUN | {"RANK": "0", "WORLD_SIZE": "1"},  # torchrun, started by srun
    ],
)
def test_one_process_stays_one(environment: dict[str, str]) -> None:
    given = dict(environment)
    join_tasks(environment)
    assert environment == given


@pytest.mark.parametrize(
    ("listed", "first"), [("a1", "a1"), ("a1,a2", "a1"), ("n-[3,5-9]", "n-3"), ("x[01-02]", "x01")]
)
def test_the_first_host_of_a_list(listed: str, first: str) -> None:
    environment = SRUN | {"SLURM_STEP_NODELIST": listed}
    join_tasks(environment)
    assert environment["MASTER_ADDR"] == first


def job_told(state: str, preempted: str = "None", batch: int = 1, requeue: int = 1) -> str:
    flags = f"Requeue={requeue} BatchFlag={batch}"
    return f"JobId=7 JobName=a b JobState={state} Reason=None {flags} PreemptTime={preempted} WorkDir=/x\n"


@pytest.mark.parametrize(
    ("told", "comes_back", "number"),
    [
        (job_told("RUNNING", "2026-11-29T13:09:42"), True, signal.SIGUSR2),  # the warning may come first
        (None, False, signal.SIGUSR1),  # the script does what a warning asks for
        (job_told("CANCELLED", "2026-11-29T13:09:42"), False, signal.SIGTERM),
        (job_told("RUNNING", "2026-11-29T13:09:42") + "JobId=8 JobState=PENDING\n", True, signal.SIGTERM),
        (job_told("RUNNING", "2026-11-29T13:09:42"), True, signal.SIGTERM),
        (job_told("RUNNING", "2026-11-29T13:09:42", batch=0), False, signal.SIGTERM),  # of salloc
        (job_told("RUNNING", "2026-11-29T13:09:42", requeue=0), False, signal.SIGTERM),  # it will be cancelled
        (job_told("RUNNING"), False, signal.SIGTERM),  # somebody sent the signal by hand
        (job_told("CANCELLED"), False, signal.SIGTERM),
        (job_told("TIMEOUT"), False, signal.SIGTERM),
        (None, True, signal.SIGTERM),  # Slurm cannot be asked: no work is lost by waiting
    ],
)
def test_a_job_that_slurm_preempts_is_queued_again_and_waits_to_be_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], told: str | None, comes_back: bool, number: int
) -> None:
    asked: list[str] = []

    def scontrol(*words: str) -> str | None:
        asked.append(" ".join(words))
        return told

    monkeypatch.setattr(scheduler, "_scontrol", scontrol)
    monkeypatch.setattr(scheduler, "UNTIL_ENDED", 0.0)
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, *scheduler.WARNINGS)}
    try:
        pass_on(number, {"SLURM_JOB_ID": "7"})
        for each in former if comes_back else ():  # it waits for its end, and is not stopped once more
            assert signal.getsignal(each) is signal.SIG_IGN
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    assert asked == ["show job -o 7", *(["requeue 7"] if comes_back else [])]
    queued = "and is queued again; it" if told else "and"
    said = f"job 7 of Slurm is preempted {queued} waits to be ended\n" if comes_back else ""
    assert capsys.readouterr().err == said
    asked.clear()
    monkeypatch.setattr(scheduler, "_scontrol", lambda *words: asked.append(words[-1]) or job_told("CANCELLED"))
    pass_on(signal.SIGTERM, {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"})
    assert asked == ["7_2"]  # 7 alone would be the whole array
    asked.clear()
    pass_on(signal.SIGTERM, {})  # no job of Slurm
    assert not asked


def test_tasks_that_submitit_starts_here_are_processes_too_and_a_given_place_stays() -> None:
    environment = {"SUBMITIT_LOCAL_GLOBALID": "1", "SUBMITIT_LOCAL_LOCALID": "1", "SUBMITIT_LOCAL_NTASKS": "2",
                   "SUBMITIT_LOCAL_JOB_ID": "9", "MASTER_ADDR": "given"}  # fmt: skip
    join_tasks(environment)
    assert [environment[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR")] == [
        "1",
        "1",
        "2",
        "given",
    ]
    other = environment | {"SUBMITIT_LOCAL_JOB_ID": "8"}
    for name in ("RANK", "MASTER_PORT", "MASTER_ADDR"):
        del other[name]
    join_tasks(other)
    assert other["MASTER_ADDR"] == "127.0.0.1"
    assert other["MASTER_PORT"] != environment["MASTER_PORT"]
    of_job = {name: value for name, value in SRUN.items() if name != "SLURM_STEP_NODELIST"} | {
        "SLURM_JOB_NODELIST": "n3"
    }
    join_tasks(of_job)
    assert of_job["MASTER_ADDR"] == "n3"
    both = SRUN | {"SLURM_JOB_NODELIST": "other"}
    join_tasks(both)
    assert both["MASTER_ADDR"] == "gpu007"


def test_tasks_after_the_first_wait_and_what_cannot_be_asked_has_no_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(scheduler.time, "sleep", waited.append)
    monkeypatch.setattr(scheduler, "_scontrol", lambda *words: job_told("CANCELLED"))
    for rank, waits in (("0", []), ("2", [scheduler.PATIENCE])):
        pass_on(signal.SIGTERM, {"SLURM_JOB_ID": "7", "RANK": rank})
        assert waited == waits
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert scheduler._scontrol("show") is None
    for code, answer in ((0, "told"), (1, None)):
        (tmp_path / "scontrol").write_text(f"#!/bin/sh\nprintf told\nexit {code}\n")
        (tmp_path / "scontrol").chmod(0o755)
        assert scheduler._scontrol("show") == answer


def test_a_signal_that_comes_during_imports_stops_the_program_when_they_are_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, *scheduler.WARNINGS)}
    try:
        scheduler.note()
        signal.raise_signal(signal.SIGUSR2)
        signal.raise_signal(signal.SIGTERM)  # the first one is what stops it
        with pytest.raises(KeyboardInterrupt) as stopped:
            scheduler.heed()
        assert stopped.value.args == (signal.SIGUSR2,)
        signal.raise_signal(signal.SIGTERM)  # heeded already
        scheduler.heed()
        for number, handler in former.items():
            signal.signal(number, handler)
        monkeypatch.delenv("SLURM_JOB_ID")
        scheduler.note()
        assert {number: signal.getsignal(number) for number in former} == former  # nothing, without Slurm
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def test_a_warning_is_passed_on_to_who_listened_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "PATIENCE", 0.0)
    got: list[int] = []
    former = signal.signal(signal.SIGUSR2, lambda number, frame: got.append(number))
    try:
        for number in (signal.SIGUSR2, signal.SIGTERM, None):
            pass_on(number)
        assert got == [signal.SIGUSR2]
        monkeypatch.setenv("SLURM_JOB_ID", "7")
        scheduler.note()  # somebody else's handler stays
        signal.raise_signal(signal.SIGUSR2)
        assert got == [signal.SIGUSR2] * 2
        signal.signal(signal.SIGUSR2, scheduler._stop)  # of this program, which has heeded it already
        pass_on(signal.SIGUSR2, {})
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)
        pass_on(signal.SIGUSR2)  # would end this process
    finally:
        signal.signal(signal.SIGUSR2, former)

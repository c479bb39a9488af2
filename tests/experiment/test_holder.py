"""Who holds a run directory: never two living processes at once, and never for ever one that is gone."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from raising import raising

from mae_hydra.errors import UserError
from mae_hydra.experiment import holder
from mae_hydra.experiment.holder import Refused, holding, is_held

ROOT = Path(__file__).parents[2]
TIMES = holder.BEAT, holder.LOCK_PATIENCE, holder.PATIENCE, holder.LONG_SILENCE  # as a run has them
HOLD = """
import sys, time
from pathlib import Path
from mae_hydra.experiment import holder
holder.LOCK_PATIENCE = holder.BEAT = 0.05
try:
    with holder.holding(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
except holder.Refused:
    print("refused", flush=True)
"""


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch):
    """Waiting as in real life, in hundredths of a second."""
    monkeypatch.setattr(holder, "BEAT", 0.02)
    monkeypatch.setattr(holder, "PATIENCE", 0.3)
    monkeypatch.setattr(holder, "LOCK_PATIENCE", 0.1)


def process(directory: Path, program: str = HOLD) -> subprocess.Popen:
    """One that holds `directory` until its input is closed; says whether it does."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(program), str(directory)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)


def beat_of(directory: Path, **told: object) -> None:
    """A heartbeat that another machine left, under the next number."""
    number = max(holder._numbers(directory), default=0) + 1
    content = {"host": "nodeA", "pid": 1, "since": "2026-01-01 00:00:00", "boot": "of another machine", "token": "a"}
    (directory / f".heartbeat-{number}").write_bytes(json.dumps(content | told).encode().ljust(holder.SIZE))


def elsewhere(monkeypatch) -> None:
    """As seen from another machine whose file system does not hand locks on."""
    monkeypatch.setattr(holder, "boot_id", lambda: "of this machine")
    monkeypatch.setattr(holder.fcntl, "flock", lambda *_: None)


def test_a_directory_is_held_by_one_process_and_told_by_whom(tmp_path):
    with process(tmp_path) as other:
        assert other.stdout.readline() == "held\n"
        assert is_held(tmp_path)
        with (
            pytest.raises(Refused, match=f"being trained by process {other.pid} on .* since 2.* stop it"),
            holding(tmp_path),
        ):
            pass
        other.kill()
        other.wait()
        assert not is_held(tmp_path)
        with holding(tmp_path):  # at once: the kernel has let go of the lock
            assert is_held(tmp_path)
    assert not is_held(tmp_path)


def test_of_many_that_start_in_the_same_moment_one_holds(tmp_path):
    with process(tmp_path) as a, process(tmp_path) as b, process(tmp_path) as c:
        said = sorted(each.stdout.readline() for each in (a, b, c))
        assert said == ["held\n", "refused\n", "refused\n"]


def test_a_stopped_process_still_holds(tmp_path):
    with process(tmp_path) as other:
        assert other.stdout.readline() == "held\n"
        other.send_signal(signal.SIGSTOP)
        assert is_held(tmp_path)
        with pytest.raises(Refused), holding(tmp_path):
            pass
        other.send_signal(signal.SIGCONT)


def test_what_was_forked_does_not_hold_on_after_the_process_is_killed(tmp_path):
    """Loading processes outlive a killed training for a moment."""
    forking = HOLD.replace('print("held"', 'import os; os.fork() or time.sleep(30); print("held"')
    with process(tmp_path, forking) as other:
        assert other.stdout.readline() == "held\n"
        other.kill()
        other.wait()
        with holding(tmp_path):
            pass


def test_processes_that_belong_to_the_holder_hold_with_it(tmp_path):
    sharing = """
    import subprocess, sys, time
    from pathlib import Path
    from mae_hydra.experiment import holder
    with holder.holding(Path(sys.argv[1])) as shared:
        child = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        subprocess.Popen(child, stdin=sys.stdin, stdout=subprocess.DEVNULL, pass_fds=shared)
        print("held", flush=True)
        time.sleep(60)
    """
    with process(tmp_path, sharing) as other:
        assert other.stdout.readline() == "held\n"
        other.kill()
        other.wait()
        with pytest.raises(Refused), holding(tmp_path):  # its worker may still be writing
            pass
        other.stdin.close()
        holder.LOCK_PATIENCE = 5
        with holding(tmp_path):
            pass


def test_a_holder_on_another_machine_is_gone_once_its_heartbeat_has_stopped(tmp_path, capfd):
    beat_of(tmp_path)
    began = time.monotonic()
    with holding(tmp_path):
        assert time.monotonic() - began >= holder.PATIENCE
        assert [path.name for path in tmp_path.glob(".heartbeat-*")] == [".heartbeat-2"]
    assert "was last held by process 1 on nodeA since 2026-01-01" in capfd.readouterr().out
    began = time.monotonic()
    with holding(tmp_path):  # it was let go in order
        assert time.monotonic() - began < holder.PATIENCE


def test_a_holder_on_another_machine_that_lives_is_never_joined(tmp_path, monkeypatch):
    with holding(tmp_path):
        elsewhere(monkeypatch)
        with pytest.raises(Refused, match=f"being trained by process {os.getpid()}"), holding(tmp_path):
            pass


def test_of_two_machines_that_take_over_at_once_one_holds(tmp_path, monkeypatch):
    elsewhere(monkeypatch)
    beat_of(tmp_path)
    held, refused, together = [], [], threading.Barrier(4)

    def take() -> None:
        together.wait()
        try:
            with holding(tmp_path):
                held.append(1)
                time.sleep(1)
        except Refused:
            refused.append(1)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 3)


def test_containers_of_one_name_in_which_every_process_is_the_first_are_told_apart(tmp_path, monkeypatch):
    """The host and the process id are ours, and yet it is another machine."""
    beat_of(tmp_path, host=holder.socket.gethostname(), pid=os.getpid())
    began = time.monotonic()
    with holding(tmp_path):
        assert time.monotonic() - began >= holder.PATIENCE


def test_a_clock_that_goes_backwards_confuses_nothing(tmp_path, monkeypatch):
    now = iter(range(2_000_000_000, 0, -1000))
    monkeypatch.setattr(holder.time, "time", lambda: float(next(now)))
    beat_of(tmp_path)
    began = time.monotonic()
    with holding(tmp_path):
        assert holder.PATIENCE <= time.monotonic() - began < 10 * holder.PATIENCE
        assert is_held(tmp_path)
        with pytest.raises(Refused), holding(tmp_path):
            pass
    assert not is_held(tmp_path)


def test_what_a_former_holder_writes_late_confuses_nobody(tmp_path):
    """A rename, or a write, that arrives on the file system when another process has taken over long since."""
    beat_of(tmp_path)
    former = (tmp_path / ".heartbeat-1").read_bytes()
    with holding(tmp_path):
        (tmp_path / ".late").write_bytes(former)
        os.replace(tmp_path / ".late", tmp_path / ".heartbeat-1")
        time.sleep(3 * holder.BEAT)
        assert is_held(tmp_path)
        assert max(holder._numbers(tmp_path)) == 2
    assert not is_held(tmp_path)


def test_a_holder_that_was_taken_for_dead_ends_without_another_write(tmp_path):
    waking = HOLD.replace("sys.stdin.read()", "time.sleep(30); Path(sys.argv[1], 'written').touch()")
    with process(tmp_path, waking) as other:
        assert other.stdout.readline() == "held\n"
        beat_of(tmp_path)  # another machine has taken over
        assert other.wait(10) == 1
    assert not (tmp_path / "written").exists()


def test_a_holder_killed_on_this_machine_is_replaced_at_once(tmp_path, monkeypatch):
    beat_of(tmp_path, boot=holder.boot_id())
    began = time.monotonic()
    with holding(tmp_path):
        assert time.monotonic() - began < holder.PATIENCE


def test_without_locks_even_a_holder_on_this_machine_is_looked_at(tmp_path, monkeypatch):
    beat_of(tmp_path, boot=holder.boot_id())
    monkeypatch.setattr(holder.fcntl, "flock", raising(OSError("not supported")))
    began = time.monotonic()
    with holding(tmp_path):
        assert time.monotonic() - began >= holder.PATIENCE
        assert is_held(tmp_path)
    assert not is_held(tmp_path)


def test_a_state_is_shown_without_waiting_and_not_for_ever(tmp_path, monkeypatch):
    beat_of(tmp_path)
    began = time.monotonic()
    assert is_held(tmp_path) is False  # there is no lock file: nobody of this program
    (tmp_path / ".lock").touch()
    assert is_held(tmp_path)
    assert time.monotonic() - began < holder.PATIENCE
    for silence, held in ((holder.LONG_SILENCE - 60, True), (holder.LONG_SILENCE + 1, False)):
        os.utime(tmp_path / ".heartbeat-1", (time.time() - silence,) * 2)
        assert is_held(tmp_path) is held
    beat = holder._Beat(2, b"{}")  # of a file that is gone once it was read
    monkeypatch.setattr(holder, "_newest", lambda run_dir: beat)
    assert is_held(tmp_path) is False
    monkeypatch.setattr(holder.fcntl, "flock", raising(OSError("not supported")))
    assert is_held(tmp_path) is False


def test_a_disk_that_is_full_for_a_while_costs_no_more_than_a_heartbeat(tmp_path, monkeypatch):
    with holding(tmp_path):
        before = (tmp_path / ".heartbeat-1").read_bytes()
        pwrite, full = os.pwrite, [True]
        fail = raising(OSError(28, "full"))
        monkeypatch.setattr(os, "pwrite", lambda *told: fail() if full[0] else pwrite(*told))
        time.sleep(4 * holder.BEAT)
        assert (tmp_path / ".heartbeat-1").read_bytes() == before
        full[0] = False
        time.sleep(6 * holder.BEAT)
        assert (tmp_path / ".heartbeat-1").read_bytes() != before


def test_a_process_that_stood_still_before_it_took_a_number_gives_way_to_a_higher_one(tmp_path, monkeypatch):
    """Without locks: the number that it has looked up is taken, let go and removed before it goes on."""
    elsewhere(monkeypatch)
    open_file = os.open

    def slow(path, flags, *mode):
        if str(path).endswith(".heartbeat-1") and flags & os.O_EXCL:
            monkeypatch.setattr(holder.os, "open", open_file)
            beat_of(tmp_path)
            beat_of(tmp_path)
            (tmp_path / ".heartbeat-1").unlink()
            threading.Thread(target=keep_beating, daemon=True).start()
        return open_file(path, flags, *mode)

    def keep_beating():
        for number in range(50):
            (tmp_path / ".heartbeat-2").write_bytes(json.dumps({"token": number}).encode().ljust(holder.SIZE))
            time.sleep(0.02)

    monkeypatch.setattr(holder.os, "open", slow)
    with pytest.raises(Refused), holding(tmp_path):
        pass
    assert not (tmp_path / ".heartbeat-1").exists()


def test_a_heart_beats_several_times_before_its_holder_counts_as_gone():
    beat, lock_patience, patience, silence = TIMES
    assert 0 < lock_patience < beat < patience / 4 < silence / 16


def test_holders_are_numbered_beyond_nine_and_tell_since_when_they_hold(tmp_path):
    for name in (".heartbeat-9", ".heartbeat-10", ".heartbeat-11x", ".heartbeat-", "heartbeat-12"):
        (tmp_path / name).write_bytes(holder._content("yesterday"))
    assert sorted(holder._numbers(tmp_path)) == [9, 10]
    newest = holder._newest(tmp_path)
    assert newest.number == 10
    assert newest.told["since"] == "yesterday"
    assert newest.holder == f"process {os.getpid()} on {holder.socket.gethostname()} since yesterday"
    assert newest.told.keys() == {"host", "pid", "since", "boot", "token"}
    assert holder._Beat(1, b"[1]").holder == "process unknown on an unknown machine"
    contents = (holder.FREE, holder.FREE.ljust(holder.SIZE), b"", b"freed", b'{"free": 1}')
    beats = [holder._Beat(1, content) for content in contents]
    assert [beat.free for beat in beats] == [True, True, False, False, False]  # empty: it is about to be written
    who = [str(holder._refusal(tmp_path, beat)).split(";")[0].partition("by ")[2] for beat in (None, beats[0], newest)]
    assert who == ["another process", "another process", newest.holder]


def test_a_lock_of_who_only_looks_is_no_holder(tmp_path):
    beat_of(tmp_path, boot=holder.boot_id())  # of a process that is gone
    looking = os.open(tmp_path / ".lock", os.O_RDWR | os.O_CREAT)
    for lock, held in ((holder.fcntl.LOCK_SH, False), (holder.fcntl.LOCK_EX, True), (holder.fcntl.LOCK_UN, False)):
        holder.fcntl.flock(looking, lock)
        assert is_held(tmp_path) is held
    os.close(looking)


@pytest.mark.parametrize(
    ("number", "way_out"), [(28, "make room there, or use another"), (13, r"\(Permission denied\); use")]
)
def test_a_directory_in_which_no_number_can_be_taken_is_one_sentence(tmp_path, monkeypatch, number, way_out):
    def fail(run_dir):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(holder, "_claim", fail)
    with pytest.raises(UserError, match=f"cannot be written to .*{way_out}"), holding(tmp_path):
        pass
    assert not holder._descriptors


def test_a_lock_that_was_handed_on_is_kept_by_no_fork(tmp_path):
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(descriptor, True)
    holder.belongs_here(descriptor)
    assert not os.get_inheritable(descriptor)
    child = os.fork()
    if child == 0:
        try:
            os.fstat(descriptor)
        except OSError:
            os._exit(7)
        os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    holder._descriptors.discard(descriptor)
    os.close(descriptor)


@pytest.mark.parametrize(
    ("content", "refused"), [(holder.FREE + b"  \n", False), (None, False), (b'{"host": "nodeA"}', True)]
)
def test_a_holder_that_lets_go_while_it_is_watched_is_followed_and_one_that_stirs_is_not(
    tmp_path, monkeypatch, content, refused
):
    last, looks = holder._Beat(1, b'{"host": "nodeA", "n": 1}'), []
    found = None if content is None else holder._Beat(1, content)
    monkeypatch.setattr(holder, "_newest", lambda directory: looks.append(directory) or found)
    if refused:
        with pytest.raises(Refused, match="nodeA"):
            holder._watch(tmp_path, last)
    else:
        holder._watch(tmp_path, last)
    assert looks == [tmp_path]  # and not until patience ends


def test_a_folder_that_is_gone_has_no_holder_and_cannot_be_held(tmp_path):
    assert holder._numbers(tmp_path / "gone") == []
    assert holder._newest(tmp_path / "gone") is None
    assert not is_held(tmp_path / "gone")
    with pytest.raises(UserError, match=r"gone cannot be written to \(No such file or directory\); use another"):
        holding(tmp_path / "gone").__enter__()


def test_a_heartbeat_that_goes_while_it_is_read_was_followed_by_another(tmp_path, monkeypatch):
    numbers = [[3, 4], [3, 5]]
    monkeypatch.setattr(holder, "_numbers", lambda run_dir: numbers.pop(0))
    (tmp_path / ".heartbeat-5").write_bytes(b"{}")
    assert holder._newest(tmp_path) == holder._Beat(5, b"{}")


def test_a_number_that_somebody_takes_in_this_moment_is_looked_at_before_the_next_is_taken(tmp_path, monkeypatch):
    """Its holder may have let go since, or stirs."""
    looks = iter([None, holder._Beat(1, holder.FREE)])
    monkeypatch.setattr(holder, "_newest", lambda run_dir: next(looks))
    (tmp_path / ".heartbeat-1").touch()
    assert holder._claim(tmp_path) == 2
    assert holder._numbers(tmp_path) == [2]


@pytest.mark.parametrize(
    ("answer", "work"), [(None, False), (BlockingIOError("held"), True), (OSError("not supported"), False)]
)
def test_locks_work_where_a_second_one_is_refused(tmp_path, monkeypatch, answer, work):
    def flock(descriptor, how):
        asked.append((os.fstat(descriptor).st_ino, how))
        if answer is not None:
            raise answer

    (tmp_path / ".lock").touch()
    asked = []
    monkeypatch.setattr(holder.fcntl, "flock", flock)
    assert holder._locks_work(tmp_path) is work
    assert asked == [((tmp_path / ".lock").stat().st_ino, holder.fcntl.LOCK_SH | holder.fcntl.LOCK_NB)]
    monkeypatch.setattr(holder, "boot_id", lambda: "ours")
    gone = [holder._surely_gone(tmp_path, holder._Beat(1, b)) for b in (b'{"boot": "ours"}', b'{"boot": "x"}', b"{}")]
    assert gone == [work, False, False]  # of another machine only its silence tells


def test_a_heart_beats_with_its_own_beginning_until_a_higher_number_is_there(tmp_path, monkeypatch):
    class Beats:
        """Stands for the event that ends them: after `left` more."""

        def __init__(self, left):
            self.left, self.waited = left, []

        def wait(self, seconds):
            self.left -= 1
            self.waited.append(seconds)
            return self.left < 0

    monkeypatch.setattr(holder, "_now", lambda: "first" if not beats.waited else "later")
    left, contents, write = [], [], holder._write
    monkeypatch.setattr(holder, "_give_way", lambda run_dir: left.append(run_dir))
    monkeypatch.setattr(holder, "_write", lambda file, content: contents.append(content) or write(file, content))
    beats = Beats(2)
    holder._keep_beating(tmp_path, 4, beats)
    assert beats.waited == [holder.BEAT] * 3
    assert [json.loads(content)["since"] for content in contents] == ["first", "first"]
    assert contents[0] != contents[1]
    assert len((tmp_path / ".heartbeat-4").read_bytes()) == holder.SIZE
    assert left == []
    (tmp_path / ".heartbeat-5").touch()
    holder._keep_beating(tmp_path, 4, Beats(1))
    assert left == [tmp_path]


def test_who_gives_way_says_to_whom_and_ends_at_once(tmp_path, monkeypatch):
    ends, said = [], []
    monkeypatch.setattr(holder.os, "_exit", ends.append)
    monkeypatch.setattr(holder.os, "write", lambda number, text: said.append((number, text.decode())))
    holder._give_way(tmp_path)
    beat_of(tmp_path)
    holder._give_way(tmp_path)
    assert ends == [1, 1]
    assert [(number, text.partition("over by ")[2].partition(" while")[0]) for number, text in said] == [
        (2, "another process"), (2, "process 1 on nodeA since 2026-01-01 00:00:00"),
    ]  # fmt: skip


def test_a_machine_that_tells_no_identity_is_none_that_a_heartbeat_tells_of(monkeypatch):
    assert holder.boot_id() == holder.boot_id() != ""
    monkeypatch.setattr(Path, "read_text", raising(PermissionError(13, "denied")))
    assert holder.boot_id() != holder.boot_id()


def test_a_fork_closes_every_lock_of_its_parent_also_where_one_is_gone(tmp_path, monkeypatch):
    mine = [os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("a", "b")]
    os.close(mine[0])
    monkeypatch.setattr(holder, "_descriptors", set(mine))
    holder._forget_in_forks()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(mine[1])
    assert holder._descriptors == set()


def test_no_descriptor_stays_open_however_often_a_holder_looks_and_writes(tmp_path, monkeypatch):
    def opened():
        found = []
        for number in os.listdir("/proc/self/fd"):
            with suppress(OSError):  # of the look itself
                found.append(os.readlink(f"/proc/self/fd/{number}"))
        return [Path(file).name for file in found if file.startswith(str(tmp_path))]

    monkeypatch.setattr(holder, "BEAT", 60.0)
    with holding(tmp_path):
        for _ in range(3):
            holder._write(tmp_path / ".heartbeat-1", b"x")
            assert holder._locks_work(tmp_path)
            assert is_held(tmp_path)
            with pytest.raises(Refused), holding(tmp_path):
                pass
        assert opened() == [".lock"]
    assert opened() == []
    monkeypatch.setattr(holder.fcntl, "flock", raising(OSError("not supported")))
    for _ in range(3):
        holder._claim(tmp_path)
        assert not holder._locks_work(tmp_path)
        is_held(tmp_path)
    assert opened() == []

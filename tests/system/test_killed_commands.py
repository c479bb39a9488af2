"""SIGKILL at recorded moments of the commands that write: the same command again leaves what an unbroken one leaves.

A moment is a file or a folder that is about to be opened, made, renamed or removed, or a number of bytes after which
the system ends the process in the middle of a write.
"""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from forked import Forked
from PIL import Image

KILLS = 7

# Run in one forked process, which forks another for every call of the command: records the moments of an unbroken call,
# is killed at KILLS of them, one after the other in the same folder, and ends with a whole call.
PROGRAM = """
import importlib, json, os, resource, signal, sys
from pathlib import Path
from mae_hydra.commands import main
WRITERS = {"make-shards": "data.shards.write", "report": "report.report"}
importlib.import_module("mae_hydra." + WRITERS.get(sys.argv[2], "workflows." + sys.argv[2]))  # once for all forks
if sys.argv[2] == "export":  # most of its time is tracing, which writes nothing: once is enough
    import torch
    exporting = sys.modules["mae_hydra.workflows.export"]
    trace = exporting.trace
    def traced(*arguments):
        if not os.path.exists("traced.pt2"):
            torch.export.save(trace(*arguments), "traced.pt2")
        return torch.export.load("traced.pt2")
    exporting.trace = traced
kills, *words = sys.argv[1:]
kills, here = int(kills), os.getcwd()
EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.listdir", "os.scandir", "os.link"}
count, kill_at = 0, None

def hook(event, arguments):
    global count
    if event in EVENTS and isinstance(arguments[0], (str, os.PathLike)):
        if os.path.abspath(arguments[0]).startswith(os.path.join(here, "out")):
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

def call(moment=None, most_bytes=None):
    global kill_at
    process = os.fork()
    if process == 0:
        kill_at = moment
        if most_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        sys.addaudithook(hook)
        code = main(words)
        if moment is None and most_bytes is None:
            Path("count").write_text(str(count))
        sys.stdout.flush()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

def files():
    return [path for path in Path(here).glob("out*") for path in ([path] if path.is_file() else path.rglob("*"))]

assert call() == 0
os.rename("out", "unbroken")
events = int(Path("count").read_text())
largest = max(path.stat().st_size for path in Path("unbroken").rglob("*") if path.is_file())
if words[0] in ("evaluate", "predict", "make-shards"):  # they go on where they were: a part of the way each time
    moments = [{"moment": max(2, events // (kills + 3)) + number % 2} for number in range(kills)]
else:
    several = min(events, kills - 3)
    moments = [{"moment": (number * events) // (several + 3)} for number in range(several)]
    moments += [{"most_bytes": largest * part // 11} for part in range(1, kills - several + 1)]
os.mkdir("out") if words[0] in ("convert", "export") else None
states = []
for moment in moments:
    code = call(**moment)
    states.append([code, {str(p.relative_to(here)): p.stat().st_size for p in files() if p.is_file()}])
assert call() == 0
print("told:" + json.dumps(states))
"""


@pytest.fixture
def folder(tmp_path: Path, trained_upernet: Path) -> Path:
    (tmp_path / "run").symlink_to(trained_upernet)
    (tmp_path / "photos").mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (70, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    for split in ("train", "val"):
        for name in "ab":
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for number in range(3):
                Image.fromarray(pixels).save(tmp_path / "set" / split / name / f"{number}.png")
    return tmp_path


def same_zip(path: Path) -> object:
    with zipfile.ZipFile(path) as archive:
        return sorted((info.filename.partition("/")[2], info.CRC) for info in archive.infolist())


def scores(path: Path) -> object:
    return {k: v for k, v in json.loads(path.read_text()).items() if k not in ("protocol", "folder")}


def without_date(path: Path) -> object:
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", "", path.read_text())


def sorted_lines(path: Path) -> object:
    return sorted(path.read_bytes().splitlines())


SPECIAL: dict[str, Callable[[Path], object]] = {
    "file.pt": same_zip,
    "file.pt2": same_zip,
    "results.json": scores,
    "index.html": without_date,
    "rank0.jsonl": sorted_lines,
}


def contents(folder: Path) -> dict[str, object]:
    return {
        path.relative_to(folder).as_posix(): SPECIAL.get(path.name, Path.read_bytes)(path)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".mae-hydra-")
    }


COMMANDS = {
    "evaluate": ["evaluate", "run", "--out", "out"],
    "predict": ["predict", "run", "photos", "--out", "out", "--skip-existing"],
    "convert": ["convert", "run", "out/file.pt", "--overwrite"],
    "export": ["export", "run", "out/file.pt2", "--overwrite", "--output", "maps"],
    "make-shards": ["make-shards", "out", "data=imagenet", "data.root=set", "data.num_classes=2", "--workers", "0"],
    "report": ["report", "run", "--out", "out"],
}
COMMANDS["make-shards"] += ["--samples", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_killed_at_any_moment_leaves_in_the_end_what_an_unbroken_one_leaves(folder, command):
    (folder / "out").mkdir()
    (folder / "program.py").write_text(PROGRAM)
    process = Forked([str(folder / "program.py"), str(KILLS), *COMMANDS[command]], folder)
    out, said = process.communicate(timeout=300)
    assert process.returncode == 0, said[-3000:]
    states = json.loads(out.partition("told:")[2])
    assert sum(code in (-9, -25) for code, _ in states) >= KILLS, states  # each before its end
    whole = contents(folder / "unbroken")
    assert whole
    assert contents(folder / "out") == whole
    assert not list((folder / "out").rglob(".*.partial"))
    sizes = {
        path.relative_to(folder / "unbroken").as_posix(): path.stat().st_size
        for path in (folder / "unbroken").rglob("*")
    }
    for _, there in states:  # a file under its own name is whole at any moment, those apart that grow by lines
        for name, size in there.items():
            name = name.removeprefix("out/")
            if not name.endswith((".partial", ".jsonl")) and not name.startswith(".m"):
                assert size == sizes[name] or SPECIAL.get(Path(name).name) in (scores, without_date), name

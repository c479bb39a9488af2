"""Imports the program once and forks a process for every run that it is asked for: `python fork_server.py NAME PYTHON`.

It never trains, so it has one thread when it forks; what it imported is frozen, so a fork copies hardly any of it. It
has composed what tests compose most, and asked git. Started and asked by `forked.py`; a forked process asks for those
that it starts itself through PYTHON.
"""

import atexit
import fcntl
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import select
import signal
import socket
import sys
import threading
import types
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from mae_hydra.launching.importing import importing

# What a run imports sooner or later, but for what is run by `-m`; the optimizers import the compiler.
ROOMS = ("data", "engine", "evaluation", "figures", "inference", "models", "optim", "report", "tracking")
MODULES = ["mae_hydra.launching.launch", "mae_hydra.launching.job", "mae_hydra.commands"]
MODULES += ["mae_hydra.workflows.evaluate", "mae_hydra.workflows.predict", "mae_hydra.report.report"]
MODULES += [
    "multiprocessing.spawn",
    "torch._dynamo",
    "torch.distributed.launcher.api",
    "matplotlib.backends.backend_agg",
]
MODULES += [f"mae_hydra.{room}" for room in ROOMS]
COMPOSED = (["model=mae_vitt"], ["model=upernet_vitt"])  # of the smallest runs
LONGEST_REQUEST = 1 << 20
MOST_HANDED = 8  # descriptors that a process was started with, besides its input, output and errors


def serve(listening: socket.socket, tests: int, stand_in: str) -> None:
    """Until the tests close their end of the pipe `tests`. A request is JSON and a process's input, output and errors;
    the answers are its number and its exit code. Whoever goes before that takes the process along."""
    running: dict[int, tuple[int, socket.socket]] = {}  # descriptor of a process -> its number, and who waits for it
    while True:
        waiting = {asked.fileno(): process for process, asked in running.values()}
        readable, _, _ = select.select([tests, listening, *running, *waiting], [], [])
        if tests in readable:
            break
        for number in readable:
            if number in waiting:
                os.kill(waiting[number], signal.SIGKILL)
        for ended in [number for number in readable if number in running]:
            process, asked = running.pop(ended)
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            with suppress(BrokenPipeError):  # nobody waits any more
                asked.send(str(code).encode())
            asked.close()
            os.close(ended)
        if listening not in readable:
            continue
        asked, _ = listening.accept()
        request, descriptors, _, _ = socket.recv_fds(asked, LONGEST_REQUEST, 3 + MOST_HANDED)
        if not request:
            asked.close()
            continue
        process = os.fork()
        if process == 0:
            os.close(tests)
            listening.close()
            asked.close()
            for descriptor, (_, other) in running.items():
                os.close(descriptor)
                other.close()
            leave(become(json.loads(request), descriptors, stand_in))
            return
        for descriptor in descriptors:
            os.close(descriptor)
        asked.send(str(process).encode())
        running[os.pidfd_open(process)] = (process, asked)
    for process, _ in running.values():
        os.kill(process, signal.SIGKILL)


def prepare() -> None:
    """What every run does alike before its first step, once for all; behind this is as little new as can be."""
    import cheaply

    from mae_hydra.configuration.compose import compose_config
    from mae_hydra.experiment.provenance import provenance

    cheaply.begin()
    for words in COMPOSED:
        compose_config(["+debug=smoke", "engine=cpu", *words])
    provenance()
    gc.freeze()


def leave(program: Callable[[], object]) -> None:
    """Run `program` and end as Python does, but take nothing apart that was imported: half a second of copied pages."""
    code: object = 0
    try:
        program()
    except SystemExit as error:
        code = error.code or 0
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = 120  # as Python's own
    os._exit(code & 0xFF)


def become(request: dict, descriptors: list[int], stand_in: str) -> Callable[[], object]:
    """This process is now `python arguments`, as far as a program can see; what is returned runs it."""
    places = [0, 1, 2, *request.get("handed", [])]
    aside = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 1000) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for place, descriptor in zip(places, aside, strict=True):
        os.dup2(descriptor, place)
        os.close(descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    arguments = request["arguments"]
    while arguments[0].startswith("-") and arguments[0] not in ("-m", "-c"):  # of the interpreter
        del arguments[: 2 if arguments[0] in ("-W", "-X") else 1]
    kind = arguments[0] if arguments[0] in ("-m", "-c") else ""
    program, *words = arguments[1:] if kind else arguments
    sys.executable = stand_in
    multiprocessing.set_executable(stand_in)
    sys.path[0] = {"-m": request["cwd"], "-c": ""}.get(kind, os.path.dirname(program))
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [path for path in others if path not in sys.path]
    sys.argv = ["-c" if kind == "-c" else program, *words]
    if kind == "-m":
        return partial(runpy.run_module, program, run_name="__main__", alter_sys=True)
    if kind == "-c":
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        return partial(exec, compile(program, "<string>", "exec"), main.__dict__)
    return partial(runpy.run_path, program, run_name="__main__")


if __name__ == "__main__":
    name, stand_in = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C of the tests: they go, and it sees that
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind("\0" + name)
    listening.listen()
    print("listening", flush=True)
    os.dup2(2, 1)
    with importing():
        for module in MODULES:
            importlib.import_module(module)
    prepare()
    tests = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    serve(listening, tests, stand_in)

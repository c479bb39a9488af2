"""Imports the program once and forks a process for every run that it is asked for: `python fork_server.py SOCKET`.

It never trains, so it has one thread when it forks; what it imported is frozen, so a fork copies hardly any of it.
Started and asked by `forked.py`.
"""

import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys

from mae_hydra.experiment.importing import importing

# What a run imports sooner or later; the optimizers import the compiler.
ROOMS = ("data", "engine", "evaluation", "inference", "models", "optim", "tracking")
MODULES = ["mae_hydra.experiment.job", "torch._dynamo", *(f"mae_hydra.{room}" for room in ROOMS)]
LONGEST_REQUEST = 1 << 20


def serve(asked: socket.socket) -> None:
    """Until the tests are gone. A request is JSON and three descriptors: for number and exit code, output, errors."""
    running: dict[int, tuple[int, socket.socket]] = {}  # descriptor of a process -> its number, and who waits for it
    while True:
        readable, _, _ = select.select([asked, *running], [], [])
        for ended in [descriptor for descriptor in readable if isinstance(descriptor, int)]:
            process, waiting = running.pop(ended)
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            waiting.sendall(f"{code}\n".encode())
            waiting.close()
            os.close(ended)
        if asked not in readable:
            continue
        request, descriptors, _, _ = socket.recv_fds(asked, LONGEST_REQUEST, 3)
        if not request:
            break
        process = os.fork()
        if process == 0:
            asked.close()
            for descriptor, (_, waiting) in running.items():
                os.close(descriptor)
                waiting.close()
            become(json.loads(request), descriptors)
            return
        waiting = socket.socket(fileno=descriptors[0])
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        waiting.sendall(f"{process}\n".encode())
        running[os.pidfd_open(process)] = (process, waiting)
    for process, _ in running.values():
        os.kill(process, signal.SIGKILL)


def become(request: dict, descriptors: list[int]) -> None:
    """This process is now `python program arguments`, as far as a program can see."""
    waiting, output, errors = descriptors
    os.close(waiting)
    for descriptor, place in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (errors, 2)):
        os.dup2(descriptor, place)
        os.close(descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    program, *arguments = request["command"]
    sys.path[0] = os.path.dirname(program)
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C of the tests: they go, and it sees that
    with importing():
        for name in MODULES:
            importlib.import_module(name)
    serve(socket.socket(fileno=int(sys.argv[1])))

"""`python ARGUMENTS` by way of the fork server: what `sys.executable` is in a forked run, and for torchrun.

It stands for the process that does the work: signals are handed to it, and it ends as that one ends.
"""

import json
import os
import signal
import socket
import sys

NAMES_ITS_JOB = "submitit.local._local"  # a controller that names it after its process
OWN = "resource_tracker import main"  # of multiprocessing: a few lines are sooner done than asked for


def main() -> None:
    if any(word == NAMES_ITS_JOB or OWN in word for word in sys.argv[1:4]):
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
    handed = [int(name) for name in os.listdir("/proc/self/fd")]  # what it was started with, besides the usual three
    handed = [number for number in handed if number > 2 and os.path.exists(f"/proc/self/fd/{number}")]
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.connect("\0" + os.environ["FORK_SERVER"])
    request = {"arguments": sys.argv[1:], "cwd": os.getcwd(), "environment": dict(os.environ)}
    request["handed"] = handed
    socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2, *handed])
    process = int(server.recv(32))
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda number, _: os.kill(process, number))
    code = int(server.recv(32))
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()

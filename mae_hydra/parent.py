"""A process that must not outlive the one that started it (on Linux only)."""

import ctypes
import os
import signal
from contextlib import suppress

PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal to get when the process that started this one is gone


def end_with(parent: int, sent: signal.Signals) -> None:
    """Get `sent` when `parent`, the process that started this one, is gone; to be called before this one does a thing.

    Where it is gone already nothing would ever be sent, so this process ends at once.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, sent)
        if os.getppid() != parent:
            os._exit(1)

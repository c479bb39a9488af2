"""Imports without garbage collection, which takes a sixth of a start: it finds nothing among objects that all stay.

What torch reads from the environment when it is imported is set here as well.
"""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Put around the first imports of torch and what stands on it.

    Afterwards no collection looks at what was imported, in this process and in the readers forked from it, whose pages
    thus stay shared. Once torch is there this does nothing: what then lives may be garbage one day.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    # Tensors of 2 MB and more lie on huge pages: a third as many page faults in a training step on the CPU.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()

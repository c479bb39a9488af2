"""Imports without garbage collection, which takes a sixth of a start: it finds nothing among objects that all stay."""

import gc
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
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()

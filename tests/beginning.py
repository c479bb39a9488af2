"""How a process of tests begins, and each test in it; imported once, before any test is.

Shapes in the models' signatures are checked at every call, and what only costs time is done once or not at all.
"""

import gc
import logging
import os
import random
import runpy
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxtyping import install_import_hook

CURRENT = "PYTEST_CURRENT_TEST"  # pytest's own variable, another one at the end of a test
TYPECHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"  # an int will do for a float

gc.disable()  # see mae_hydra.launching.importing
# Before the hook: whatever a hooked module imports misses its cached bytecode, and PyTorch and timm are long.
runpy.run_path(str(Path(__file__).parents[1] / "mae_hydra" / "models" / "lean_timm.py"))
with install_import_hook("mae_hydra.models", TYPECHECKER):
    import mae_hydra.models  # noqa: F401

# torchmetrics imports all of scipy.signal to put a name into it, half of its own second and a half.
sys.modules["scipy.signal"] = types.SimpleNamespace(hamming=None)  # type: ignore[assignment]
import torchmetrics  # noqa: E402, F401

del sys.modules["scipy.signal"]

import cheaply  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from mae_hydra import products  # noqa: E402
from mae_hydra.experiment import resuming  # noqa: E402

cheaply.begin()
# pytest hands two handlers to each logger that keeps its records to itself, and takes them back, three times a test:
# torch has 57 of these: 100 us each time.
for logger in [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]:
    logger.propagate = True
THREADS = torch.get_num_threads()


@contextmanager
def as_a_process_begins() -> Iterator[None]:
    """Undoes what a run in this process leaves: its logs, torch's switches, the words typed, the state of draws."""
    for handler in [
        each for each in logging.root.handlers if type(each) in (logging.FileHandler, logging.StreamHandler)
    ]:
        logging.root.removeHandler(handler)
        handler.close()
    logging.root.setLevel(logging.WARNING)
    logging.raiseExceptions = True
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = False
    torch.set_num_threads(THREADS)
    products.take("torch")
    resuming.source, resuming.typed, resuming.own = None, (), None
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)  # torch.manual_seed would note the call for devices that may come, each time
    environment, words, folder = dict(os.environ), list(sys.argv), os.getcwd()
    yield
    environment[CURRENT] = os.environ[CURRENT]
    if dict(os.environ) != environment:
        os.environ.clear()
        os.environ.update(environment)
    sys.argv = words
    os.chdir(folder)

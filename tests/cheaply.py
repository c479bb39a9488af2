"""What a run costs and tests need not pay: the same files composed again, PNGs packed tightly, the same asked of git.

For every process in which tests run the program: pytest's own, and the server that others are forked from.
"""

import functools
import gc
import os
import pickle
from collections.abc import Callable
from typing import IO, Any

import compositions
import yaml
from PIL import Image, PngImagePlugin

from mae_hydra.configuration import check, hydras_own, resolvers
from mae_hydra.experiment import provenance


def begin() -> None:
    """From now on, in this process and in those that are forked from it."""
    # By default all that was made since the imports is looked through again for every 70,000 objects more.
    gc.set_threshold(50_000, 20, 50)
    # Whatever composes does this first, and it cannot be taken back: without it here, the first test that composes
    # decides.
    resolvers.register()
    hydras_own.guard()
    compositions.remember()
    for reading in ("_parameters", "_hints", "_mentioned"):  # of classes, which stay as they are written
        setattr(check, reading, functools.cache(getattr(check, reading)))
    yaml.safe_load = _read_once(yaml.safe_load)
    # The machine does not lose its power during a test, and pixels are the same however they were packed.
    os.fsync = lambda descriptor: None
    Image.init()
    Image.register_save("PNG", _quickly_packed)
    source, asked = provenance.SOURCE, provenance._git
    asked_once = functools.cache(asked)
    provenance._git = lambda *words: (asked_once if source == provenance.SOURCE else asked)(*words)


def _quickly_packed(image: Image.Image, file: IO[bytes], name: str | bytes, **further: Any) -> None:
    image.encoderinfo |= {"optimize": False, "compress_level": 1}
    PngImagePlugin._save(image, file, name, **further)


def _read_once(load: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Option files, recorded words: the same texts, read by each who looks at them."""
    read = functools.lru_cache(1024)(lambda text: pickle.dumps(load(text)))
    return lambda stream: pickle.loads(read(stream)) if isinstance(stream, str) else load(stream)

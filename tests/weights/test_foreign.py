"""Checkpoints with Python objects beside their tensors: read, and nothing in them built or called."""

import argparse
import os
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from foreign_files import TINY_MMSEG, TINY_OFFICIAL, mmseg_upernet, official

from mae_hydra.errors import UserError
from mae_hydra.weights import read_checkpoint, safe_unpickle


def tell_tale(evidence):
    """An object whose class, if it were built or called, would leave a file behind."""

    class TellTale:
        def __init__(self, *_):
            evidence.touch()

        def __reduce__(self):
            return TellTale, (1,)

        def __setstate__(self, state):
            evidence.touch()

    made = object.__new__(TellTale)
    module = types.ModuleType("somebodys_trainer")
    module.TellTale = TellTale
    TellTale.__module__, TellTale.__qualname__ = "somebodys_trainer", "TellTale"
    return made, module


@pytest.mark.parametrize("zipped", [True, False])
def test_the_official_trainers_file_is_read_with_its_namespace_as_plain_values(tmp_path, zipped):
    state = official(**TINY_OFFICIAL)
    content = {
        "model": state,
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
        "epoch": 399,
        "scaler": {"scale": 65536.0},
        "args": argparse.Namespace(norm_pix_loss=True, mask_ratio=0.6, lr=None),
    }
    torch.save(content, tmp_path / "checkpoint-399.pth", _use_new_zipfile_serialization=zipped)
    checkpoint = read_checkpoint(tmp_path / "checkpoint-399.pth")
    assert torch.equal(checkpoint.tensors["decoder.mask_token"], state["mask_token"])
    assert checkpoint.meta == {"epoch": 399, "norm_pix": True, "mask_ratio": 0.6, "ignored": ["argparse.Namespace"]}


def test_mmengines_history_buffers_are_stood_in_for(tmp_path, monkeypatch):
    """1.x files keep a message hub: objects of its own, numpy arrays and scalars, and a reference to getattr."""
    module = types.ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def __init__(self):
            self.values, self.latest = np.arange(3.0), np.float64(0.5)
            self.statistics = {"mean": HistoryBuffer.mean}

        def mean(self):
            raise AssertionError("called")

        def __reduce__(self):
            return getattr, (HistoryBuffer, "mean"), None

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    module.HistoryBuffer = HistoryBuffer
    for name in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    content = {
        "meta": {"iter": 160000, "dataset_meta": {"classes": ("wall", "sky"), "palette": [[1, 2, 3], [4, 5, 6]]}},
        "state_dict": mmseg_upernet(**TINY_MMSEG),
        "message_hub": {"log": HistoryBuffer(), "values": np.arange(3.0), "last": np.float64(0.5)},
    }
    torch.save(content, tmp_path / "iter_160000.pth")
    for name in ("mmengine", "mmengine.logging", module.__name__):
        monkeypatch.delitem(sys.modules, name)
    checkpoint = read_checkpoint(tmp_path / "iter_160000.pth")
    assert checkpoint.meta["step"] == 160000
    assert checkpoint.meta["class_names"] == ["wall", "sky"]
    assert checkpoint.meta["palette"] == [[1, 2, 3], [4, 5, 6]]
    assert {"mmengine.logging.history_buffer.HistoryBuffer", "builtins.getattr"} <= set(checkpoint.meta["ignored"])
    assert "mmengine" not in sys.modules


def test_mmsegmentation_0_needs_no_stand_in(tmp_path):
    content = {
        "meta": {
            "CLASSES": ("wall", "sky"),
            "PALETTE": [[1, 2, 3], [4, 5, 6]],
            "iter": 7,
            "env_info": "sys.platform: linux",
        },
        "state_dict": mmseg_upernet(**TINY_MMSEG),
    }
    torch.save(content, tmp_path / "upernet.pth")
    meta = read_checkpoint(tmp_path / "upernet.pth").meta
    assert meta == {"step": 7, "class_names": ["wall", "sky"], "palette": [[1, 2, 3], [4, 5, 6]]}


@pytest.mark.parametrize("zipped", [True, False])
def test_an_object_of_an_unknown_class_is_neither_built_nor_filled(tmp_path, monkeypatch, zipped):
    evidence = tmp_path / "built"
    made, module = tell_tale(evidence)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    torch.save(
        {"model": official(**TINY_OFFICIAL), "trainer": made},
        tmp_path / "file.pt",
        _use_new_zipfile_serialization=zipped,
    )
    checkpoint = read_checkpoint(tmp_path / "file.pt")  # the module is still there to be imported
    assert checkpoint.meta["ignored"] == ["somebodys_trainer.TellTale"]
    assert not evidence.exists()


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("function", [os.system, eval, exec, open, subprocess.check_call, __import__, os.remove])
def test_a_file_that_would_act_is_refused_by_name_and_does_nothing(tmp_path, function, zipped):
    precious = tmp_path / "precious"
    precious.write_text("still here")
    argument = str(precious) if function in (os.remove, open) else f"rm {precious}"
    content = {
        "model": official(**TINY_OFFICIAL),
        "payload": Calls(function, argument, *(["w"] if function is open else [])),
    }
    torch.save(content, tmp_path / "hostile.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=rf"would call \S*{function.__name__} when it is unpickled"):
        read_checkpoint(tmp_path / "hostile.pt")
    assert precious.read_text() == "still here"


def test_a_payload_behind_getattr_is_never_reached(tmp_path):
    """getattr(module, "name")(argument): a stand-in for getattr gives nothing that could be called."""
    evidence = tmp_path / "evidence"

    class Chain:
        def __reduce__(self):
            return getattr, (Calls(__import__, "os"), "system")

    class Outer:
        """A call of what the chain gives: pickle itself asks only that it can be called."""

        def __reduce__(self):
            return Callable(), (f"touch {evidence}",)

    class Callable(Chain):
        def __call__(self, command):
            raise AssertionError("called")

    torch.save({"model": official(**TINY_OFFICIAL), "payload": Outer()}, tmp_path / "file.pt")
    with pytest.raises(UserError):
        read_checkpoint(tmp_path / "file.pt")
    assert not evidence.exists()


def test_a_bare_pickle_and_a_program_are_refused(tmp_path):
    evidence = tmp_path / "evidence"
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Calls(os.system, f"touch {evidence}")))
    with pytest.raises(UserError):
        read_checkpoint(tmp_path / "bare.pth")
    assert not evidence.exists()


def test_a_file_asks_for_as_many_strange_names_as_a_trainer_has_and_no_more(tmp_path, monkeypatch):
    """Each is read again for."""
    assert safe_unpickle.MOST_NAMES == 64
    monkeypatch.setattr(safe_unpickle, "MOST_NAMES", 3)
    module = types.ModuleType("many")
    made = []
    for number in range(4):
        cls = type(f"C{number}", (), {"__module__": "many"})
        setattr(module, cls.__name__, cls)
        made.append(cls())
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "many", module)
        for count in (3, 4):
            torch.save({"model": official(**TINY_OFFICIAL), "objects": made[:count]}, tmp_path / f"{count}.pt")
    assert read_checkpoint(tmp_path / "3.pt").meta["ignored"] == ["many.C0", "many.C1", "many.C2"]
    with pytest.raises(UserError, match="damaged or no checkpoint"):
        read_checkpoint(tmp_path / "4.pt")

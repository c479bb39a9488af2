"""A checkpoint from a file or a run directory, without executing anything that is in it."""

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mae_hydra.errors import UserError
from mae_hydra.weights.layouts import recognise

STATE_KEYS = ("model", "state_dict")  # where training programs keep the weights within a file


@dataclass(frozen=True)
class Checkpoint:
    """`tensors` under this project's names, whatever the file called them.

    `layout`: how the file was laid out. `meta`: what else it tells, in plain values; of our own runs "config", "step",
    "class_names", "palette".
    """

    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    layout: str
    path: Path


def read_checkpoint(path: str | Path, prefer: Literal["last", "best"] = "last") -> Checkpoint:
    """`path`: a .pt, .pth or .safetensors file, or a run directory, of which the preferred checkpoint is read if there.

    UserError for whatever cannot be read, with the reason and the way out.
    """
    file = _find(Path(path).expanduser(), prefer)
    tensors, meta = _read_safetensors(file) if _is_safetensors(file) else _read_torch(file)
    if not tensors:
        raise UserError(f"{file} holds no tensors; give a checkpoint of this project or the official MAE weights")
    layout = recognise(tensors)
    if layout is None:
        some = ", ".join(list(tensors)[:3])
        raise UserError(
            f"{file} holds {len(tensors)} tensors ({some}, …) in no known layout; "
            "known are this project's checkpoints and the official MAE weights"
        )
    return Checkpoint(layout.to_native(tensors), meta, layout.name, file)


def _find(path: Path, prefer: Literal["last", "best"]) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise UserError(f"there is no {path}; give a checkpoint file or a run directory (outputs/runs/…)")
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    names = ("best.pt", "last.pt") if prefer == "best" else ("last.pt", "best.pt")
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"{path} holds no checkpoints/last.pt or checkpoints/best.pt; give a run that has saved one, or a file"
    )


def _is_safetensors(file: Path) -> bool:
    """By content: eight bytes of header length, then JSON."""
    with file.open("rb") as stream:
        return stream.read(9)[8:] == b"{"


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(file, framework="pt") as content:
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 (no mapping)
            return tensors, {name: _plain(text) for name, text in (content.metadata() or {}).items()}
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise _damaged(file, error) from error


def _plain(text: str) -> Any:
    """Metadata of safetensors are strings; ours are JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read_torch(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        # Mapped into memory, the optimizer state that nobody asked for is never read; files before torch 1.6 cannot be.
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        if found is None:
            raise _damaged(file, error) from error
        raise UserError(
            f"{file} holds a Python object ({found[1]}) beside its tensors, and nothing in it is executed here; "
            "save its state dict alone, with torch.save(model.state_dict(), …), and give that file"
        ) from error
    except Exception as error:  # a damaged file fails in any way it likes
        raise _damaged(file, error) from error
    if not isinstance(content, Mapping):
        raise UserError(f"{file} holds a {type(content).__name__}, not a dictionary of tensors")
    state = next((content[key] for key in STATE_KEYS if isinstance(content.get(key), Mapping)), content)
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    return tensors, _told(content)


def _told(content: Mapping[Any, Any]) -> dict[str, Any]:
    """What the file tells about its weights: the `meta` of our runs, their configuration and step."""
    meta = content.get("meta")
    told = dict(meta) if isinstance(meta, Mapping) else {}
    return told | {name: content[name] for name in ("config", "step") if name in content}


def _damaged(file: Path, error: Exception) -> UserError:
    size = file.stat().st_size
    return UserError(
        f"{file} ({size} bytes) is damaged or no checkpoint ({type(error).__name__}); "
        "download or copy it again, or give another (a run keeps last.pt and best.pt)"
    )

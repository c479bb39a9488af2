"""A checkpoint from a file or a run directory, without executing anything that is in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mae_hydra.archive import Unfit, short
from mae_hydra.errors import UserError
from mae_hydra.weights.containers import is_folder_of_weights, read_content
from mae_hydra.weights.layouts import LAYOUTS, Kind, kind_of, recognise
from mae_hydra.weights.told import told

DEEP = ("*", "*/*", "*/*/*")  # where runs may lie below a folder


@dataclass(frozen=True)
class Checkpoint:
    """`tensors` under this project's names, whatever the file called them.

    `layout`: how the file was laid out. `meta`: what else it tells, in plain values, see `mae_hydra.weights.told`.
    `checked`: whether every number was compared with a checksum; safetensors and files from before torch 1.6 have none.
    """

    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    layout: str
    path: Path
    checked: bool = True

    @property
    def kind(self) -> Kind:
        return kind_of(self.tensors)


def read_checkpoint(path: str | Path, prefer: Literal["last", "best"] = "last") -> Checkpoint:
    """`path`: a .pt, .pth, .bin or .safetensors file, a Hugging Face folder, or a run directory.

    Of a run directory the preferred checkpoint is read if there. UserError for whatever cannot be read, with the
    reason and the way out.
    """
    file = _find(Path(path).expanduser(), prefer)
    content = read_content(file)
    if not content.tensors:
        raise UserError(f"{file} holds no tensors; give a checkpoint in one of these layouts: {_known()}")
    layout = recognise(content.tensors)
    if layout is None:
        some = ", ".join(map(short, list(content.tensors)[:3]))
        raise UserError(
            f"{file} holds {len(content.tensors)} tensors ({some}, …) in no known layout; known are: {_known()}"
        )
    try:
        tensors, meta = layout.to_native(content.tensors), told(content)
    except Unfit as error:
        raise UserError(f"{file} {error}") from error
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    except (RuntimeError, IndexError, ValueError) as error:  # parts of other shapes than their names say
        reason = short(str(error).splitlines()[0])
        raise UserError(f"{file} has the names of {layout.name} and not its shapes ({reason}); get it again") from error
    return Checkpoint(tensors, meta, layout.name, file, content.checked)


def check_finite(checkpoint: Checkpoint) -> None:
    """UserError naming the first tensor with a NaN or an infinity."""
    for name, tensor in checkpoint.tensors.items():
        check_values(name, tensor, checkpoint.path)


def check_values(name: str, tensor: Tensor, path: Path) -> None:
    """UserError where `tensor`, `name` in the file at `path`, has a NaN or an infinity."""
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise UserError(f"{name} in {path} has NaN or infinite values: that training diverged; use another")


def _find(path: Path, prefer: Literal["last", "best"]) -> Path:
    if path.is_file() or (path.is_dir() and is_folder_of_weights(path)):
        return path
    if not path.exists():
        raise UserError(f"there is no {path}; give a checkpoint file or a run directory (outputs/runs/…)")
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    names = ("best.pt", "last.pt") if prefer == "best" else ("last.pt", "best.pt")
    for name in names:
        if (folder / name).is_file():
            return folder / name
    found = [file for deep in DEEP for file in path.glob(f"{deep}/checkpoints/*.pt")]
    below = sorted(found, key=lambda file: file.stat().st_mtime)
    way_out = "give a run that has saved one, or a file"
    if below:
        way_out = f"it is a folder of {len({file.parent for file in below})} runs, of which the newest is"
        way_out = f"{way_out} {below[-1].parent.parent}"
    raise UserError(f"{path} holds no checkpoints/last.pt or checkpoints/best.pt; {way_out}")


def _known() -> str:
    return "; ".join(layout.name for layout in LAYOUTS)

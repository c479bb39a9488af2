"""A checkpoint from a file or a run directory, without executing anything that is in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mae_hydra.archive import Unfit
from mae_hydra.errors import UserError, short
from mae_hydra.weights.containers import Content, is_folder_of_weights, read_content
from mae_hydra.weights.families import check_family
from mae_hydra.weights.layouts import LAYOUTS, NATIVE, Kind, kind_of
from mae_hydra.weights.metadata import metadata_of
from mae_hydra.weights.named import fetch, is_address
from mae_hydra.weights.parts import remark, split_word
from mae_hydra.weights.roots import Gathered, gather
from mae_hydra.weights.safe_unpickle import plain

POOLER = "pooler."  # a layer behind Hugging Face's encoders, of their pre-training
DEEP = ("*", "*/*", "*/*/*")  # where runs may lie below a folder


@dataclass(frozen=True)
class Checkpoint:
    """`tensors` under this project's names, whatever the file called them.

    `layout`: how the file was laid out. `meta`: what else it tells, in plain values, see `mae_hydra.weights.metadata`.
    `checked`: whether every number was compared with a checksum: the file's own (safetensors and files from before
    torch 1.6 have none) or that of the address it was fetched by; `verified`: whether with the latter.
    `part`: which of several models in the file was taken, "" where there is one. `unused`: names of tensors
    beside the model. `remarks`: what a person should know of them. `name`, `revision`: the address that the file was
    fetched from, where it was, and the commit of the repository. `as_found`: the tensors under the file's own names.
    `refusal`: why they are no model of ours, where whoever reads it may know one that they are.
    """

    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    layout: str
    path: Path
    checked: bool = True
    verified: bool = False
    part: str = ""
    unused: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    name: str = ""
    revision: str = ""
    as_found: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    refusal: UserError | None = None

    @property
    def kind(self) -> Kind:
        return kind_of(self.tensors)


def read_checkpoint(
    path: str | Path, prefer: Literal["last", "best"] = "last", *, download: bool = False, of_any: bool = False
) -> Checkpoint:
    """`path`: a .pt, .pth, .bin or .safetensors file, a Hugging Face folder, or a run directory; or an address of one.

    `download`: whether an address (`mae_hydra.weights.named`) is from a person who asks for it now; otherwise it is
    read where it is in the cache, and no connection is opened. Of a run directory the preferred checkpoint is read if
    there. `path@ema` is the average of the weights in a file that has one beside them, `path@<key>` what lies under
    that key. UserError for whatever cannot be read, with the reason and the way out; a ForeignModelError for what is no
    model of ours, unless `of_any`: then it is the `refusal`.
    """
    if is_address(path):
        fetched = fetch(str(path), download=download)
        checkpoint = _read(fetched.path, fetched.part, of_any)
        checked = checkpoint.checked or fetched.verified
        checkpoint = replace(checkpoint, checked=checked, verified=fetched.verified)
        return replace(checkpoint, name=fetched.name, revision=fetched.revision)
    found, word = split_word(Path(path).expanduser())
    return _read(_find(found, prefer), word, of_any)


def _read(file: Path, word: str, of_any: bool) -> Checkpoint:
    """`word`: which of several models in the file is meant."""
    content = read_content(file, word)
    if not content.tensors and content.ignored:
        raise UserError(
            f"{file} holds Python objects ({', '.join(content.ignored)}) and no state dict; save that instead, with "
            "torch.save(model.state_dict(), …)"
        )
    if not content.tensors:
        raise UserError(f"{file} holds no tensors; give a checkpoint in one of these layouts: {_known()}")
    try:
        return _understood(file, content, word)
    except UserError as error:
        if not of_any:
            raise
        return Checkpoint(
            {},
            metadata_of(content),
            "another program's",
            file,
            content.checked,
            as_found=content.tensors,
            refusal=error,
        )


def _understood(file: Path, content: Content, word: str) -> Checkpoint:
    """The model of ours that a file holds; UserError where it is none."""
    gathered = _as_recorded(content) or gather(content.tensors, "" if content.part.obeyed else word)
    if gathered is None or gathered.layout is not NATIVE:
        tensors = gathered.tensors if gathered else content.tensors
        check_family(file, tensors, content.extras, known=gathered is not None)
    if gathered is None:
        some = ", ".join(map(short, list(content.tensors)[:3]))
        raise UserError(
            f"{file} holds {len(content.tensors)} tensors ({some}, …) in no known layout; known are: {_known()}"
        )
    if word and not (content.part.obeyed or gathered.obeyed):
        words = [*content.part.others, *(root.rstrip(".") for root in gathered.others)]
        raise UserError(
            f"{file} has no part {word!r}; " + (f"it has {', '.join(words)}" if words else "there is only one model")
        )
    checkpoint = _as_checkpoint(file, content, gathered)
    return replace(checkpoint, remarks=()) if word else checkpoint  # who has chosen knows of the others


def _as_recorded(content: Content) -> Gathered | None:
    """A run's tensors under their own names, whatever parts its model has: the configuration beside them says which."""
    config = plain(content.extras.get("config"))
    model = config.get("model") if isinstance(config, Mapping) else None
    named = isinstance(model, Mapping) and isinstance(model.get("_target_"), str)
    return Gathered(dict(content.tensors), NATIVE) if named else None


def _as_checkpoint(file: Path, content: Content, gathered: Gathered) -> Checkpoint:
    layout = gathered.layout
    try:
        tensors, meta = layout.to_native(gathered.tensors), metadata_of(content)
    except Unfit as error:
        raise UserError(f"{file} {error}") from error
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    except (RuntimeError, IndexError, ValueError) as error:  # parts of other shapes than their names say
        reason = short(str(error).splitlines()[0])
        raise UserError(f"{file} has the names of {layout.name} and not its shapes ({reason}); get it again") from error
    pooler = tuple(name for name in tensors if name.startswith(POOLER))
    root, roots = gathered.root.rstrip("."), tuple(other.rstrip(".") for other in gathered.others)
    remarks = remark(file, content.part.name, content.part.others), remark(file, root, roots)
    several = [name for name, others in ((content.part.name, content.part.others), (root, roots)) if others]
    return Checkpoint(
        {name: tensor for name, tensor in tensors.items() if name not in pooler},
        meta,
        layout.name,
        file,
        content.checked,
        part=".".join(several),
        unused=(*pooler, *gathered.unused),
        remarks=tuple(filter(None, remarks)),
        as_found=content.tensors,
    )


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
        raise UserError(
            f"there is no {path}; give a checkpoint file or a run directory (outputs/runs/…), or an address "
            "(hf-hub:<org>/<name>, timm/<name>, https://…)"
        )
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    names = ("best.pt", "last.pt") if prefer == "best" else ("last.pt", "best.pt")
    for name in names:
        if (folder / name).is_file():
            return folder / name
    files = [file for deep in DEEP for file in path.glob(f"{deep}/checkpoints/*.pt")]
    below = sorted(files, key=lambda file: file.stat().st_mtime)
    way_out = "give a run that has saved one, or a file"
    if below:
        runs = {file.parent.parent for file in below}
        way_out = f"it is a folder of {len(runs)} runs, of which the newest" if len(runs) > 1 else "the run below it"
        way_out = f"{way_out} is {below[-1].parent.parent}"
    raise UserError(f"{path} holds no checkpoints/last.pt or checkpoints/best.pt; {way_out}")


def _known() -> str:
    return "; ".join(layout.name for layout in LAYOUTS)

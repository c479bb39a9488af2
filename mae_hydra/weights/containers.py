"""Files and folders that hold tensors by name: what torch.save writes, safetensors, a Hugging Face folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from mae_hydra.archive import Unfit, check_file, check_tensors
from mae_hydra.errors import UserError, short
from mae_hydra.weights import safe_unpickle
from mae_hydra.weights.parts import Part, choose

WRAPPERS = ("module.", "_orig_mod.")  # what DistributedDataParallel and torch.compile put in front of every name
MOST_JSON = 1 << 24  # bytes that are read as JSON; an index of ten thousand tensors has a tenth of it
LFS = b"version https://git-lfs"  # the beginning of what git-lfs leaves in place of a file that it has not fetched
FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")  # of a Hugging Face folder, whole or with an index of parts


class Content(NamedTuple):
    """`tensors` under the names of the file. `extras`: everything else at its top level, foreign objects as stand-ins.

    `ignored`: names of foreign classes that were not built. `checked`: whether the container has checksums, all right.
    `part`: which of its state dicts was taken.
    """

    tensors: dict[str, Tensor]
    extras: Mapping[str, Any]
    ignored: tuple[str, ...] = ()
    checked: bool = False
    part: Part = Part({})


def read_content(path: Path, word: str = "") -> Content:
    """`path`: a file, or a Hugging Face folder. `word`: which of several state dicts is meant, see `parts`.

    A UserError says why something cannot be read.
    """
    if path.is_dir():
        return _read_folder(path)
    try:
        _refuse_text(path)
        content = _read_safetensors(path) if _is_safetensors(path) else _read_torch(path, word)
        check_tensors(content.tensors.items(), path.stat().st_size)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except Unfit as error:
        raise UserError(f"{path} {error}") from error
    config = path.with_name("config.json")
    if "config" in content.extras or not config.is_file():
        return content
    return content._replace(extras={**content.extras, "config.json": _json(config)})


def is_folder_of_weights(path: Path) -> bool:
    """Tell whether a folder holds weights as Hugging Face lays them."""
    return any((path / name).is_file() or (path / f"{name}.index.json").is_file() for name in FOLDER_FILES)


def _read_folder(folder: Path) -> Content:
    for name in FOLDER_FILES:
        if (folder / name).is_file():
            return read_content(folder / name)
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _read_parts(folder, index)
    raise UserError(f"{folder} holds none of {', '.join(FOLDER_FILES)}; give a checkpoint file or a run directory")


def _read_parts(folder: Path, index: Path) -> Content:
    listed = _json(index).get("weight_map")
    if not isinstance(listed, Mapping):
        raise UserError(f"{index} lists no parts; download it again")
    tensors: dict[str, Tensor] = {}
    checked = True
    beside = {file.name for file in folder.iterdir() if file.is_file()}  # a name that leads elsewhere is not among them
    for part in sorted({str(part) for part in listed.values()}):
        if part not in beside:
            raise UserError(f"{index} names {short(part)}, which is not in {folder}; download it as well")
        content = read_content(folder / part)
        tensors |= content.tensors
        checked = checked and content.checked
    config = folder / "config.json"
    return Content(tensors, {"config.json": _json(config)} if config.is_file() else {}, checked=checked)


def _json(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = _loads(stream.read(MOST_JSON + 1))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is not the JSON that it should be ({error}); download it again") from error
    return content if isinstance(content, dict) else {}


def _loads(text: str | bytes) -> Any:
    """ValueError, also where it is larger or deeper than anybody's."""
    if len(text) > MOST_JSON:
        raise ValueError(f"more than {MOST_JSON:,} bytes")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("brackets within brackets, hundreds deep") from None


def _refuse_text(file: Path) -> None:
    """What is often found in place of a checkpoint: the page of a download that failed, or git-lfs's pointer to it."""
    with file.open("rb") as stream:
        begin = stream.read(512).lstrip().lower()
    if begin.startswith(LFS):
        raise Unfit("is a git-lfs pointer, not the checkpoint itself; fetch it: git lfs pull")
    if begin.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise Unfit("is a web page, not a checkpoint: the download failed or asks for a login; get it again")


def _is_safetensors(file: Path) -> bool:
    """Tell safetensors by its content: eight bytes of header length, then JSON."""
    with file.open("rb") as stream:
        return stream.read(9)[8:] == b"{"


def _read_safetensors(file: Path) -> Content:
    try:
        with safe_open(file, framework="pt") as content:
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 (no mapping)
            return Content(tensors, {name: _plain(text) for name, text in (content.metadata() or {}).items()})
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise _damaged(file, error) from error


def _plain(text: str) -> Any:
    """Metadata of safetensors are strings; ours are JSON."""
    try:
        return _loads(text)
    except ValueError:
        return text


def _read_torch(file: Path, word: str) -> Content:
    try:
        zipped = check_file(file)
        # Mapped into memory, the optimizer state that nobody asked for is never copied; older files cannot be.
        content, ignored = safe_unpickle.load(file, mmap=zipped)
    except Unfit:
        raise
    except safe_unpickle.ActivePickleError as error:
        raise UserError(
            f"{file} would call {short(error)} when it is unpickled, which no checkpoint needs: it is refused, and "
            "nothing in it was executed; get the weights from a source you trust, as safetensors if there is a choice"
        ) from error
    except Exception as error:  # a damaged file fails in any way it likes
        raise _damaged(file, error) from error
    if not isinstance(content, Mapping):
        raise UserError(f"{file} holds a {type(content).__name__}, not a dictionary of tensors")
    part = choose(content, word)
    state = part.state
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    extras = {str(n): value for n, value in content.items() if value is not state and not isinstance(value, Tensor)}
    beside = getattr(content, "_metadata", None)  # of a bare state dict: versions of modules, and what we add
    if isinstance(beside, Mapping):
        extras = {str(name): value for name, value in beside.items()} | extras
    return Content(_unwrapped(tensors), extras, ignored, zipped, part)


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in WRAPPERS:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return _unwrapped({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    return tensors


def _damaged(file: Path, error: Exception) -> UserError:
    size = file.stat().st_size
    return UserError(
        f"{file} ({size} bytes) is damaged or no checkpoint ({type(error).__name__}); "
        "download or copy it again, or give another (a run keeps last.pt and best.pt)"
    )

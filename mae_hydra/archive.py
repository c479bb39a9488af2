"""What torch.save wrote, looked through before and after torch reads it, so that a file costs what it weighs.

A few bytes can name tensors of any size (a stride of 0), lists that hold one another twice and so on, or records that
are compressed a thousandfold. Here all of that is counted. The rules hold for runs' own checkpoints and for anybody's.
"""

import io
import pickletools
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from mae_hydra.errors import UserError, short

MOST_VALUES = 5_000_000  # objects that a pickle may make, each counted as often as it is used
LEGACY_PICKLES = 5  # in a row, of a file from before torch 1.6: magic number, version, system, content, names

SHARED, SPARE = 4, 1 << 30  # tensors may together claim so many times the file, and a GB: some share their numbers
KNOWN = frozenset(
    {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.uint8}
    | {torch.int8, torch.int16, torch.int32, torch.int64}
)


class Unfit(Exception):
    """A file that should not be read, or a tensor that cannot be; the argument is the reason, to stand behind "it"."""


def check_file(file: Path) -> bool:
    """Whether `file` is a zip archive, as torch.save writes since 1.6: every record of it is then as its checksum says.

    An older file has no checksums. Unfit where it should not be given to torch.
    """
    if _is_tar(file):
        raise Unfit("is a tar archive; unpack it, and give a file that is in it")
    if zipfile.is_zipfile(file):
        _check_zip(file)
        return True
    with file.open("rb") as stream:
        for _ in range(LEGACY_PICKLES):
            _count(stream)
    return False


def read_training_state(path: str | Path) -> dict[str, Any]:
    """What a run of this engine has saved, on the CPU; a UserError for anything that is not a whole checkpoint.

    Every record of the file is checked against the CRC-32 that was written with it.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}")
    try:
        if not check_file(path):
            raise Unfit("is no archive of torch.save")
        content = torch.load(path, map_location="cpu", weights_only=True)
        check_tensors(named_tensors(content), path.stat().st_size)
    except Unfit as error:
        raise UserError(f"{path} {error}; put a whole one in its place, or start anew with resume=never") from error
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(
            f"{path} is damaged or no checkpoint ({type(error).__name__}); "
            f"put a whole one in its place (best.pt is one too), or start anew with resume=never"
        ) from error
    if not isinstance(content, dict) or not {"model", "optimizer", "step"} <= content.keys():
        raise UserError(f"{path} is no checkpoint of a training run: it must hold model, optimizer and step")
    return content


def check_tensors(tensors: Iterable[tuple[str, Tensor]], file_size: int) -> None:
    """Unfit where one is not a plain array of numbers, or where they claim more than a file of that size can hold."""
    claimed = 0
    for name, tensor in tensors:
        kind = _strange(tensor)
        if kind is not None:
            raise Unfit(f"holds {short(name)} as a {kind} tensor; save it as a plain one: tensor.float().contiguous()")
        elements = 1
        for length in tensor.shape:
            elements *= max(length, 1)  # a length of 0 takes no memory, and others beside it still make a loop long
        claimed += elements * tensor.element_size()
        stored = tensor.untyped_storage().nbytes()
        if tensor.numel() * tensor.element_size() > stored or claimed > SHARED * file_size + SPARE:
            shape = "x".join(map(str, tensor.shape))
            raise Unfit(
                f"says that {short(name)} has {shape} values and stores {stored:,} bytes for it, in a file of "
                f"{file_size:,}: it would fill the memory; save whole copies, tensor.contiguous()"
            )


def named_tensors(content: Any, name: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of nested dictionaries and lists with where it lies; what is shared comes once."""
    seen = set() if seen is None else seen
    if isinstance(content, Tensor):
        yield name, content
    elif isinstance(content, (Mapping, list, tuple)) and id(content) not in seen:
        seen.add(id(content))
        pairs = content.items() if isinstance(content, Mapping) else enumerate(content)
        for key, value in pairs:
            yield from named_tensors(value, f"{name}.{key}" if name else str(key), seen)


def _check_zip(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        if any(record.filename.endswith("/constants.pkl") for record in records):
            raise Unfit(
                "is a TorchScript program, which is code; save the state dict of its model instead, with "
                "torch.save(model.state_dict(), …), and give that file"
            )
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise Unfit("is a compressed archive, which no checkpoint is; unpack it first")
        broken = archive.testzip()
        if broken is not None:
            raise ValueError(f"checksum of {short(broken)}")
        for record in records:
            if record.filename.endswith("data.pkl"):
                with archive.open(record) as stream:
                    _count(io.BytesIO(stream.read()))


def _is_tar(file: Path) -> bool:
    """Which torch would unpack into a temporary folder."""
    try:
        with tarfile.open(file, "r:"):
            return True
    except (tarfile.TarError, ValueError, EOFError):
        return False


def _count(stream: IO[bytes]) -> None:
    """Unfit where unpickling what comes next would take more than it may; the stream then stands behind it.

    A stack as unpickling has it, of sizes instead of objects: an object is as large as all that it is made of.
    """
    stack: list[int | None] = []  # None: a mark
    memo: dict[Any, int] = {}
    for operations, (code, argument, _) in enumerate(pickletools.genops(stream)):
        name = code.name
        if operations > MOST_VALUES:
            raise Unfit(f"makes more than {MOST_VALUES:,} objects beside its tensors")
        if name == "MARK":
            stack.append(None)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = _top(stack)
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo.get(argument, 1))
        elif name != "STOP":
            size = 1 + sum(_taken(stack, [entry.name for entry in code.stack_before]))
            if size > MOST_VALUES:
                raise Unfit("nests the same lists in one another so often that reading it would never end")
            stack.extend([size] * len(code.stack_after))


def _top(stack: list[int | None]) -> int:
    return (stack[-1] if stack else None) or 1


def _taken(stack: list[int | None], wanted: list[str]) -> Iterator[int]:
    """Take from the stack what an operation takes."""
    if "mark" in wanted:
        while stack and (size := stack.pop()) is not None:
            yield size
        wanted = wanted[: wanted.index("mark")]
    for _ in wanted:
        if stack:
            yield stack.pop() or 1


def _strange(tensor: Tensor) -> str | None:
    """What kind of tensor it is, where that is not an array of known numbers in memory."""
    if tensor.is_nested:
        return "nested"
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.is_quantized:
        return "quantised"
    if tensor.device.type != "cpu":
        return "meta" if tensor.device.type == "meta" else str(tensor.device)
    return None if tensor.dtype in KNOWN else str(tensor.dtype).removeprefix("torch.")

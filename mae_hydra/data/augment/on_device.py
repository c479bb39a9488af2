"""What is left of making a batch when it leaves the loading processes, to be done where the model is.

An augmentation that leaves something gives a `Draft` in the place of an image; a batch of them finishes itself in
`Batch.to`, which the engine calls anyway. What is random has been drawn already: where the work is done changes
nothing in it.

Shape letters: B batch, C channels, H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_hydra.data.augment import crops
from mae_hydra.data.augment.photometric import Distortion, distort_batch
from mae_hydra.data.decoding.decode import MODES, decode_image, jpeg_codec
from mae_hydra.types import Batch


class Draft(Protocol):
    """An image that is not finished."""

    def batch(self, drafts: Sequence[Any], labels: Tensor | None, index: Tensor) -> Batch:
        """A batch of `drafts`, all of one kind, this one among them."""
        ...


class Undistorted(NamedTuple):
    """`pixels`: uint8 (3, H, W), padded; the distortion is for its first `valid` rows and columns."""

    pixels: Tensor
    distortion: Distortion
    valid: tuple[int, int]

    def batch(self, drafts: Sequence["Undistorted"], labels: Tensor | None, index: Tensor) -> Batch:
        images = torch.stack([draft.pixels for draft in drafts])
        valid = torch.tensor([draft.valid for draft in drafts])
        return _UndistortedBatch(images, labels, index, valid, [draft.distortion for draft in drafts])


class Encoded(NamedTuple):
    """A JPEG of which `box` is wanted at `size`, turned left to right where `flip` says so."""

    encoded: bytes
    channels: int
    name: str
    box: crops.Box
    size: tuple[int, int]
    flip: bool

    def batch(self, drafts: Sequence["Encoded | Finished"], labels: Tensor | None, index: Tensor) -> Batch:
        return _encoded_batch(drafts, labels, index)


class Finished(NamedTuple):
    """uint8 (C, H, W) among those that are still encoded: a file that is no JPEG."""

    pixels: Tensor

    def batch(self, drafts: Sequence["Encoded | Finished"], labels: Tensor | None, index: Tensor) -> Batch:
        return _encoded_batch(drafts, labels, index)


@dataclass(frozen=True, slots=True)
class _UndistortedBatch(Batch):
    valid: Tensor | None = None
    distortions: Sequence[Distortion] = ()

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        moved = Batch(self.images, self.labels, self.index).to(device, non_blocking)
        assert self.valid is not None
        rows, columns = self.valid.to(device, non_blocking=non_blocking)[:, :, None].unbind(1)
        height, width = self.images.shape[2:]
        inside_rows = torch.arange(height, device=device) < rows
        inside_columns = torch.arange(width, device=device) < columns
        inside = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
        images = torch.where(inside, distort_batch(moved.images, self.distortions), moved.images)
        return Batch(images, moved.labels, moved.index)

    def pin_memory(self) -> Batch:
        pinned = Batch(self.images, self.labels, self.index).pin_memory()
        return _UndistortedBatch(pinned.images, pinned.labels, pinned.index, self.valid, self.distortions)


@dataclass(frozen=True, slots=True)
class _EncodedBatch(Batch):
    """`images` holds the files' bytes, one after another: a tensor each would take a file descriptor each."""

    drafts: Sequence[Encoded | int] = ()  # without their bytes; or the place in `finished`
    lengths: Sequence[int] = ()
    finished: Tensor | None = None

    def __len__(self) -> int:
        return len(self.drafts)

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        device = torch.device(device)
        coded = [draft for draft in self.drafts if isinstance(draft, Encoded)]
        decoded = iter(_decode(self.images.split(list(self.lengths)), coded, device))
        others = None if self.finished is None else self.finished.to(device, non_blocking=non_blocking)
        images = []
        for draft in self.drafts:
            if isinstance(draft, Encoded):
                images.append(_cropped(next(decoded), draft))
            else:
                assert others is not None
                images.append(others[draft])
        labels, index = (
            None if part is None else part.to(device, non_blocking=non_blocking) for part in (self.labels, self.index)
        )
        return Batch(torch.stack(images), labels, index)

    def pin_memory(self) -> Batch:
        return self  # nvJPEG reads the bytes where they are


def _encoded_batch(drafts: Sequence[Encoded | Finished], labels: Tensor | None, index: Tensor) -> Batch:
    coded = [draft.encoded for draft in drafts if isinstance(draft, Encoded)]
    finished = [draft.pixels for draft in drafts if isinstance(draft, Finished)]
    places = iter(range(len(finished)))
    return _EncodedBatch(
        images=torch.frombuffer(bytearray(b"".join(coded)), dtype=torch.uint8) if coded else torch.empty(0),
        labels=labels,
        index=index,
        drafts=[draft._replace(encoded=b"") if isinstance(draft, Encoded) else next(places) for draft in drafts],
        lengths=[len(each) for each in coded],
        finished=torch.stack(finished) if finished else None,
    )


def _decode(files: Sequence[Tensor], drafts: Sequence[Encoded], device: torch.device) -> list[Tensor]:
    """uint8 (C, H, W) of each file, on `device`: by nvJPEG where that is an accelerator."""
    if not files:
        return []
    if device.type == "cuda":
        codec, mode = jpeg_codec(), MODES[drafts[0].channels]
        try:
            if codec is not None:
                return list(codec(list(files), mode=mode, device=device))
            from torchvision.io import ImageReadMode  # importing it loads the operators

            return torch.ops.image.decode_jpegs_cuda(list(files), ImageReadMode[mode].value, device)
        except RuntimeError:
            pass  # one of them: it is found, and named, one by one
    return [
        decode_image(file.numpy().tobytes(), draft.channels, draft.name).to(device)
        for file, draft in zip(files, drafts, strict=True)
    ]


def _cropped(picture: Tensor, draft: Encoded) -> Tensor:
    part = crops.cut(picture, draft.box)
    if picture.device.type == "cpu":
        part = crops.resize_bicubic(part, draft.size)
    elif part.shape[1:] != draft.size:  # bytes are resized on the CPU only
        wide = F.interpolate(part[None].float(), list(draft.size), mode="bicubic", antialias=True)[0]
        part = wide.round_().clamp_(0, 255).to(torch.uint8)
    return part.flip(-1) if draft.flip else part

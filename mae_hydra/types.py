"""The words that all rooms share: batches, losses, pictures, and what a model, an evaluator and a tracker promise.

Shape letters, used everywhere: B batch, N tokens, K kept tokens, D width, H W pixels, h w grid, P values of a patch,
C classes (or channels, where an image is meant).
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Batch:
    """What the engine hands to a model.

    `images`: uint8 or uint16 (B, C, H, W); floating point means "already normalised".
    `labels`: uint8 or uint16 (B, H, W) class maps, int64 (B,) class ids, or None.
    `index`: int64 (B,) positions in the data set, for inspection and error messages.
    """

    images: Tensor
    labels: Tensor | None = None
    index: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str, non_blocking: bool = True) -> "Batch":
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        return self._map(Tensor.pin_memory)

    def _map(self, change: Any) -> "Batch":
        labels, index = (None if part is None else change(part) for part in (self.labels, self.index))
        return Batch(change(self.images), labels, index)


class Loss(NamedTuple):
    """A sum of per-element losses and how many elements it holds (both scalars); never a mean.

    `extras` are further sums over the same count, for the log (detached).
    """

    total: Tensor
    count: Tensor  # type: ignore[assignment]  # tuple has a method of this name, which nobody misses here
    extras: Mapping[str, Tensor] = {}


@dataclass(frozen=True)
class Picture:
    """Something to look at: RGB uint8 (H, W, 3).

    `maps`: class maps (H, W) by name, for trackers that draw overlays themselves. `for_report`: not to be looked at by
    itself; the local files keep it for the page that puts many runs side by side.
    """

    pixels: np.ndarray
    caption: str = ""
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    for_report: bool = False


class Evaluation(NamedTuple):
    """What an evaluator found: scalars by name (`mIoU`, not `val/mIoU`), pictures by name, tables of rows by name."""

    scalars: Mapping[str, float]
    pictures: Mapping[str, Picture] = {}
    tables: Mapping[str, list[dict[str, Any]]] = {}


@runtime_checkable
class Encoder(Protocol):
    """What every head, layer decay and freezing stand on: a backbone of anybody's.

    `widths`, `strides`: channels of each feature map, and pixels of the image between two of its cells. `num_depths`:
    how many depths `depth_of` tells apart, from 0, the embedding, to `num_depths - 1`.

    More is an offer, used where it is there: `image_size` (H, W), of an encoder that takes one size only;
    `in_chans`; `final_map(images)`, one map (B, D, h, w) after the last norm, for heads of one map;
    `tokens(images, keep)`, which a masked autoencoder needs; `position_biases()`, which evaluation works out once.
    """

    widths: Sequence[int]
    strides: Sequence[int]
    num_depths: int

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Normalised images (B, C, H, W) -> maps (B, width, H / stride, W / stride), fine to coarse.

        ValueError where images of this size are not taken.
        """
        ...

    def depth_of(self, name: str) -> int:
        """Depth of one of its parameters, `name` relative to the encoder, for layer-wise decay and freezing."""
        ...


@runtime_checkable
class MaskedEncoder(Encoder, Protocol):
    """An encoder that a masked autoencoder can hide patches from.

    `image_size` (H, W) and `patch_size` in pixels, `grid` (h, w) and `num_patches` follow from each other; `embed_dim`:
    width of the tokens; `in_chans`: channels of the images. `num_cls_tokens`, where it has it: how many cls tokens come
    first, else one.
    """

    image_size: tuple[int, int]
    patch_size: int
    grid: tuple[int, int]
    num_patches: int
    embed_dim: int
    in_chans: int

    def tokens(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """(B, 1 + K, D): the cls token or tokens, then the patches `keep`, int64 (B, K), in order; without them all."""
        ...


@runtime_checkable
class Head(Protocol):
    """Feature maps -> logits (B, C, h, w) at whatever size; the model enlarges them.

    It gets the list of all maps, or, with an attribute `num_maps` of 1, one map. `in_dim`, where it has it, is
    compared with the encoder's widths.
    """

    num_classes: int

    def __call__(self, maps: Any) -> Tensor:
        """Maps [(B, D, h, w), …], fine to coarse, or the one map (B, D, h, w) -> logits (B, C, h, w)."""
        ...


@runtime_checkable
class PixelLoss(Protocol):
    """Logits (B, C, h, w) and labels int64 (B, H, W) -> a sum and a count.

    The logits are those of the head: the loss enlarges them to the labels' size, where a loss that knows how can do so
    a few images at a time. What follows from one image must not depend on the others in the batch, so that a batch may
    be cut. `ignore_index`: the label that counts for nothing.
    """

    ignore_index: int

    def __call__(self, logits: Tensor, labels: Tensor) -> Loss:
        """`total` and `count` are scalars, also where every pixel is ignored: both are 0 then, and there is no NaN."""
        ...


class Model(Protocol):
    """What the engine and the optimizer ask of a model, besides being an `nn.Module`.

    `answers`, where it has it, says what `model(images)` is for whoever evaluates, predicts or exports, see `Answer`.
    """

    num_depths: int

    def loss(self, batch: Batch) -> Loss:
        """Sum and count of a micro-batch; the model normalises its images itself.

        ValueError where the batch has not the labels that the model learns from.
        """
        ...

    def depth_of(self, name: str) -> int:
        """Depth of a parameter by its name in `named_parameters()`, for layer-wise decay.

        0 is the embedding, `num_depths - 1` the head.
        """
        ...


Answer = Literal["pixels", "images", "reconstruction"]
"""What a model declares in its attribute `answers`.

- "pixels": class logits (B, C, H, W), "images": class logits (B, C); with `num_classes` and `prepare(images)` (uint8
  (B, C, H, W) -> normalised).
- "reconstruction": a masked autoencoder's answer, `mae_hydra.models.MAEOutput`.

`image_size`, of the model or of its `encoder`: the one size that it takes; without it, any. `training_only`: names of
the parts that only `loss` uses.
"""


def answers(model: Any) -> Answer | None:
    """What a model says that its output is; None: it says nothing, as a bare encoder does."""
    return getattr(model, "answers", None)


DEFAULT_SIZE = (224, 224)  # of the images that are shown to a model that takes any


def image_size_of(model: Any) -> tuple[int, int] | None:
    """(H, W) where a model takes images of one size only."""
    size = getattr(model, "image_size", None) or getattr(getattr(model, "encoder", None), "image_size", None)
    return None if size is None else (int(size[0]), int(size[1]))


def channels_of(model: Any) -> int:
    """How many channels the images of a model have."""
    encoder = getattr(model, "encoder", model)
    return int(getattr(encoder, "in_chans", None) or len(model.mean.flatten()))


@runtime_checkable
class TwoPart(Protocol):
    """A model whose loss falls into two parts, so that batch normalisation can see a whole step (`batch_norm=step`).

    `loss(batch)` is `loss_of(features(batch), batch)`.
    """

    def features(self, batch: Batch) -> tuple[Tensor, ...]:
        """Tensors with the batch first, in which images know nothing of each other beyond their micro-batch."""
        ...

    def loss_of(self, features: tuple[Tensor, ...], batch: Batch) -> Loss:
        """Sum and count of a batch from the features of its images, concatenated over micro-batches or not."""
        ...


class Evaluator(Protocol):
    """Owns its data, its metric, its pictures and its clock; the loop only asks `due`.

    Offers: `judges`, the `Answer` of the models that it is for; `counts_confusions`, that its scores follow from the
    confusions of single images (`count(prediction, sample)`), so that an evaluation can go on where it was stopped.
    """

    def check(self, model: nn.Module) -> None:
        """Raise a UserError where `run` could not evaluate this model; before training, and cheap."""
        ...

    def due(self, step: int, total_steps: int) -> bool:
        """Whether it runs after `step` of `total_steps` optimizer steps; the same answer in every process."""
        ...

    def run(self, model: nn.Module, step: int) -> Evaluation:
        """Evaluate a model in eval mode, without gradients, after `step` steps.

        Every process calls it; scalars are the same in all of them, pictures and tables those of the main one.
        """
        ...


@runtime_checkable
class OnFiles(Protocol):
    """An evaluator that tells on what its numbers stand."""

    def stamps(self) -> list[str]:
        """What changes with each of the files that it looks at, and with nothing else."""
        ...


class Tracker(Protocol):
    """Where numbers and pictures of a run go. `step` is the number of finished optimizer steps.

    Only the main process has trackers. One that raises is dropped with a warning, and the run goes on.
    """

    def start(self, run_dir: Any, config: Mapping[str, Any], step: int) -> None:
        """A run begins, or goes on after `step`; `config` is its resolved configuration."""
        ...

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of training by their whole name, `train/loss`."""
        ...

    def evaluation(self, step: int, name: str, evaluation: Evaluation) -> None:
        """What the evaluator `name` found; its scalars are logged as `val/<scalar>`."""
        ...

    def finish(self, state: str, summary: Mapping[str, Any]) -> None:
        """The run ends as `state` ("completed", "failed", "interrupted"); `summary`: the last value of every scalar."""
        ...


@dataclass(frozen=True)
class Progress:
    """How far a run is, as its callbacks are told.

    `step` of `total_steps` optimizer steps are finished. `new`: the scalars that were logged or found of this very step
    ("train/loss", "val/mIoU"), none where a run begins or goes on; `latest`: the last value of every one. `best`:
    {"value", "step"} of the best `checkpoint.monitor` so far, `step` included; None before there is one.
    """

    step: int
    total_steps: int
    new: Mapping[str, float]
    latest: Mapping[str, float]
    best: Mapping[str, Any] | None
    run_dir: Path


class Request(NamedTuple):
    """What a callback asks for: `stop`, the reason why training ends, complete, after this step; `save`: save it.

    `given_up`: a run that stops is not worth going on with; its state is "pruned", and nothing follows it.
    """

    stop: str = ""
    save: bool = False
    given_up: bool = False


class Callback(Protocol):
    """Is told the numbers of a run as a tracker is, and may act: end the training, or have a checkpoint saved.

    It is told wherever something was logged or evaluated, in the main process, whose answer holds for all. Where a run
    begins or goes on it is told once with nothing `new`; whoever had ended the run then asks for it again.

    What it has to remember it offers as `Remembering`. An error of it ends the run, with its finished steps saved.
    """

    def on_progress(self, progress: Progress) -> Request | None:
        """What it asks for after this step; None: nothing."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """A callback with a memory, which every checkpoint keeps, so that an interrupted run counts on."""

    def state_dict(self) -> Mapping[str, Any]:
        """Values as JSON holds them; anything else is refused before the first step."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave, before the first `on_progress`."""
        ...


class Schedule(Protocol):
    """How many steps to train, and the factor of the learning rate at each of them."""

    @property
    def steps(self) -> int:
        """How many optimizer steps the training has, at least 1."""
        ...

    @property
    def factor(self) -> Callable[[int], float]:
        """Step, from 0, -> factor of every group's learning rate; a function of the step alone."""
        ...


class Stream(Protocol):
    """Micro-batches of one rank from a given optimizer step on, for ever; `steps_per_epoch` may be a fraction."""

    steps_per_epoch: float

    def batches(self, start_step: int) -> Generator[Batch]:
        """Closing the generator ends what it keeps running."""
        ...

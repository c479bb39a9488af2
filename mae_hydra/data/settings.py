"""What every data set is told beside its own facts, once for all: `conf/data/_base.yaml`, and `_files.yaml` for files.

A data factory takes them as one object, and the arguments that are its own:

    @data_factory
    def mine(settings: FileSettings, *, root: str | None) -> ImageData:
        train = ...
        return settings.image_data(train, validation, "none")
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_type_hints

from mae_hydra.data.dataset import ImageData, ImageSet, Target, check_loading, height_width, limited
from mae_hydra.data.decoding.bands import Channels, check_bands, shown_channels
from mae_hydra.data.decoding.measure_range import Settled, settle_files
from mae_hydra.data.decoding.pixel_range import AUTO, Told
from mae_hydra.data.label_share import label_share
from mae_hydra.data.labels.palette import distinct_colours


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `ImageData` holds of a configuration as it is told.

    `train_limit` as in `limited`; of what that leaves, `label_fraction` and `label_seed` as in `label_share`.
    """

    image_size: int | Sequence[int]
    channels: int
    mean: Sequence[float]
    std: Sequence[float]
    num_classes: int
    ignore_index: int
    batch_size: int
    num_workers: int
    train_limit: int | float | None = None
    label_fraction: float | None = None
    label_seed: int | None = None
    prefetch: int = 2

    def __post_init__(self) -> None:
        check_loading(self.batch_size, self.num_workers)

    def image_data(self, train: ImageSet, validation: ImageSet, target: Target, **facts: Any) -> ImageData:
        """The data set of these settings; `facts` are what `ImageData` takes besides.

        Classes without names and colours get numbers for names, and colours that differ.
        """
        known = {field.name for field in fields(ImageData)} - {"palette"}
        own = {name: getattr(self, name) for field in fields(self) if (name := field.name) in known} | facts
        count = own["num_classes"]
        own["image_size"] = height_width(self.image_size)
        own |= {name: tuple(own[name]) for name in ("mean", "std")}
        own.setdefault("class_names", tuple(f"class {number}" for number in range(count)))
        own.setdefault("palette", distinct_colours(count))
        train = limited(train, self.train_limit)
        own["train"], notes = label_share(train, self.label_fraction, self.label_seed, own["class_names"])
        own["notes"] = (*own.get("notes", ()), *notes)
        return ImageData(validation=validation, target=target, **own)


@dataclass(frozen=True, kw_only=True)
class FileSettings(Settings):
    """Those of a set of image files; `range` as in `pixel_range`.

    `bands`: which of a file's are the channels, counted from 1 (None: a grey or colour picture is read, or of other
    numbers of channels all bands). `shown_bands`: three of them, or one, that pictures show (None: the first). `bits`:
    in which pictures of more than 8 bits travel to the model ("auto": 16, of grey and colour pictures 8).
    """

    range: Told = AUTO
    max_bad_share: float = 0.0
    bands: Sequence[int] | None = None
    shown_bands: Sequence[int] | None = None
    bits: Literal["auto", 8, 16] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bands(self.channels, self.bands and tuple(self.bands), self.shown_bands and tuple(self.shown_bands))

    def image_data(self, train: ImageSet, validation: ImageSet, target: Target, **facts: Any) -> ImageData:
        shown = shown_channels(self.channels, self.bands, self.shown_bands)
        return super().image_data(train, validation, target, **{"shown": shown} | facts)

    @property
    def wanted(self) -> Channels:
        """What of a file is read: so many channels, or these bands."""
        return self.channels if self.bands is None else tuple(self.bands)

    @property
    def depth(self) -> int | None:
        return None if self.bits == "auto" else self.bits

    def settled(self, root: Path, names: Sequence[str]) -> Settled:
        """The range that holds for the set, from its training pictures."""
        return settle_files(self.range, self.wanted, root, names, bits=self.depth)


def data_factory(make: Callable[..., ImageData]) -> Callable[..., ImageData]:
    """`make(settings, *, …)` as a function of keywords alone, the settings' own among them, for a `_target_`."""
    first, *own = inspect.signature(make).parameters.values()
    hints = get_type_hints(make)
    kind: type[Settings] = hints.pop(first.name)
    names = [field.name for field in fields(kind)]

    @functools.wraps(make)
    def factory(**arguments: Any) -> ImageData:
        settings = kind(**{name: arguments.pop(name) for name in names if name in arguments})
        return make(settings, **arguments)

    shared = list(inspect.signature(kind).parameters.values())
    signature = inspect.Signature([*own, *shared], return_annotation=ImageData)
    factory.__signature__ = signature  # type: ignore[attr-defined]
    factory.__annotations__ = {**hints, **{name: get_type_hints(kind)[name] for name in names}}
    return factory

"""`mae-hydra make-shards`: a set of image files as tar files, for `data=shards`."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, help="a new folder; with --index the folder of tar files")
    parser.add_argument("overrides", nargs="*", help="the set: data=imagenet data.root=<folder>, or data=folder ...")
    parser.add_argument("--samples", type=int, default=2048, help="images of a shard (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--short", type=int, help="reduce larger images to so many pixels of the shorter side (256)")
    parser.add_argument(
        "--decoded", action="store_true", help="with --short: pixels instead of JPEGs, which need no decoding"
    )
    parser.add_argument("--image-suffix", help="with --index: the ending of the images beside other pictures (jpg)")
    parser.add_argument("--map-ending", help="with --index: the ending of class maps beside the images (seg.png)")
    parser.add_argument("--index", action="store_true", help="only list the tar files that are there, in shards.json")


def run(options: argparse.Namespace) -> int:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from mae_hydra.errors import UserError

    if options.samples < 1:
        raise UserError(f"--samples must be at least 1, got {options.samples}")
    if options.short is not None and options.short < 1:
        raise UserError(f"--short must be at least 1 pixel, got {options.short}")
    if options.decoded and options.short is None:
        raise UserError("--decoded needs --short: pixels of whole photos take many times their room; --short 256")
    if options.workers < 0:
        raise UserError(f"--workers must not be negative, got {options.workers}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Bar(*columns, transient=True)
    with bar:
        return _index(options, bar) if options.index else _write(options, bar)


def _index(options: argparse.Namespace, bar: "Progress") -> int:
    from mae_hydra.data.shards.index import Endings
    from mae_hydra.data.shards.write import index_shards

    task = bar.add_task("reading", total=None)
    told = (options.image_suffix, options.map_ending)
    found = index_shards(
        options.out,
        done=lambda samples: bar.advance(task, samples),
        endings=Endings(*(each and each.lower().lstrip(".") for each in told)),
        say=lambda line: bar.console.print(line, highlight=False, soft_wrap=True),
    )
    counts = ", ".join(f"{samples} {split}" for split, samples in found.items())
    print(f"wrote {options.out / 'shards.json'}: {counts} images")
    return 0


def _write(options: argparse.Namespace, bar: "Progress") -> int:
    from rich import filesize

    from mae_hydra.configuration.compose import compose_config
    from mae_hydra.configuration.construct import build
    from mae_hydra.data import ImageData
    from mae_hydra.data.decoding.bands import by_bands
    from mae_hydra.data.shards.maps import WithMaps
    from mae_hydra.data.shards.shrink import Shrunk
    from mae_hydra.data.shards.write import write_shards
    from mae_hydra.errors import UserError

    config = compose_config(options.overrides)
    if options.short is not None and by_bands(tuple(config.data.get("bands") or ()) or config.data.channels):
        raise UserError(
            "--short writes gray and RGB images, and these are bands as they are stored (data.channels, data.bands); "
            "leave it out, the files are written as they are"
        )
    data: ImageData = build(config.data, "data")
    if not hasattr(data.train, "stored"):
        raise UserError(
            "make-shards writes a whole set of image files: data=imagenet or data=segmentation … with data.root=…; "
            "`mae-hydra make-data --layout imagenet <folder>` writes the embedded scenes as one"
        )
    for note in data.notes:
        bar.console.print(note, highlight=False, soft_wrap=True)
    sets: dict[str, Any] = {"train": data.train, "validation": data.validation}
    if options.short is not None:
        shrink = partial(
            Shrunk,
            short=options.short,
            channels=data.channels,
            decoded=options.decoded,
            pixel_range=data.pixel_range and data.pixel_range._replace(bits=8),
        )
        sets = {split: shrink(of_split) for split, of_split in sets.items()}
    if data.target == "map":
        sets = {split: WithMaps(of_split, data.ignore_index, data.palette) for split, of_split in sets.items()}
    task = bar.add_task("writing", total=len(data.train) + len(data.validation))
    size = write_shards(
        sets,
        options.out,
        classes=None if data.target == "none" else data.class_names,
        samples_per_shard=options.samples,
        num_workers=options.workers,
        done=lambda samples: bar.advance(task, samples),
    )
    print(f"wrote {filesize.decimal(size)} to {options.out}. To train on it:")
    print(f"  python train.py model=mae_vitb data=shards data.root={options.out}")
    if data.target != "none":
        model = "upernet_vitb" if data.target == "map" else "classifier_vitb"
        print(
            f"  python train.py model={model} data=shards data.root={options.out} data.num_classes={data.num_classes}"
        )
    return 0

"""`mae-hydra make-data`: the embedded scenes as files, in the layouts that the readers of real data sets expect."""

import argparse
from pathlib import Path

PATCH = 8  # of the tiny models, which the printed command trains


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, nargs="?", default=Path("toy"), help="a new folder (default: %(default)s)")
    parser.add_argument("--layout", choices=("ade20k", "imagenet"), default="ade20k", help="default: %(default)s")
    parser.add_argument("--train", type=int, default=64, help="training images (default: %(default)s)")
    parser.add_argument("--validation", type=int, default=16, help="validation images (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs="+", default=[128], help="one side, or height and width, in pixels")
    parser.add_argument("--seed", type=int, default=0, help="of the scenes (default: %(default)s)")
    parser.add_argument("--indexed", action="store_true", help="ade20k: label maps that picture viewers show in color")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier make-data wrote there")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    from mae_hydra.configuration.compose import compose_config
    from mae_hydra.configuration.construct import build
    from mae_hydra.data import ImageData, write_ade20k, write_imagenet
    from mae_hydra.errors import UserError

    if len(options.size) > 2 or any(side % PATCH for side in options.size):
        raise UserError(f"--size takes one side, or height and width, in multiples of {PATCH}, got {options.size}")
    if options.workers < 0:
        raise UserError(f"--workers must not be negative, got {options.workers}")
    size = options.size[0] if len(options.size) == 1 else options.size
    config = compose_config(
        [
            "data=scenes",
            f"data.image_size={size}".replace(" ", ""),
            f"data.num_train={options.train}",
            f"data.num_validation={options.validation}",
            f"data.seed={options.seed}",
        ]
    )
    data: ImageData = build(config.data, "data")
    chosen = {"overwrite": options.overwrite, "num_workers": options.workers}
    if options.layout == "ade20k":
        write_ade20k(
            {"training": data.train, "validation": data.validation},
            options.out,
            class_names=data.class_names,
            palette=data.palette,
            ignore_index=data.ignore_index,
            indexed=options.indexed,
            **chosen,
        )
        num_classes = data.num_classes
    else:
        folders = write_imagenet(
            {"train": data.train, "val": data.validation},
            options.out,
            class_names=data.class_names,
            palette=data.palette,
            subjects=None,
            **chosen,
        )
        num_classes = len(folders)
    print(f"wrote {options.out}. To train on it:")
    model = "upernet_vitt" if options.layout == "ade20k" else "mae_vitt"
    keys = f"data.root={options.out} data.num_classes={num_classes} data.image_size={size}".replace(", ", ",")
    print(f"  python train.py model={model} data={options.layout} {keys}")
    return 0

"""`mae-hydra check-data`: audit a data set before a day is lost on it."""

import argparse
from pathlib import Path
from typing import Any

from mae_hydra.errors import UserError

EVERY = 1000  # samples between two lines where there is no terminal for a bar


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        help="as for training, e.g. data=ade20k data.root=<folder>; or a folder, tar or list alone",
    )
    parser.add_argument("--limit", type=int, help="look at so many samples of each split, spread evenly (default: all)")
    parser.add_argument(
        "--save", type=Path, help="of a folder alone: write its words as an option file, conf/local/data/<name>.yaml"
    )
    parser.add_argument(
        "--out", type=Path, help="where report.json and the pictures go (default: outputs/check_data/<name>)"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    """0: no error was found (warnings may have been), 1: there is an error, or nothing to look at."""
    for name, least in (("limit", 1), ("workers", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UserError(f"--{name} must be at least {least}, got {value}")
    from mae_hydra.commands.check_data.look import is_place, look_at_data

    if is_place(options.overrides):
        return look_at_data(Path(options.overrides[0]).expanduser(), options.save, options.limit, options.out)
    if options.save is not None:
        raise UserError(
            "--save is for a folder by itself: mae-hydra check-data <folder> --save conf/local/data/<name>.yaml"
        )
    from omegaconf import OmegaConf

    from mae_hydra import atomic
    from mae_hydra.commands.check_data.report import show, write
    from mae_hydra.configuration.check import check
    from mae_hydra.configuration.compose import compose_config
    from mae_hydra.data.audit.dataset import audit
    from mae_hydra.owned import Owned
    from mae_hydra.terminal import plain_console

    config = compose_config(options.overrides)
    check(config)
    settings: Any = OmegaConf.to_container(config.data, resolve=True)
    name = Path(settings.get("root") or settings["_target_"].rpartition(".")[2]).name
    out = options.out or Path(config.paths.output_root) / "check_data" / name
    owned = Owned(out, "check-data", trusted=options.out is None)
    owned.check(out / "report.json")  # before hours of looking
    atomic.check_writable(out, "give another folder with --out")
    console = plain_console()
    listing, refusal = _listing(config, settings)
    with _Progress(console) as progress:
        found = audit(
            listing,
            settings,
            limit=options.limit,
            num_workers=options.workers,
            refusal=refusal,
            advance=progress.advance,
            short=_short(config),
        )
    pictures = write(found, settings, owned)
    show(console, found, settings, out, pictures)
    return 1 if found.num_errors else 0


def _short(config: Any) -> Any:
    """The shorter side that the augmentation brings pictures to, where it does."""
    from mae_hydra.data.dataset import height_width

    short = config.augment.get("short", config.data.image_size)
    return None if short is None else min(height_width(short))


def _listing(config: Any, settings: Any) -> Any:
    """The listing, and what the reader itself says of the set (None: it takes it)."""
    from mae_hydra.configuration.construct import build
    from mae_hydra.configuration.trust import judge
    from mae_hydra.data.audit.dataset import list_files, list_samples

    listing = list_files(judge(settings["_target_"], "data", "person"), settings)
    if listing is None:
        return list_samples(build(config.data, "data")), None
    try:
        build(config.data, "data")
    except UserError as error:
        return listing, str(error)
    return listing, None


class _Progress:
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Any) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = console
        columns = TextColumn("looking at"), MofNCompleteColumn(), BarColumn(30), TimeRemainingColumn()
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> "_Progress":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def advance(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)
        if not self._console.is_terminal and (done == total or done % EVERY == 0):
            self._console.print(f"looked at {done} of {total} samples", highlight=False)

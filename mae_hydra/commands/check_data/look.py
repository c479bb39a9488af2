"""`mae-hydra check-data <folder>`: what lies there, and what to type for it."""

import os
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mae_hydra.commands.check_data.look_pictures import View, draw, some_of
from mae_hydra.commands.check_data.typed import check_option_file, command, instead, saved, typed, words_of
from mae_hydra.data.looking import Found, look
from mae_hydra.data.looking.advice import Advice, Way, advise
from mae_hydra.errors import UserError
from mae_hydra.names import clean

MOST_HEADERS = 10_000  # validation pictures that are looked at as a run does at its start
SECONDS = 2.0  # for the values of their class maps
MEASURED = 256  # training pictures, for the mean and deviation of bands
LESSER = 3  # ways that are named beside the best


def is_place(words: Sequence[str]) -> bool:
    """Whether what was typed is a folder or file to look at, and no configuration; UserError where it is both."""
    places = [word for word in words if "=" not in word or os.path.exists(word)]
    if not places:
        return False
    rest = [word for word in words if word not in places]
    if rest or len(places) > 1:
        raise UserError(
            f"check-data looks at one folder without a configuration (mae-hydra check-data {shlex.quote(places[0])}), "
            f"or audits what a configuration reads (mae-hydra check-data data=… data.root={shlex.quote(places[0])}); "
            f"got {clean(' '.join(words))}"
        )
    if not os.path.exists(os.path.expanduser(places[0])):
        raise UserError(
            f"there is no file or folder {places[0]}; give a folder, a tar or a list to look at, or data=… data.root=… "
            "as for training"
        )
    return True


def look_at_data(place: Path, save: Path | None, limit: int | None, out: Path | None = None) -> int:
    """0: something that can be named was found, 1: nothing was, or what is there stops a run at its start.

    `save`: the option file to write. `out`: where the picture goes (None: outputs/check_data/<name>).
    """
    from mae_hydra.commands.check_data.look_report import show
    from mae_hydra.terminal import plain_console

    if save is not None:
        check_option_file(save)
    found = look(place) if limit is None else look(place, limit)
    wanted = advise(found, known_sets())
    views: list[View] = []
    advice = _tried(found, wanted, views)
    console = plain_console()
    show(console, found)
    for sentence in advice.said:
        console.print(clean(sentence), soft_wrap=True)
    ways = advice.ways
    for way in ways[1 : 1 + LESSER]:
        console.print(f"or {way.means}: {instead(way, ways[0])}", soft_wrap=True)
    if not ways:
        if save is not None:
            raise UserError(f"there is nothing to write to {save}: no data option reads {place} as it lies there")
        refused = len(advice.said) > len(wanted.said)
        again = f"mend that, and look again: {typed(['mae-hydra', 'check-data', str(place)])}"
        console.print(again if refused else _way_out(found), soft_wrap=True)
        return 1 if refused or found.kind == "nothing" else 0
    best = ways[0]
    if best.data == "folder" and found.kind != "photos":
        console.print("what starts as it lies there is pre-training on the photos alone:", soft_wrap=True)
    views = [view for view in views if view.data.target == views[0].data.target]  # photos alone say nothing more
    if views and (picture := _drawn(found, views, out, console)) is not None:
        console.print(f"samples{' in every reading' if len(views) > 1 else ''}: {picture}", soft_wrap=True)
    if advice.alone is not None:
        console.print(f"to pre-train on the photos alone: {command(advice.alone)}", soft_wrap=True)
    if len(ways) > 1 and best.means:
        console.print(f"the likeliest: {best.means}", soft_wrap=True)
    console.print(command(best) if save is None else saved(best, save), soft_wrap=True)
    return 0


def known_sets() -> dict[str, Any]:
    """The data nodes of the presets of `data=segmentation`, by name, without what stands around them."""
    import yaml

    from mae_hydra.configuration.tree import config_dir

    nodes: dict[str, Any] = {}
    for file in sorted((config_dir() / "data").glob("*.yaml")):
        nodes[file.stem] = yaml.safe_load(file.read_text(encoding="utf-8"))

    def whole(name: str) -> dict[str, Any]:
        node = dict(nodes[name])
        for above in node.pop("defaults", []):
            base = whole(above)
            node = base | {
                key: base[key] | value if isinstance(value, dict) and isinstance(base.get(key), dict) else value
                for key, value in node.items()
            }
        return node

    found = {name: whole(name) for name in nodes}
    targets = found["segmentation"]["_target_"]
    return {name: node for name, node in found.items() if node.get("_target_") == targets and name != "segmentation"}


def _tried(found: Found, advice: Advice, views: list[View]) -> Advice:
    """The ways that start: each is composed, its data are built and their labels looked at, as by a run.

    What those that are named read is put into `views`.
    """
    good: list[Way] = []
    said = list(advice.said)
    idle: list[tuple[Way, str]] = []  # that read the files, of which nothing can be learned
    if not found.complete:
        return replace(advice, said=(*advice.said, "the command was not tried: there is more than was looked at"))
    for way in advice.ways:
        measured: dict[str, Any] = {}
        try:
            doubts = _start(found, way, views if len(good) <= LESSER else None, measured)
        except UserError as error:
            way = replace(way, keys={**way.keys, **measured})
            if "nothing can be learned" in str(error) or "ignores them all" in str(error):
                idle.append((way, f"as it lies there a run would not start: {error}"))
            elif not way.known:  # else another way is its own
                said.append(f"data={way.data} does not read it: {error}")
            continue
        good.append(replace(way, keys={**way.keys, **measured}))
        if len(good) == 1:
            said += doubts
    if not good and idle:
        good, said = [way for way, _ in idle], [*said, idle[0][1]]
    return Advice(tuple(good), tuple(dict.fromkeys(said)), _if_it_starts(found, advice.alone) if good else None)


def _if_it_starts(found: Found, way: Way | None) -> Way | None:
    if way is None:
        return None
    measured: dict[str, Any] = {}
    try:
        _start(found, way, None, measured)
    except UserError:  # the way that it is of tells more
        return None
    return replace(way, keys={**way.keys, **measured})


def _start(found: Found, way: Way, views: list[View] | None, measured: dict[str, Any]) -> list[str]:
    """What a run says at its start; UserError where it ends there. Nothing is written beside the data.

    `measured` gets the values of the words that are to be measured.
    """
    from mae_hydra.configuration.check import check
    from mae_hydra.configuration.compose import compose_config
    from mae_hydra.configuration.construct import build
    from mae_hydra.data.audit.label_scan import check_labels
    from mae_hydra.data.audit.statistics import statistics
    from mae_hydra.data.loading.look_ahead import look_ahead

    with tempfile.TemporaryDirectory() as folder:
        keys = dict(way.keys)
        if way.data == "shards":  # whose index would be left beside them
            keys["root"] = folder if found.root.is_dir() else f"{folder}/{found.root.name}"
            for shard in _shards_at(found.root):
                (Path(folder) / shard.name).symlink_to(shard.absolute())
        try:
            config = compose_config([f"model={way.model}", f"data={way.data}", *way.words, *words_of(keys)])
            check(config)
            data = build(config.data, "data")
            if way.measured:
                measured["mean"], measured["std"] = statistics(data.train, MEASURED)
            doubts = [*(note for note in data.notes if note.startswith("warning")), *check_labels(data)]
            if len(data.validation) <= MOST_HEADERS:
                look_ahead(data.validation, None, seconds=SECONDS)
            if views is not None and (samples := some_of(data.train)):
                views.append(View(way.means, samples, data))
            return [_with_its_root(doubt, keys, way) for doubt in doubts]
        except UserError as error:
            raise UserError(_with_its_root(str(error), keys, way)) from error


def _with_its_root(said: str, keys: dict[str, Any], way: Way) -> str:
    return said.replace(str(keys["root"]), str(way.keys["root"])) if "root" in keys else said


def _drawn(found: Found, views: Sequence[View], out: Path | None, console: Any) -> Path | None:
    """The picture of what is read, where it can be written; UserError where it cannot and a person said where."""
    from mae_hydra.configuration.compose import compose_config
    from mae_hydra.figures import save
    from mae_hydra.owned import Owned

    name = clean(found.root.absolute().name) or "set"
    folder = out or Path(compose_config([]).paths.output_root) / "check_data" / name
    try:
        owned = Owned(folder, "check-data", trusted=out is None)
        path = owned.claim(folder / "look.png")
        save(draw(views, name), path)
    except (UserError, OSError) as error:
        if out is not None:
            why = error if isinstance(error, UserError) else f"{folder}: {error.strerror}"
            raise UserError(f"{why}; --out says where the picture goes") from error
        console.print(clean(f"no picture was written: {error}"), soft_wrap=True)
        return None
    return path


def _shards_at(place: Path) -> list[Path]:
    """The tars, and what tells of them."""
    if not place.is_dir():
        return [place]
    return [path for path in sorted(place.iterdir()) if path.suffix in (".tar", ".json")]


def _way_out(found: Found) -> str:
    if found.kind == "list":
        return f"no data option reads lists: mae-hydra check-data {shlex.quote(str(found.root.parent))}"
    if found.kind == "nothing":
        return (
            "there is nothing that can be trained on; give the folder of the pictures (.jpg .png .tif …), and unpack "
            "what is packed"
        )
    return (
        "no data option reads this as it lies there; give a folder of photos alone, or write class maps: PNGs of class "
        "numbers, called as their photos (docs/data.md)"
    )

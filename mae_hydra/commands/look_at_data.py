"""`mae-hydra check-data <folder>`: what lies there, and what to type for it."""

import os
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mae_hydra.data.looking import Found, look
from mae_hydra.data.looking.advice import Advice, Way, advise
from mae_hydra.errors import UserError
from mae_hydra.names import clean

HEAD = "# Written by mae-hydra check-data"
MOST_HEADERS = 10_000  # validation pictures that are looked at as a run does at its start
SECONDS = 2.0  # for the values of their class maps
OF_THE_PLACE = ("root", "images", "maps", "image_suffix", "map_suffix", "splits", "lists")  # not of the labels
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


def look_at_data(place: Path, save: Path | None, limit: int | None) -> int:
    """0: something that can be named was found, 1: nothing was, or what is there stops a run at its start."""
    from mae_hydra.commands.look_at_data_report import show
    from mae_hydra.terminal import plain_console

    if save is not None:
        _check_option_file(save)
    found = look(place) if limit is None else look(place, limit)
    wanted = advise(found, known_sets())
    advice = _tried(found, wanted)
    console = plain_console()
    show(console, found)
    for sentence in advice.said:
        console.print(clean(sentence), soft_wrap=True)
    ways = advice.ways
    for way in ways[1 : 1 + LESSER]:
        console.print(f"or {way.means}: {_instead(way, ways[0])}", soft_wrap=True)
    if not ways:
        if save is not None:
            raise UserError(f"there is nothing to write to {save}: no data option reads {place} as it lies there")
        refused = len(advice.said) > len(wanted.said)
        again = f"mend that, and look again: {_typed(['mae-hydra', 'check-data', str(place)])}"
        console.print(again if refused else _way_out(found), soft_wrap=True)
        return 1 if refused or found.kind == "nothing" else 0
    best = ways[0]
    if len([way for way in ways if way.data == best.data and best.model.startswith("upernet")]) > 1:
        audit = _typed(["mae-hydra", "check-data", f"data={best.data}", *_words(best.keys)])
        after = "with the links below, " if best.links else ""
        console.print(f"{after}{audit} draws samples in every reading", soft_wrap=True)
    if best.data == "folder" and found.kind != "photos":
        console.print("what starts as it lies there is pre-training on the photos alone:", soft_wrap=True)
    if len(ways) > 1 and best.means:
        console.print(f"the likeliest: {best.means}", soft_wrap=True)
    console.print(command(best) if save is None else _saved(best, save), soft_wrap=True)
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
    return {name: node for name, node in found.items() if node["_target_"] == targets and name != "segmentation"}


def command(way: Way) -> str:
    """What to type, quoted for a shell; its links first."""
    words = [f"model={way.model}", f"data={way.data}", *way.words, *_words(way.keys)]
    return " && ".join([*_linking(way), _typed(["python", "train.py", *words])])


def _typed(words: Sequence[str]) -> str:
    """Quote a name for a shell; what a terminal would obey instead of show is written in bash's escapes."""
    return " ".join(shlex.quote(each) if each.isprintable() else f"$'{_escaped(each)}'" for each in words)


def _escaped(word: str) -> str:
    return "".join(
        f"\\x{byte:02x}" if byte < 32 or byte > 126 or byte in b"\\'" else chr(byte) for byte in os.fsencode(word)
    )


def _instead(way: Way, best: Way) -> str:
    """What to type for `way`: of what is typed for the best, only the words that differ, where these are few."""
    if (way.model, way.data, way.links) != (best.model, best.data, best.links):
        return command(way)
    shared = {key: value for key, value in way.keys.items() if key in OF_THE_PLACE and best.keys.get(key) == value}
    return _typed([word for word in _words(way.keys) if word not in _words(shared)][:-1])


def _words(keys: Mapping[str, Any]) -> list[str]:
    from mae_hydra.configuration.command_words import word

    said = []
    for key, value in keys.items():
        if isinstance(value, Mapping):
            inner = ",".join(f"{each}:{_inner(number)}" for each, number in value.items())
            said.append(f"data.{key}={{{inner}}}")
        elif value is None:
            said.append(f"data.{key}=null")
        elif isinstance(value, bool):
            said.append(f"data.{key}={str(value).lower()}")
        elif isinstance(value, str) and "{split}" in value and not set(value) & set("'\"[],: "):
            said.append(f"data.{key}={value}")  # a pattern, which is quoted where words are read
        else:
            said.append(word(f"data.{key}", value))
    return said


def _inner(value: object) -> str:
    """A value of a mapping, as Hydra reads it there."""
    from mae_hydra.configuration.command_words import word

    return "null" if value is None else word("", value).removeprefix("=")


def _linking(way: Way) -> list[str]:
    root = Path(way.keys["root"])
    folders = dict.fromkeys(str((root / name).parent) for _, name in way.links)
    made = [_typed(["mkdir", "-p", *folders])] if folders else []
    return [*made, *(_typed(["ln", "-sfn", str(what), str(root / name)]) for what, name in way.links)]


def _tried(found: Found, advice: Advice) -> Advice:
    """The ways that start: each is composed, its data are built and their labels looked at, as by a run."""
    good, said = [], list(advice.said)
    idle: list[tuple[Way, str]] = []  # that read the files, of which nothing can be learned
    if not found.complete:
        return replace(advice, said=(*advice.said, "the command was not tried: there is more than was looked at"))
    for way in advice.ways:
        try:
            doubts = _start(found, way)
        except UserError as error:
            if "nothing can be learned" in str(error) or "ignores them all" in str(error):
                idle.append((way, f"as it lies there a run would not start: {error}"))
            elif not way.known:  # else another way is its own
                said.append(f"data={way.data} does not read it: {error}")
            continue
        good.append(way)
        if way is good[0]:
            said += doubts
    if not good and idle:
        good, said = [way for way, _ in idle], [*said, idle[0][1]]
    return Advice(tuple(good), tuple(dict.fromkeys(said)))


def _start(found: Found, way: Way) -> list[str]:
    """What a run says at its start; UserError where it ends there. Nothing is written beside the data."""
    from mae_hydra.configuration.check import check
    from mae_hydra.configuration.compose import compose_config
    from mae_hydra.configuration.construct import build
    from mae_hydra.data.audit.label_scan import check_labels
    from mae_hydra.data.loading.look_ahead import look_ahead

    links = way.links
    if way.data == "shards":  # whose index would be left beside them
        links = tuple((shard.absolute(), shard.name) for shard in _shards_at(found.root))
    with tempfile.TemporaryDirectory() as folder:
        keys = dict(way.keys)
        if links:
            one_shard = way.data == "shards" and not found.root.is_dir()
            keys["root"] = f"{folder}/{found.root.name}" if one_shard else folder
            for what, name in links:
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / name).symlink_to(what)
        try:
            config = compose_config([f"model={way.model}", f"data={way.data}", *way.words, *_words(keys)])
            check(config)
            data = build(config.data, "data")
            doubts = check_labels(data)
            if len(data.validation) <= MOST_HEADERS:
                look_ahead(data.validation, None, seconds=SECONDS)
            return doubts
        except UserError as error:
            raise UserError(str(error).replace(str(keys["root"]), str(way.keys["root"]))) from error


def _shards_at(place: Path) -> list[Path]:
    """The tars, and what tells of them."""
    if not place.is_dir():
        return [place]
    return [path for path in sorted(place.iterdir()) if path.suffix in (".tar", ".json")]


def _check_option_file(save: Path) -> None:
    """UserError where a `data=<name>` would not find it, or somebody else's file is there."""
    if save.suffix != ".yaml" or save.parent.name != "data":
        raise UserError(
            f"--save {save}: option files of data lie in a folder data/ and end in .yaml; "
            "give --save conf/local/data/<name>.yaml"
        )
    if os.path.lexists(save) and not (save.is_file() and save.read_text(errors="replace").startswith(HEAD)):
        raise UserError(f"{save} is there, and it was not mae-hydra check-data that wrote it; give another name")


def _saved(way: Way, save: Path) -> str:
    """The way with its data node in an option file."""
    from omegaconf import OmegaConf

    from mae_hydra import atomic

    keys = {**way.keys, "root": str(Path(way.keys["root"]).absolute())}
    content = OmegaConf.to_yaml(OmegaConf.create({"defaults": [way.data], **keys}))
    save.parent.mkdir(parents=True, exist_ok=True)
    with atomic.writing(save) as temporary:
        Path(temporary).write_text(f"{HEAD} {shlex.quote(keys['root'])}\n{content}", encoding="utf-8")
    words = ["--config-dir", str(save.parent.parent), f"model={way.model}", f"data={save.stem}", *way.words]
    return " && ".join([*_linking(way), _typed(["python", "train.py", *words])])


def _way_out(found: Found) -> str:
    if found.kind == "list":
        return f"no data option reads lists: mae-hydra check-data {shlex.quote(str(found.root.parent))}"
    if found.kind == "nothing":
        return (
            "there is nothing that can be trained on; give the folder of the pictures (.jpg .png .tif …), and unpack "
            "what is packed"
        )
    return "no data option of today reads this as it lies there"

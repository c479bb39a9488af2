"""What every group, option and key is for, read from the comments of the option files: for `--help` and the docs."""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mae_hydra.configuration.command_words import values
from mae_hydra.configuration.tree import config_dir

# In the order in which a person chooses; what is not here comes behind, by name.
GROUPS = {
    "model": "what is trained; chooses backbone, head, augmentation, optimizer and schedule",
    "data": "on which images",
    "backbone": "the encoder",
    "encoder": "what the model asks of its encoder",
    "head": "what stands on the encoder: a decoder, a segmentation head, a classifier",
    "loss": "of segmentation",
    "augment": "the augmentation of training images",
    "optimizer": "with its learning rate and layer decay",
    "schedule": "how long, and how the learning rate goes",
    "callbacks": "what is told the numbers of a run, and may end it or have it saved",
    "inference": "how whole images are predicted",
    "evaluation": "what is measured while training, and by `mae-hydra evaluate`",
    "engine": "device, precision, devices, batch",
    "checkpoint": "what is kept",
    "logger": "where metrics go besides plain files",
    "paths": "where data and outputs lie",
    "experiment": "recipes of papers and of the demo, added with a plus: +experiment=",
    "sweep": "values to sweep, with -m and a plus: -m +sweep=",
    "debug": "short trials, added with a plus: +debug=",
    "hydra/launcher": "how the jobs of a sweep are started",
    "hydra/sweeper": "which jobs a sweep has: a grid, where nothing is said",
}
KEY = re.compile(r"(?P<indent> *)(?P<name>\w+):(?: (?P<value>.*?))?(?:\s+# (?P<comment>.*))?")


@dataclass
class Key:
    """One key of an option: its whole name (`engine.device`), its default as it is written, and its comment."""

    name: str
    default: str
    comment: str


@dataclass
class Option:
    """One option file: its name, the lines of the comment at its head (commands are indented), and its keys."""

    name: str
    head: list[str] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)

    @property
    def shared(self) -> bool:
        """Whether it is no option to choose, but what the others of its group have in common."""
        return self.name.startswith("_")

    @property
    def summary(self) -> str:
        """The first sentence of the head, without the commands behind it."""
        words = itertools.takewhile(lambda line: not line.startswith(" "), self.head)
        text = re.split(r":? {2,}", " ".join(words))[0]
        sentence = re.match(r".*?[^A-Z. ][.](?= [A-Z]|$)", text)  # "v1.2" and "e.g." end no sentence
        return (sentence.group() if sentence else text).rstrip(".:; ")


def options(more: Sequence[Path] = ()) -> dict[str, list[Option]]:
    """All options by group, of this program's tree and of the folders `more` (`--config-dir`).

    Files whose name begins with `_` hold what other options share; they cannot be chosen.
    """
    found: dict[str, dict[str, Option]] = {}
    for place in [config_dir(), *more]:
        for file in sorted(place.glob("**/*.yaml")):
            group = file.parent.relative_to(place).as_posix()
            if group not in (".", "local"):
                found.setdefault(group, {})[file.stem] = read(file, group)
    order = [*GROUPS, *sorted(set(found) - set(GROUPS))]
    return {group: list(found[group].values()) for group in order if group in found}


def read(file: Path, group: str) -> Option:
    """The head and the keys of one option file, which stand below `group` unless the file says otherwise."""
    lines = file.read_text().splitlines()
    below = "" if "# @package _global_" in lines else group.replace("/", ".") + "."
    option = Option(file.stem)
    for line in lines:
        if line.startswith("# @package"):
            continue
        if not line.startswith("#"):
            break
        option.head.append(line.removeprefix("#").removeprefix(" ").rstrip())
    option.keys = [Key(f"{below}{key.name}", key.default, key.comment) for key in _keys(lines)]
    return option


def _keys(lines: Sequence[str]) -> Iterator[Key]:
    above: list[tuple[int, str]] = []
    for line in lines:
        match = KEY.fullmatch(line)
        if match is None:
            continue
        indent = len(match["indent"])
        above = [(depth, name) for depth, name in above if depth < indent]
        above.append((indent, match["name"]))
        names = [name for _, name in above]
        if names[0] != "defaults" and match["value"] and match["name"] not in ("_target_", "_partial_"):
            goes_on = re.fullmatch(r".*[\[{]|[|>][-+]?", match["value"])  # in the lines below
            yield Key(".".join(names), "…" if goes_on else match["value"], match["comment"] or "")


def general() -> list[Key]:
    """The keys of the primary configuration that belong to no group."""
    return [key for key in _keys((config_dir() / "config.yaml").read_text().splitlines()) if "." not in key.name]


def own_folders(words: Sequence[str]) -> list[Path]:
    """The folders of option files that a command line names with `--config-dir`."""
    return [folder for each in values(words, "--config-dir", "-cd") if (folder := Path(each)).is_dir()]


def overview(width: int, known: Mapping[str, Sequence[Option]]) -> str:
    """Every general key and every option of `known` with a line of text, for a terminal of `width` columns."""
    lines = ["keys, each with its default (key=value)"]
    lines += _aligned([(f"{key.name}={key.default}", key.comment) for key in general()], width)
    for group, there in known.items():
        lines += ["", _title(group), *_aligned([(each.name, each.summary) for each in there if not each.shared], width)]
    return "\n".join(lines)


def details(asked: str, known: Mapping[str, Sequence[Option]]) -> str:
    """The options of one group of `known`, or one of them (`group=option`), with all that their files say."""
    group, _, name = asked.partition("=")
    lines = [_title(group)]
    for option in known[group]:
        if name not in ("", option.name):
            continue
        title = f"shared by options of {group}" if option.shared else f"{group}={option.name}"
        lines += ["", title, *(f"  {line}" for line in option.head)]
        keys = [(f"{key.name}: {key.default}", f"# {key.comment}" if key.comment else "") for key in option.keys]
        lines += [f"  {line}" for line in _aligned(keys, width=1000)]
    return "\n".join(lines)


PAGE = """# Every option and key

Made from the comments of the option files by `python -m mae_hydra.configuration.reference > docs/options.md`.
`python train.py --help` and `python train.py --help <group>` print the same on the terminal. A group that another
option chooses (`model=` chooses `backbone`, `head`, …) may still be typed, and so may any key:
`engine.ema_decay=0.9999`.

## Keys of the run
"""


def page() -> str:
    """The reference of the documentation, `docs/options.md`."""
    lines = [PAGE, *_table("key | default", map(_row, general()))]
    for group, there in options().items():
        says = GROUPS.get(group, group)
        lines += [f"\n## {group}\n\n{says[0].upper()}{says[1:]}.\n"]
        lines += _table("option", (f"`{each.name}` | {_cell(each.summary)}" for each in there if not each.shared))
        explained = {(key.name, key.comment): key for option in there for key in option.keys if key.comment}
        lines += ["", *_table("key | default", map(_row, explained.values()))] if explained else []
    return "\n".join(lines) + "\n"


def _table(head: str, rows: Iterable[str]) -> list[str]:
    return [f"| {head} | |", f"|---|{'---|' * head.count('|')}---|", *(f"| {row} |" for row in rows)]


def _title(group: str) -> str:
    return f"{group}: {GROUPS[group]}" if group in GROUPS else group


def _aligned(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    column = min(max((len(name) for name, _ in rows), default=0), 34)
    lines = [f"  {name:{column}}  {text}".rstrip() for name, text in rows]
    most = max(width, column + 21)  # some of each text is seen on a narrow terminal, too
    return [line if len(line) <= most else f"{line[: most - 1].rstrip()}…" for line in lines]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _row(key: Key) -> str:
    return f"`{key.name}` | `{_cell(key.default)}` | {_cell(key.comment)}"


if __name__ == "__main__":
    print(page(), end="")

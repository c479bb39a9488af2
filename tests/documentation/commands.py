"""The commands that README, docs and the heads of option files tell people to type."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mae_hydra.configuration.command_words import split

ROOT = Path(__file__).parents[2]
LOG = "log.md"  # what was typed then, of a program that has changed since
FREE = ("init_from=placeholder", "resume=placeholder")
STARTS = re.compile(r"(?:\$ )?((?:python|torchrun|srun|mae-hydra)\b.*)")


@dataclass(frozen=True)
class Command:
    """One command: where it stands, and its words as a shell would split them."""

    where: str
    text: str

    @property
    def trains(self) -> bool:
        return "train.py" in self.text.split() or "mae-hydra train" in self.text

    @property
    def words(self) -> list[str]:
        """The words behind `train.py` or `mae-hydra`, placeholders filled with something that may stand there."""
        text = re.sub(r"(?<==)(…|<[^>]*>)(?=\s|$)", "placeholder", self.text)  # data.root=…
        text = re.sub(r"<[^>]*>", "placeholder", text).partition(" && ")[0]
        words = [word for word in shlex.split(text, comments=True) if word != "…"]
        starts = [place for place, word in enumerate(words) if word in ("train.py", "mae-hydra", "mae_hydra")]
        return words[starts[0] + 1 :]

    @property
    def overrides(self) -> list[str]:
        """What of the words a configuration is composed of: of a sweep its first job, without Hydra's own keys and
        without the options that the command leaves to the person (`model=…`)."""
        _, overrides = split(self.words)
        open_keys = [word.partition("=")[0] for word in overrides if word.endswith("=placeholder") and word not in FREE]
        groups = {key.lstrip("+") for key in open_keys if "." not in key}
        chosen = [word for word in overrides if re.split(r"[.=]", word.lstrip("+"))[0] not in {*groups, "hydra"}]
        chosen = [word for word in chosen if not word.startswith("hydra/")]
        return [_first(word) for word in chosen] if "-m" in self.words else chosen


def _first(word: str) -> str:
    key, _, value = word.partition("=")
    if searched := re.search(r"(?:interval|choice|range)\(\s*([^,)]+)", value):
        return f"{key}={searched[1]}"
    return word if value[:1] in ("[", "{", "'", '"') else f"{key}={value.split(',')[0]}"


def pages() -> list[Path]:
    docs = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != LOG]
    return [ROOT / "README.md", *docs, ROOT / "outputs" / "README.md"]


def commands() -> list[Command]:
    """Every command of every page and option file, once."""
    found: dict[str, Command] = {}
    for page in pages():
        for number, line in enumerate(_joined(page.read_text())):
            for text in _of_line(line):
                found.setdefault(text, Command(f"{page.relative_to(ROOT)}: {number}", text))
    for file in sorted((ROOT / "conf").rglob("*.yaml")):
        for line in _joined(file.read_text()):
            match = re.fullmatch(r"#.*?\s{2,}((?:python|torchrun|mae-hydra)\s.*)", line)
            if match:  # what follows it is set off by spaces
                text = re.split(r" {2,}", match[1])[0]
                found.setdefault(text, Command(str(file.relative_to(ROOT)), text))
    return list(found.values())


def _joined(text: str) -> list[str]:
    return re.sub(r"\s*\\\n#?\s*", " ", text).splitlines()


def _of_line(line: str) -> Iterator[str]:
    match = STARTS.fullmatch(line.strip())
    candidates = [match[1]] if match else re.findall(r"`((?:python train\.py|torchrun|mae-hydra) [^`]*)`", line)
    for text in candidates:
        if "train.py" in text or text.startswith("mae-hydra") or "-m mae_hydra" in text:
            yield re.sub(r"\s+#\s.*", "", text).strip()

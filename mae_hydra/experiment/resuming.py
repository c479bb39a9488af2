"""`resume=<run directory>` alone is enough: the run's own command line, found again in its directory.

What is read there comes from a file that anybody may have written. So only words for the configuration are taken from
it, none for Hydra itself (its callbacks, its logging, its launchers), and what they would build is judged before any of
it is imported: see `refuse_foreign`.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from mae_hydra.errors import UserError
from mae_hydra.experiment.compose import config_dir
from mae_hydra.experiment.from_file import check_addresses, check_overrides
from mae_hydra.experiment.mistakes import explain
from mae_hydra.experiment.trust import judge

NO_DIRECTORY = ("auto", "never")  # what `resume` may be besides a directory
HOW_TO_BEGIN = ("resume", "resume_data")  # of one start, not of the run
PATHS = ("init_from", "data.root", "data.validation", "data.classes", "data.cache", "paths.data_root")
ACTING = ("callbacks", "job_logging", "hydra_logging", "job.env_set", "job.chdir")  # what Hydra obeys by itself
LARGEST = 1 << 20  # bytes of a file of overrides

source: Path | None = None  # the directory whose words the command line of this process holds
typed: tuple[str, ...] = ()  # the words that the person gave


def expanded(words: Sequence[str]) -> list[str]:
    """A command line with the words of the run that it resumes before its own, which win; itself where it resumes none.

    UserError where what the run recorded cannot be read, or is none of a single run.
    """
    global source, typed
    source, typed = None, tuple(words)
    run_dir = directory_of(words)
    if run_dir is None or {"-m", "--multirun"} & set(words):
        return list(words)
    source = run_dir
    file = run_dir / "overrides.yaml"
    recorded = [each for each in _recorded(file) if _key(each) not in HOW_TO_BEGIN]
    own = {_key(each) for each in words if not each.startswith("-")}
    anew = {_key(each) for each in words if each not in recorded}
    kept = [each for each in recorded if _key(each) not in own and not _lies_in(_key(each), anew)]
    check_overrides(kept, str(file))
    kept = [_found_again(each, file) for each in kept]
    own_place = any(each.startswith(("--config-dir", "-cd", "hydra.searchpath")) for each in words)
    added = [] if own_place else _own_option_files(run_dir)
    if added:
        _refuse_acting(added, [*kept, *words], run_dir)
    return [*added, *kept, *words]


def directory_of(words: Sequence[str]) -> Path | None:
    """The run directory that a command line resumes."""
    for each in reversed(words):
        if _key(each) == "resume":
            try:
                value = OverridesParser.create().parse_override(each).value()
            except HydraException:  # Hydra says so itself
                return None
            is_directory = isinstance(value, str) and value not in NO_DIRECTORY and Path(value).is_dir()
            return Path(str(value)) if is_directory else None
    return None


def lasting(words: Sequence[str]) -> list[str]:
    """The words that a run records: without those that hold for one start only."""
    return [each for each in words if _key(each) not in HOW_TO_BEGIN]


def word(key: str, value: str | Path) -> str:
    """`key=value` as Hydra reads it, whatever characters the value has."""
    text = str(value)
    if re.fullmatch(r"[\w/.+-]+", text, re.ASCII):
        return f"{key}={text}"
    escaped = re.sub(r"(\\+)($|')", r"\1\1\2", text).replace("'", r"\'")
    return f"{key}='{escaped}'"


def to_go_on(run_dir: Path) -> str:
    """The command that goes on with a run, as a shell reads it."""
    return f"python train.py {shlex.quote(word('resume', run_dir))}"


def refuse_foreign(config: Any, source: Path, typed: Sequence[str]) -> None:
    """UserError where a configuration that `source` has a part in would build what is not built from a file, or reads
    data from an address.

    What the person has `typed` is left to the usual check.
    """
    for key, target in _targets(OmegaConf.to_container(config, resolve=True), ""):
        if not (isinstance(target, str) and any(target in each for each in typed)):
            try:
                judge(target, key, "file")
            except UserError as error:
                raise UserError(f"{source}: {error}") from error
    check_addresses(config, typed, str(source))


def _targets(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, list):
        for position, child in enumerate(node):
            yield from _targets(child, f"{key}[{position}]")
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield key, node["_target_"]
        for name, child in node.items():
            yield from _targets(child, f"{key}.{name}" if key else str(name))


def _recorded(file: Path) -> list[str]:
    """The words for the configuration that a run was started with."""
    if not file.is_file():
        return []
    way_out = f"remove it, and type the run's whole command line with resume={file.parent}"
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError("it is too large")
        words = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{file} does not hold a run's overrides ({reason}); {way_out}") from error
    if not isinstance(words, list) or not all(isinstance(each, str) for each in words):
        raise UserError(f"{file} does not hold a run's overrides, which are a list of words; {way_out}")
    return [each for each in words if re.split(r"[./=@:]", each.lstrip("+~"))[0] != "hydra"]


def _parsed(word: str, file: Path) -> Override:
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise UserError(f"{file} holds {word[:80]!r}, which is no override: {explain(error, [])}") from error
    if not override.key_or_group or override.is_sweep_override():
        raise UserError(f"{file} holds {word[:80]!r}, which is no word of a single run: one value for one key")
    return override


def _key(word: str) -> str:
    """`++model.mask_ratio=0.5` -> model.mask_ratio; `optimizer@optimizer=lars` -> optimizer."""
    return re.split(r"[=@:]", word.lstrip("+~"))[0].replace("/", ".").strip()


def _lies_in(key: str, groups: set[str]) -> bool:
    names = key.split(".")
    return any(".".join(names[:length]) in groups for length in range(1, len(names)))


def _found_again(recorded: str, file: Path) -> str:
    """A recorded path that is not there from here: where it was seen from, or where it has moved with the run."""
    value = _parsed(recorded, file).value()
    if _key(recorded) not in PATHS or not isinstance(value, str) or "://" in value or "{" in value:
        return recorded
    if Path(value).expanduser().exists():
        return recorded
    cwd = str(_content(file.parent / "environment.json").get("folder", ""))
    candidates = [Path(cwd, value)]
    paths = _content(file.parent / "config.yaml").get("paths")
    before = paths.get("run_dir") if isinstance(paths, Mapping) else None
    if isinstance(before, str):
        candidates.append(moved(candidates[0], Path(cwd, before), file.parent.absolute()))
    there = [each for each in candidates if each.is_absolute() and each.exists()]
    return word(recorded.partition("=")[0], there[0]) if there else recorded


def moved(path: Path, before: Path, after: Path) -> Path:
    """Where `path` lies now, if all that has moved is what `before` and `after`, the names of one folder, do not share
    at their end: outputs/ or a run below it, say."""
    old, new = list(before.parts), list(after.parts)
    while old and new and old[-1] == new[-1]:
        old.pop()
        new.pop()
    if not old or not path.is_relative_to(Path(*old)):
        return path
    return Path(*new) / path.relative_to(Path(*old))


def _own_option_files(run_dir: Path) -> list[str]:
    """What makes Hydra look where the run found option files of its own: a search path, and the primary's name.

    UserError where they are gone, or would have Hydra itself do something: they are a file's words too.
    """
    told = _content(run_dir / "environment.json")
    command = told.get("command")
    words = [str(each) for each in command] if isinstance(command, list) else []
    folders = told.get("config_folders", _values(words, "--config-dir", "-cd"))
    folders = [str(Path(str(told.get("folder", "")), str(each))) for each in folders]
    gone = [folder for folder in folders if not Path(folder).is_dir()]
    if gone:
        raise UserError(f"the run was started with option files in {gone[0]}, which is not there; add --config-dir")
    names = [str(name) for name in [told.get("config_name"), *_values(words, "--config-name", "-cn")] if name]
    search = [f"hydra.searchpath=[{','.join(repr(f'file://{folder}') for folder in folders)}]"] if folders else []
    return [*search, *(["--config-name", names[0]] if names and names[0] != "config" else [])]


def _values(words: Sequence[str], *flags: str) -> list[str]:
    """What a command line gives `--flag value` or `--flag=value`."""
    found: list[str] = []
    for position, each in enumerate(words):
        flag, equals, value = each.partition("=")
        if flag in flags:
            found += [value] if equals else words[position + 1 : position + 2]
    return found


def _refuse_acting(added: Sequence[str], words: Sequence[str], run_dir: Path) -> None:
    """UserError where option files that a run recorded would have Hydra itself do something."""
    name = added[added.index("--config-name") + 1] if "--config-name" in added else "config"
    search = [each for each in added if each.startswith("hydra.searchpath")]
    theirs = _hydra_node(name, [*search, *(each for each in words if "=" in each and _key(each) != "resume")])
    plain = _hydra_node("config", [])
    for key in ACTING:
        if OmegaConf.select(plain, key) != OmegaConf.select(theirs, key):
            raise UserError(
                f"the option files that {run_dir} was started with set hydra.{key}; that is not taken from a file: "
                "name their folder yourself if they are yours (--config-dir)"
            )


def _hydra_node(name: str, words: Sequence[str]) -> Any:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3", job_name="train"):
            return compose(name, overrides=list(words), return_hydra_config=True).hydra
    except Exception as error:
        raise UserError(explain(error, words)) from error
    finally:
        GlobalHydra.instance().clear()


def _content(file: Path) -> dict[str, Any]:
    """A small file of the run, JSON or YAML; empty where there is none that can be read."""
    try:
        read = json.loads if file.suffix == ".json" else yaml.safe_load
        found = read(file.read_text()) if file.is_file() else {}
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

"""`resume=<run directory>` alone is enough: the run's own command line, found again in its directory.

What is read there comes from a file that anybody may have written. So only words for the configuration are taken from
it, none for Hydra itself (its callbacks, its logging, its launchers), and what they would build is judged before any of
it is imported: see `refuse_foreign`.
"""

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from mae_hydra.configuration.command_words import key_of, named_targets, parsed, split, values, word
from mae_hydra.configuration.construct import targets
from mae_hydra.configuration.from_file import MOST_BYTES, check_addresses, check_overrides
from mae_hydra.configuration.hydra_errors import explain
from mae_hydra.configuration.own_options import NAME_FLAGS
from mae_hydra.configuration.trust import judge
from mae_hydra.errors import UserError
from mae_hydra.recorded.options import names_places, own_option_files, refuse_acting

NO_DIRECTORY = ("auto", "never")  # what `resume` may be besides a directory
OF_A_RUN = ("status.json", "overrides.yaml", "checkpoints")  # at least one of them is in the directory of a run
HOW_TO_BEGIN = ("resume", "resume_data")  # of one start, not of the run
PATHS = ("init_from", "data.root", "data.validation", "data.classes", "data.cache", "paths.data_root")
FOLLOWING = "_MAE_HYDRA_FOLLOWING"  # environment of what follows a run: whose words it gets, and which were typed

source: Path | None = None  # the directory whose words the command line of this process holds
typed: tuple[str, ...] = ()  # the words that the person gave
own: tuple[str, ...] | None = None  # the command line without them; None where no directory is resumed


def expanded(words: Sequence[str]) -> list[str]:
    """A command line with the words of the run that it resumes before its own, which win; itself where it resumes none.

    UserError where what the run recorded cannot be read, or is none of a single run.
    """
    global source, typed, own
    source, typed, own = None, tuple(words), None
    mark = os.environ.pop(FOLLOWING, None)
    if mark is not None:
        _take_over(json.loads(mark), words)
    options, overrides = split(words)
    run_dir = directory_of(overrides)
    if run_dir is None or {"-m", "--multirun"} & set(options):
        return list(words)
    _refuse_what_is_no_run(run_dir)
    source = run_dir
    file = run_dir / "overrides.yaml"
    recorded = [word for word in _recorded(file) if key_of(word) not in HOW_TO_BEGIN]
    mine = {key_of(word) for word in overrides}
    anew = {key_of(word) for word in overrides if word not in recorded}
    kept = [word for word in recorded if key_of(word) not in mine and not _lies_in(key_of(word), anew)]
    check_overrides(kept, str(file))
    environment = _content(run_dir / "environment.json")
    own_place, own_name = names_places(words), bool(values(options, *NAME_FLAGS))
    added = own_option_files(environment, run_dir, with_places=not own_place, with_name=not own_name)
    flags, search = split(added)
    moved = {word: _found_again(word, file) for word in kept}
    whole = [*flags, *options, *search, *moved.values(), *overrides]
    if added and not own_place:
        refuse_acting(whole, overrides, run_dir)
    own = (*flags, *options, *search, *(moved.get(word, word) for word in recorded if word in moved or _taken(word)))
    return whole


def _refuse_what_is_no_run(folder: Path) -> None:
    """UserError where no run has been in a folder, before Hydra and the run write anything into it."""
    if any((folder / name).exists() for name in OF_A_RUN):
        return
    if (folder / "multirun.yaml").is_file():  # Hydra's, of a sweep
        again = f"python train.py -m … {shlex.quote(word('hydra.sweep.dir', folder))}"
        raise UserError(
            f"resume={folder} is a sweep: its command goes on with it ({again}); or resume one of its jobs, "
            f"resume={folder}/<job>"
        )
    runs = sorted(status.parent for status in folder.glob("*/status.json"))
    if runs:
        raise UserError(f"resume={folder} holds runs and is none; resume one of them, resume={runs[-1]}, say")
    raise UserError(
        f"resume={folder}: no checkpoints/last.pt there; give the directory of an interrupted run, "
        "or init_from= to start a new run from a checkpoint file"
    )


def _taken(word: str) -> bool:
    try:
        check_overrides([word], "")
    except UserError:
        return False
    return True


def _take_over(mark: dict[str, Any], words: Sequence[str]) -> None:
    """Be what follows a run whose words for this one came from a file: they are judged as the run's own were."""
    global source, typed
    source, typed = Path(mark["source"]), tuple(mark["typed"])
    if names_places(words) and not names_places(typed):
        refuse_acting(words, typed, source)


def handed_on(stage_words: Sequence[str]) -> dict[str, str]:
    """The environment that makes what follows a run judge the words that it gets, where they come from a file."""
    if source is None:
        return {}
    said = [word for word in typed if word in stage_words or names_places([word])]
    return {FOLLOWING: json.dumps({"source": str(source.absolute()), "typed": said})}


def typed_for(key: str) -> bool:
    """Whether a person typed something at a key or below it."""
    return any(key_of(word) == key or key_of(word).startswith(f"{key}.") for word in split(typed)[1])


def directory_of(words: Sequence[str]) -> Path | None:
    """The run directory that a command line resumes."""
    for override in reversed(split(words)[1]):
        if key_of(override) == "resume":
            try:
                value = OverridesParser.create().parse_override(override).value()
            except HydraException:  # Hydra says so itself
                return None
            is_directory = isinstance(value, str) and value not in NO_DIRECTORY and Path(value).is_dir()
            return Path(str(value)) if is_directory else None
    return None


def lasting(words: Sequence[str]) -> list[str]:
    """The words that a run records: without those that hold for one start only."""
    return [word for word in words if key_of(word) not in HOW_TO_BEGIN]


def to_go_on(run_dir: Path) -> str:
    """The command that goes on with a run, as a shell reads it."""
    return f"python train.py {shlex.quote(word('resume', run_dir))}"


def refuse_foreign(config: Any, source: Path, typed: Sequence[str]) -> None:
    """UserError where a configuration that `source` has a part in would build what is not built from a file, or reads
    data from an address.

    What the person has `typed` is left to the usual check.
    """
    named = named_targets(parsed(typed))
    for key, target in targets(OmegaConf.to_container(config, resolve=True), ""):
        if not (isinstance(target, str) and target in named):
            try:
                judge(target, key, "file")
            except UserError as error:
                raise UserError(f"{source}: {error}") from error
    check_addresses(config, typed, str(source))


def refuse_recorded_address(config: Any, source: Path) -> None:
    """UserError where a run would begin from weights at an address that `source` tells and nobody has typed now; what
    is in the cache opens no connection."""
    from mae_hydra.weights.named import fetch, is_address  # imports torch

    if is_address(config.init_from) and not typed_for("init_from"):
        try:
            fetch(config.init_from, download=False)
        except UserError as error:
            raise UserError(f"{source}: {error}") from error


def _recorded(file: Path) -> list[str]:
    """The words for the configuration that a run was started with."""
    if not file.is_file():
        return []
    way_out = f"remove it, and type the run's whole command line with resume={file.parent}"
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")
        words = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{file} does not hold a run's overrides ({reason}); {way_out}") from error
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UserError(f"{file} does not hold a run's overrides, which are a list of words; {way_out}")
    return [word for word in words if re.split(r"[./=@:]", word.lstrip("+~"))[0] != "hydra"]


def _parsed(word: str, file: Path) -> Override:
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise UserError(f"{file} holds {word[:80]!r}, which is no override: {explain(error, [])}") from error
    if not override.key_or_group or override.is_sweep_override():
        raise UserError(f"{file} holds {word[:80]!r}, which is no word of a single run: one value for one key")
    return override


def _lies_in(key: str, groups: set[str]) -> bool:
    names = key.split(".")
    return any(".".join(names[:length]) in groups for length in range(1, len(names)))


def _found_again(recorded: str, file: Path) -> str:
    """A recorded path as it is named from here: where it has moved with the run, or where the run saw it."""
    value = _parsed(recorded, file).value()
    if key_of(recorded) not in PATHS or not isinstance(value, str) or "://" in value or "{" in value:
        return recorded
    cwd, path = str(_content(file.parent / "environment.json").get("folder", "")), Path(value).expanduser()
    if path.exists() and (path.is_absolute() or cwd in ("", os.getcwd())):
        return recorded
    candidates = [Path(cwd, path)]  # a file of that name that lies here is another one, as long as the first is there
    paths = _content(file.parent / "config.yaml").get("paths")
    before = paths.get("run_dir") if isinstance(paths, Mapping) else None
    if isinstance(before, str):  # what was copied with the run belongs to the copy
        candidates.insert(0, moved(candidates[0], Path(cwd, before), file.parent.absolute()))
    there = [place for place in candidates if place.is_absolute() and place.exists()]
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


def _content(file: Path) -> dict[str, Any]:
    """A small file of the run, JSON or YAML; empty where there is none that can be read."""
    try:
        read = json.loads if file.suffix == ".json" else yaml.safe_load
        content = read(file.read_text()) if file.is_file() else {}
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}

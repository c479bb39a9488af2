"""Option files of one's own that a run was started with: found again by what it recorded, and judged as a file's.

Hydra obeys what option files say of itself before any check of ours, and OmegaConf calls the functions that they name.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import OmegaConf

from mae_hydra.configuration import hydras_own
from mae_hydra.configuration.command_words import key_of, parsed, searching, split, texts, typed_texts, values
from mae_hydra.configuration.from_file import calls, of_hydra
from mae_hydra.configuration.hydra_errors import explain
from mae_hydra.configuration.option_files import texts_of_all
from mae_hydra.configuration.own_options import NAME_FLAGS, looking_where
from mae_hydra.configuration.whole_nodes import addable, take_whole_nodes
from mae_hydra.errors import UserError, short

Tree = dict[str, Any]
PLACE_FLAGS = ("--config-dir", "-cd", "--config-path", "-cp")
# Of Hydra's node: what only tells of the composition, and what holds for sweeps alone.
TELLING = ("runtime", "overrides", "searchpath", "sweep", "sweeper", "launcher", "help", "hydra_help")
TELLING_OF_A_JOB = ("name", "config_name", "override_dirname", "id", "num")


def names_places(words: Sequence[str]) -> bool:
    """Whether a person says where option files are."""
    return any(word.partition("=")[0] in (*PLACE_FLAGS, "hydra.searchpath") for word in words)


def own_option_files(record: Tree, run_dir: Path, *, with_places: bool, with_name: bool) -> list[str]:
    """What makes Hydra look where the run found option files of its own, by what its environment.json has `told`.

    The options of the program come first. `with_places`, `with_name`: of the primary configuration; what a person says
    is left out. UserError where a folder is gone.
    """
    command = record.get("command")
    words = [str(item) for item in command] if isinstance(command, list) else []
    names = [str(item) for item in (record.get("config_name"), *values(words, *NAME_FLAGS)) if item]
    name = names[0] if names and names[0] != "config" else None
    folders = record.get("config_folders", values(words, *PLACE_FLAGS)) if with_places else []
    places = [Path(str(record.get("folder", "")), str(item)) for item in folders] if isinstance(folders, list) else []
    for folder in places:
        if not folder.is_dir():
            raise UserError(
                f"{run_dir} was started with option files in {folder}, which is not there; say where they are now with "
                "--config-dir"
            )
    primary = [item for item in places if name and (item / f"{name}.yaml").is_file()]
    first = next(iter([*primary, *places]), None)
    flag = "--config-path" if values(words, "--config-path", "-cp") else "--config-dir"
    options = [*((flag, str(first)) if first else ()), *(("--config-name", name) if name and with_name else ())]
    return [*options, *searching([f"file://{item}" for item in places if item != first])]


def refuse_acting(words: Sequence[str], typed: Sequence[str], source: Path) -> None:
    """UserError where option files that `words` find would have Hydra itself do something, or call a function.

    `typed`: those of the words that a person says.
    """
    plain = composed([word for word in split(words)[1] if of_hydra(word)], with_hydra=True)
    called: list[str] = []
    changed: str | None
    try:
        theirs = composed(words, with_hydra=True)
    except hydras_own.WouldImport as error:
        changed = error.key
    else:
        changed = _differing(_acting(theirs.pop("hydra")), _acting(plain.pop("hydra")), "hydra")
        said = typed_texts(parsed(typed)) | texts_of_all()
        called = [text for text in texts(theirs) if calls(text) and text not in said]
    if changed or called:
        what = f"set {changed}" if changed else f"hold {short(called[0])}"
        raise UserError(
            f"the option files that {source} was started with {what}; that is not taken from a file: "
            "name their folder yourself if they are yours (--config-dir)"
        )


def composed(words: Sequence[str], *, with_hydra: bool = False) -> Tree:
    """What a command line composes, with its interpolations; `with_hydra`: Hydra's own node too."""
    hydras_own.guard()
    options, overrides = split(words)
    kept = [word for word in addable(overrides) if key_of(word) != "resume"]
    try:
        with looking_where(options) as name:
            config = compose(name, overrides=kept, return_hydra_config=with_hydra)
    except UserError:
        raise
    except Exception as error:
        raise UserError(explain(error, words)) from error
    take_whole_nodes(config, kept)
    tree: Any = OmegaConf.to_container(config, resolve=False)
    return tree


def _acting(node: Tree) -> Tree:
    """Take from Hydra's own node all by which it does something in a single run."""
    job = {name: value for name, value in node.get("job", {}).items() if name not in TELLING_OF_A_JOB}
    return {name: value for name, value in node.items() if name not in TELLING} | {"job": job}


def _differing(one: Any, other: Any, key: str) -> str | None:
    """The first key in which two trees differ."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return None if one == other else key
    keys = (_differing(one.get(name), other.get(name), f"{key}.{name}") for name in [*one, *(other.keys() - one)])
    return next((first for first in keys if first is not None), None)

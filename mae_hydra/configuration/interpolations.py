"""A recorded configuration as OmegaConf has it, with nothing to resolve but what today's option files put in it."""

from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mae_hydra.configuration.option_files import Tree, stated

NOTHING = object()


def resolved(config: DictConfig) -> Tree:
    """Turn a configuration into plain values, with every interpolation resolved."""
    tree = OmegaConf.to_container(config, resolve=True)
    assert isinstance(tree, dict)
    return {str(name): value for name, value in tree.items()}


def restore(config: DictConfig, *, with_paths: bool) -> None:
    """Put back the interpolations of today's option files wherever they give what was recorded.

    What is typed then reaches all that follows it. `with_paths`: also those that name a folder of this machine.
    """
    was, plain = config.copy(), resolved(config)
    if plain.get("model") and plain["model"] == plain.get("backbone"):
        config["model"] = "${backbone}"  # an encoder alone
        del plain["model"]
    for place, text, value in _candidates(plain, ""):
        if "${paths." in text and not with_paths:
            continue
        if not _follows(config, place) and value_of(was, text) == value:
            OmegaConf.update(config, place, text, merge=False)


def _candidates(node: Tree, key: str) -> Any:
    """(key, interpolation, recorded value) below `node`, an owner before its parts."""
    arguments = stated(str(node["_target_"])) if "_target_" in node else {}
    for name, value in node.items():
        place = f"{key}.{name}" if key else str(name)
        yield from ((place, text, value) for text in arguments.get(name, ()) if isinstance(text, str) and "${" in text)
        if isinstance(value, dict):
            yield from _candidates(value, place)


def _follows(config: DictConfig, place: str) -> bool:
    """Whether the key, or what it lies in, is an interpolation already."""
    node: Any = config
    for name in place.split("."):
        if OmegaConf.is_interpolation(node, name):
            return True
        node = node[name]
    return False


def value_of(config: DictConfig, value: Any) -> Any:
    """What a value of an option file, perhaps an interpolation, gives in `config`; NOTHING where it cannot."""
    try:
        probe = OmegaConf.create({"probe": value}, parent=config)
        node: Any = probe["probe"]
        return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    except OmegaConfBaseException:
        return NOTHING

"""Hydra's composition errors, said in one sentence with the way out."""

import difflib
import re
from collections.abc import Sequence


def explain(error: BaseException, overrides: Sequence[str], known: Sequence[str] | None = None) -> str:
    """One sentence for what Hydra or OmegaConf refused; names the key or option that was probably meant.

    `known`: the keys that there are (default: those of what `overrides` compose without the slip).
    """
    text = str(error)
    missing_key = re.search(r"Could not override '([^']+)'\.\s*To append to your config", text)
    if missing_key:
        return unknown_key(missing_key[1], overrides, known)
    option = re.search(r"Could not find '([^']+)/([^'/]+)'\s*Available options in '[^']+':\s*(.+)", text, re.DOTALL)
    if option:
        return unknown_option(option[1], option[2], re.findall(r"[\w.-]+", option[3].split("Config search path")[0]))
    if "No match in the defaults list" in text:
        group = re.search(r"Could not override '([^']+)'", text)
        name = group[1] if group else "the group"
        return f"{name} is not in the defaults; add it with a plus: +{name}=<option>"
    if "missing EQUAL" in text:
        return "every override is key=value or group=option; " + text.splitlines()[0].replace(
            "Error parsing", "cannot read"
        )
    if "Ambiguous value" in text:
        return (
            f"{text.splitlines()[0].lower()} is a sweep or a list: add -m for the one, write 'key=[a,b]' for the other"
        )
    if "no viable alternative" in text or "mismatched input" in text or "token recognition" in text:
        return (
            f"an override cannot be read ({text.splitlines()[0]}); quote values with special characters: 'key=\"a=b\"'"
        )
    missing = re.search(r"full_key: (\S+)", text)
    if missing and "Missing" in text:
        return "a value is missing: the configuration has ??? where one is needed (name= or task=, if you removed them)"
    return " ".join(line.strip() for line in text.split("See https://")[0].splitlines() if line.strip())


def unknown_key(key: str, overrides: Sequence[str], known: Sequence[str] | None = None) -> str:
    """`model.mask_ration` -> the closest key that exists in the same composition."""
    sentence = f"unknown key '{key}'"
    if key == "data.root":
        return f"{sentence}: data=scenes is rendered and reads no files; add data=folder, data=imagenet or data=ade20k"
    known = _known_keys(key, overrides) if known is None else known
    same_end = [other for other in known if other.endswith(f".{key.rsplit('.', 1)[-1]}")]
    close = same_end or difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    if close:
        return f"{sentence}; did you mean '{close[0]}'?"
    return f"{sentence}; this model and this data have none like it (`python train.py … --cfg job` shows all there are)"


def unknown_option(group: str, option: str, available: Sequence[str]) -> str:
    close = difflib.get_close_matches(option, available, n=1, cutoff=0.5)
    hint = f"did you mean {group}={close[0]}? " if close else ""
    return f"{group}={option} does not exist; {hint}Options of {group}: {', '.join(available)}"


def _known_keys(wrong: str, overrides: Sequence[str]) -> list[str]:
    """All keys of the composition without the override that was refused; empty where even that does not compose."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import DictConfig, OmegaConf

    from mae_hydra.experiment.compose import config_dir

    kept = [o for o in overrides if o.lstrip("+~").split("=")[0] != wrong and not o.startswith(("hydra.", "-"))]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            config = compose("config", overrides=kept)
    except Exception:  # a second mistake; the first is already told
        return []

    def walk(node: DictConfig, prefix: str) -> list[str]:
        keys = []
        for name in map(str, node):
            keys.append(f"{prefix}{name}")
            if not OmegaConf.is_interpolation(node, name) and OmegaConf.is_dict(node._get_node(name)):
                keys += walk(node[name], f"{prefix}{name}.")
        return keys

    return walk(config, "")

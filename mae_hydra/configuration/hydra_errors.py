"""Hydra's composition errors, said in one sentence with the way out."""

import re
from collections.abc import Mapping, Sequence

from mae_hydra.configuration.suggest import closest, known_keys, meant_by
from mae_hydra.configuration.tree import config_dir


def explain(error: BaseException, overrides: Sequence[str], known: Mapping[str, str | None] | None = None) -> str:
    """One sentence for what Hydra or OmegaConf refused; names the key or option that was probably meant.

    `known`: the keys that there are, as of `known_keys` (default: those of what `overrides` compose without the slip).
    """
    text = str(error)
    missing_key = re.search(r"Could not override '([^']+)'\.\s*To append to your config", text)
    if missing_key:
        return unknown_key(missing_key[1], overrides, known)
    there = re.search(r"Could not append to config\. An item is already at '([^']+)'", text)
    if there:
        return f"{there[1]} is there already; leave out the plus: {there[1]}=…"
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
    ambiguous = re.search(r"Ambiguous value for argument '([^=']+)=([^']*)'", text)
    if ambiguous:
        key, values = ambiguous.groups()
        return f"{key}={values}: to sweep over the values add -m; for a list write '{key}=[{values}]'"
    if "no viable alternative" in text or "mismatched input" in text or "token recognition" in text:
        return (
            f"an override cannot be read ({text.splitlines()[0]}); quote values with special characters: 'key=\"a=b\"'"
        )
    missing = re.search(r"full_key: (\S+)", text)
    if missing and "Missing" in text:
        return "a value is missing: the configuration has ??? where one is needed (name= or task=, if you removed them)"
    return " ".join(line.strip() for line in text.split("See https://")[0].splitlines() if line.strip())


def unknown_key(key: str, overrides: Sequence[str], known: Mapping[str, str | None] | None = None) -> str:
    """`model.mask_ration` -> what exists in the same composition and was probably meant."""
    sentence = f"unknown key '{key}'"
    known = _known_keys(key, overrides) if known is None else known
    if key.rpartition(".")[2] == "root" and known and "data.root" not in known:
        return f"{sentence}: data=scenes is rendered and reads no files; add data=folder, data=imagenet or data=ade20k"
    if any(each == key or each.startswith(f"{key}.") for each in known):  # a mapping that gets an entry
        return f"{key} has no such entry; add one with a plus: +{key}={{…}}"
    meant = meant_by(key, known)
    if meant is not None:
        return f"{sentence}; {meant}"
    return f"{sentence}; this model and this data have none like it (`python train.py … --cfg job` shows all there are)"


def unknown_option(group: str, option: str, available: Sequence[str]) -> str:
    """Say that a group has no such option, and which one may be meant."""
    sentence = f"{group}={option} does not exist"
    close = closest(option, available)
    if close is not None:
        return f"{sentence}; did you mean {group}={close}? (`python train.py --help` lists all)"
    return f"{sentence}; options: {', '.join(available)}"


def _known_keys(wrong: str, overrides: Sequence[str]) -> dict[str, str | None]:
    """All keys of the composition without the override that was refused; empty where even that does not compose."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    kept = [o for o in overrides if o.lstrip("+~").split("=")[0] != wrong and not o.startswith(("hydra.", "-"))]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            return known_keys(compose("config", overrides=kept))
    except Exception:  # a second mistake; the first is already told
        return {}

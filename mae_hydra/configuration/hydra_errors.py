"""Hydra's composition errors, said in one sentence with the way out."""

import re
from collections.abc import Mapping, Sequence

from hydra import compose

from mae_hydra.configuration.command_words import key_of, parsed, split
from mae_hydra.configuration.from_file import of_hydra
from mae_hydra.configuration.own_options import looking_where
from mae_hydra.configuration.suggest import closest, known_keys, meant_by
from mae_hydra.configuration.whole_nodes import addable

SEARCH = "hydra.searchpath"


def explain(error: BaseException, words: Sequence[str], known: Mapping[str, str | None] | None = None) -> str:
    """One sentence for what Hydra or OmegaConf refused; names the key or option that was probably meant.

    `known`: the keys that there are, as of `known_keys` (default: those of what the command line `words` composes
    without the slip).
    """
    text = str(error)
    missing_key = re.search(r"Could not override '([^']+)'\.\s*To append to your config", text)
    if missing_key:
        return unknown_key(missing_key[1], words, known)
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
        apart = re.search(r"(\S+?)(?: = |= | =)([^\s=]+)(?= |$)", " ".join(words))
        if apart:
            return f"no spaces stand around =; type {apart[1]}={apart[2]}"
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


def unknown_key(key: str, words: Sequence[str], known: Mapping[str, str | None] | None = None) -> str:
    """`model.mask_ration` -> what exists in the same composition and was probably meant."""
    sentence = f"unknown key '{key}'"
    known = _known_keys(key, words) if known is None else known
    if key.rpartition(".")[2] == "root" and known and "data.root" not in known:
        return f"{sentence}: data=scenes is rendered and reads no files; add data=folder, data=imagenet or data=ade20k"
    if any(name == key or name.startswith(f"{key}.") for name in known):  # a mapping that gets an entry
        return f"{key} has no such entry; add one with a plus: +{key}={{…}}"
    meant = meant_by(key, known)
    if meant is not None:
        return f"{sentence}; {meant}"
    if not known:  # a second mistake kept them from being looked up
        return f"{sentence}; `python train.py … --cfg job` shows all there are"
    return f"{sentence}; this model and this data have none like it (`python train.py … --cfg job` shows all there are)"


def unknown_option(group: str, option: str, available: Sequence[str]) -> str:
    """Say that a group has no such option, and which one may be meant."""
    sentence = f"{group}={option} does not exist"
    close = closest(option, available)
    if close is not None:
        return f"{sentence}; did you mean {group}={close}? (`python train.py --help` lists all)"
    return f"{sentence}; options: {', '.join(available)}"


def _known_keys(wrong: str, words: Sequence[str]) -> dict[str, str | None]:
    """All keys of what a command line composes without the override that was refused; none where even that fails."""
    options, overrides = split(words)
    kept = [
        word
        for word in addable(overrides)
        if key_of(word) not in (wrong, "resume") and (key_of(word) == SEARCH or not of_hydra(word)) and not _swept(word)
    ]
    try:
        with looking_where(options) as name:
            return known_keys(compose(name, overrides=kept))
    except Exception:  # a second mistake; the first is already told
        return {}


def _swept(word: str) -> bool:
    return any(override.is_sweep_override() for override in parsed([word]))

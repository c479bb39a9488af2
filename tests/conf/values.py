"""What every experiment, model and option of `conf/` comes to, as text to compare and to read.

One block for each key of a whole configuration: the value that most experiments and models have, then each other value
with those that have it. Below it one block for each further option: the values of its own group. Then files as they
stand, and who takes its value from where.
"""

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from mae_hydra.configuration import option_files
from mae_hydra.configuration.check import GROUPS
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.key_meaning import flatten
from mae_hydra.configuration.tree import config_dir

GOLDEN = Path(__file__).with_name("values.txt")
OTHER_GROUPS = [group for group in GROUPS if group not in ("model", "paths")]
# What differs between machines, or only names the run; where it comes from is in the last block.
LEFT_OUT = ("paths.", "logger.wandb.name", "name", "data.root")
# Options that belong to other models than the newcomer's, with which all others are tried.
COMPANY = {
    **dict.fromkeys(
        ["head=upernet", "augment=segment", "evaluation=segment", "optimizer=adamw_layer_decay", "schedule=poly_short",
         "schedule=poly_160k", "inference=whole", "inference=slide", "inference=multiscale_flip"],
        "upernet_vitt",
    ),
    **dict.fromkeys(["head=linear", "augment=classify", "evaluation=classify", "inference=none"], "classifier_vitt"),
    **dict.fromkeys(["head=batchnorm_linear", "augment=probe", "optimizer=lars"], "probe_vitt"),
    **dict.fromkeys(["head=linear_seg", "head=fcn", "backbone=timm"], "segprobe_vitt"),
    "head=dpt": "dpt_vitt",
    **{f"loss={loss}": "upernet_vitt" for loss in
       ["cross_entropy", "cross_entropy_dice", "binary", "dice", "focal", "lovasz", "ohem"]},
}  # fmt: skip


def options(*groups: str) -> list[str]:
    """`group=option` for every option file of `groups`."""
    return [f"{group}={name}" for group in groups for name in option_files.options(group)]


def in_company(option: str) -> list[str]:
    """The words that compose an option with a model that it fits."""
    return [f"model={COMPANY.get(option, 'upernet_vitt' if option.endswith('_relative') else 'mae_vitt')}", option]


OPTIONS = options(*OTHER_GROUPS)
AS_THEY_STAND = ("sweep", "debug", "hydra/launcher", "hydra/sweeper", "paths")
ADDITIONS = {
    f"{file.parent.relative_to(config_dir())}={file.stem}": file
    for file in sorted(path for group in AS_THEY_STAND for path in (config_dir() / group).glob("*.yaml"))
} | {"config": config_dir() / "config.yaml"}
REFERENCES = "references"


@functools.cache
def composed(*overrides: str) -> DictConfig:
    """The configuration of a command line, composed once; not to be changed."""
    config = compose_config(overrides)
    OmegaConf.set_readonly(config, True)
    return config


@functools.cache
def values_of(*overrides: str) -> dict[str, Any]:
    """The resolved configuration of a command line by dotted keys, resolved once; not to be changed."""
    resolved = OmegaConf.to_container(composed(*overrides), resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    return {key: value for key, value in flatten(resolved).items() if not key.startswith(LEFT_OUT)}


def text() -> str:
    """The whole table, as it stands in `values.txt`."""
    lines = whole_lines()
    for header, content in [*((option, option_lines(option)) for option in OPTIONS), *ADDITIONS.items()]:
        lines += ["", f"[{header}]", *(content if isinstance(content, list) else file_lines(content))]
    return "\n".join([*lines, "", f"[{REFERENCES}]", *reference_lines(), ""])


def whole_lines() -> list[str]:
    """The blocks of all keys over all experiments and models."""
    whole = {word.partition("=")[2]: _own(values_of(f"+{word}")) for word in options("experiment")}
    whole |= {word.partition("=")[2]: _own(values_of(word)) for word in options("model")}
    keys = dict.fromkeys(key for values in whole.values() for key in values)
    return [line for key in sorted(keys) for line in _block(key, whole)]


def option_lines(option: str) -> list[str]:
    """The values of an option's own group."""
    values, group = values_of(*in_company(option)), option.partition("=")[0]
    return [f"{key} = {_shown(value)}" for key, value in sorted(values.items()) if key.startswith(f"{group}.")]


def file_lines(file: Path) -> list[str]:
    """The values of an option file that is no configuration by itself."""
    content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    assert isinstance(content, dict)
    return [f"{key} = {_shown(value)}" for key, value in sorted(flatten(content).items())]


def reference_lines() -> list[str]:
    """Each expression with the keys of all option files that have it: a value written out follows nothing."""
    found: dict[str, list[str]] = {}
    for file in sorted(config_dir().rglob("*.yaml")):
        text = file.read_text()
        for key, value in flatten(yaml.safe_load(text)).items() if "${" in text else ():
            if isinstance(value, str) and "${" in value:
                found.setdefault(value, []).append(f"{file.relative_to(config_dir()).with_suffix('')}:{key}")
    return [f"{expression} = {' '.join(keys)}" for expression, keys in sorted(found.items())]


def golden() -> dict[str, list[str]]:
    """The lines of `values.txt` below each `[header]`; those of experiments and models below ""."""
    blocks: dict[str, list[str]] = {"": []}
    for line in GOLDEN.read_text().splitlines():
        if line.startswith("["):
            blocks[line[1:-1]] = []
        elif line:
            blocks[list(blocks)[-1]].append(line)
    return blocks


def _block(key: str, whole: dict[str, dict[str, Any]]) -> Iterator[str]:
    having: dict[str, list[str]] = {}
    for name, values in whole.items():
        if key in values:
            having.setdefault(_shown(values[key]), []).append(name)
    usual = max(having, key=lambda value: (len(having[value]), value))
    yield f"{key} = {usual}"
    yield from (f"    {value}: {' '.join(_short(names))}" for value, names in sorted(having.items()) if value != usual)


def _short(names: list[str]) -> list[str]:
    """mae_vitb_imagenet_800e mae_vitl_imagenet_800e -> mae_vit{b,l}_imagenet_800e."""
    sizes: dict[str, list[str]] = {}
    for name in names:
        before, size, after = re.fullmatch(r"(.*_vit|)(\w?)(.*)" if "_vit" in name else r"()()(.*)", name).groups()
        sizes.setdefault(f"{before}{{}}{after}" if size else name, []).append(size)
    return [form.format(found[0] if len(found) == 1 else "{" + ",".join(found) + "}") for form, found in sizes.items()]


def _own(values: dict[str, Any]) -> dict[str, Any]:
    """Without what a model takes from `backbone` and `head` as it stands there."""
    parts = {"model.encoder.": "backbone.", "model.decoder.": "head.", "model.head.": "head."}
    taken = {
        key
        for key, value in values.items()
        for there, here in parts.items()
        if key.startswith(there) and values.get(key.replace(there, here, 1), key) == value
    }
    return {key: value for key, value in values.items() if key not in taken}


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    import mae_hydra.models  # noqa: F401

    GOLDEN.write_text(text())

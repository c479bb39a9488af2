"""`mae-hydra new`: a package of one's own to start from, with one part of each kind."""

import argparse
import importlib.util
import keyword
import shutil
import tempfile
from pathlib import Path

from mae_hydra.errors import UserError

TEMPLATE = "mylab"  # what stands for the name in the files and in their paths
LEFT_OUT = {"__pycache__", "outputs", "build", "dist"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="of the package: a word of small letters, digits and _, such as mylab")
    parser.add_argument("--out", type=Path, help="a new folder (default: the name)")


def run(options: argparse.Namespace) -> int:
    from mae_hydra import atomic

    name: str = options.name
    out: Path = options.out or Path(name)
    _check_name(name)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"{out} is there already; give a new folder with --out")
    atomic.check_writable(out, "give another folder with --out")
    with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=f".{out.name}.") as made:  # whole or not at all
        _write(name, Path(made) / name)
        if out.is_dir():
            out.rmdir()
        shutil.move(Path(made) / name, out)
    print(f"wrote {out}. To try it:")
    print(f"  cd {out}")
    print(f"  export MAE_HYDRA_TRUST={name} PYTHONPATH=$PWD")
    print(f"  mae-hydra train --config-dir {name}/conf +experiment={name} +debug=smoke")
    return 0


def _check_name(name: str) -> None:
    if not (name.isidentifier() and name.isascii() and name.islower()) or keyword.iskeyword(name):
        raise UserError(f"{name} cannot name a package: take small letters, digits and _, such as mylab")
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.origin is not None:  # a mere folder of that name has none
        raise UserError(f"there is a Python package {name} already; take another name")


def _write(name: str, folder: Path) -> None:
    from mae_hydra.configuration.tree import template_dir

    template = template_dir()
    for file in sorted(template.rglob("*")):
        place = file.relative_to(template)
        if file.is_dir() or any(part in LEFT_OUT or part.startswith(".") or "egg-info" in part for part in place.parts):
            continue
        target = folder / str(place).replace(TEMPLATE, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file.read_text().replace(TEMPLATE, name))

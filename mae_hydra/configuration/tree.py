"""Where the files lie that come with this package and are no Python of it."""

from pathlib import Path


def config_dir() -> Path:
    """Where the configuration tree lies: `conf/` of a source tree, `mae_hydra/conf` of an installation."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def template_dir() -> Path:
    """The package that `mae-hydra new` writes: `tests/outside/mylab/` of a source tree, where it is tried out, or
    `mae_hydra/template` of an installation."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "template"
    return installed if installed.is_dir() else package.parent / "tests" / "outside" / "mylab"

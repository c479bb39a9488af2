"""Where the configuration tree lies."""

from pathlib import Path


def config_dir() -> Path:
    """Where the configuration tree lies: `conf/` of a source tree, `mae_hydra/conf` of an installation."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"

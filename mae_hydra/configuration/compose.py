"""From overrides to a composed configuration, without Hydra's command line."""

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import DictConfig, OmegaConf

from mae_hydra.configuration import hydras_own, resolvers
from mae_hydra.configuration.command_words import readable
from mae_hydra.configuration.hydra_errors import explain
from mae_hydra.configuration.tree import config_dir
from mae_hydra.configuration.whole_nodes import addable, take_whole_nodes
from mae_hydra.errors import UserError


def compose_config(overrides: Sequence[str], output_dir: str = ".") -> DictConfig:
    """The configuration of `python train.py <overrides>`; `output_dir` stands for the run directory."""
    overrides = addable(readable(overrides))
    resolvers.register()
    hydras_own.guard()
    backup = get_gh_backup()  # a notebook may use Hydra for itself
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3", job_name="train"):
            config = compose("config", overrides=overrides)
    except UserError:
        raise
    except Exception as error:
        raise UserError(explain(error, overrides)) from error
    finally:
        restore_gh_from_backup(backup)
    take_whole_nodes(config, overrides)
    # Outside a job there is no `${hydra:...}`; the run directory is the only value taken from it.
    OmegaConf.update(config, "paths.run_dir", output_dir)
    return config

"""What every data set is told is said once, for Python and for YAML."""

import inspect
from pathlib import Path
from typing import get_type_hints

import pytest
from omegaconf import OmegaConf

from mae_hydra import data
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.hydras_own import ConfigRepository, guard
from mae_hydra.configuration.option_files import options, stated
from mae_hydra.configuration.tree import config_dir
from mae_hydra.data import FileSettings, Settings

FACTORIES = (data.ade20k, data.folder, data.imagenet, data.imagenet_variant, data.segmentation, data.shards)


def test_the_option_files_tell_what_the_settings_take_and_nothing_else():
    base, files = (OmegaConf.load(config_dir() / "data" / f"{name}.yaml") for name in ("_base", "_files"))
    assert set(base) == set(inspect.signature(Settings).parameters)
    assert set(files) - {"defaults"} == set(inspect.signature(FileSettings).parameters) - set(base)


@pytest.mark.parametrize("factory", FACTORIES, ids=lambda factory: factory.__name__)
def test_a_data_factory_names_all_of_its_arguments(factory):
    taken = inspect.signature(factory).parameters
    assert set(inspect.signature(FileSettings).parameters) < set(taken)
    assert "settings" not in taken
    assert {*taken, "return"} == set(get_type_hints(factory))


def test_a_factory_refuses_what_neither_it_nor_the_settings_take():
    told = dict.fromkeys(inspect.signature(Settings).parameters, 1)
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'batch_size'"):
        data.scenes(**{name: value for name, value in told.items() if name != "batch_size"})
    with pytest.raises(TypeError, match="unexpected keyword argument 'range'"):
        data.scenes(**told, num_train=1, num_validation=1, seed=0, range="auto")


def test_a_file_that_others_build_on_is_no_option():
    guard()
    listed = ConfigRepository.get_group_options
    assert "_base" in listed.__wrapped__(_repository(), "data")
    assert listed(_repository(), "data") == options("data")


def _repository() -> ConfigRepository:
    from hydra._internal.config_search_path_impl import ConfigSearchPathImpl

    path = ConfigSearchPathImpl()
    path.append("main", f"file://{config_dir()}")
    return ConfigRepository(path)


def test_what_a_target_is_given_counts_the_files_that_its_file_builds_on():
    """Else a record of an earlier version would not get the settings that are newer than it."""
    given = stated("mae_hydra.data.imagenet")
    assert (given["num_workers"], given["max_bad_share"], given["std"]) == ([10], [0.01], [[0.229, 0.224, 0.225]])


def test_a_set_of_ones_own_is_its_own_facts(tmp_path: Path):
    """An option file elsewhere builds on the same two."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text(
        "defaults: [_files]\n_target_: mae_hydra.data.folder\nroot: photos\nvalidation_fraction: 0.2\n"
    )
    found = compose_config(["data=mine", f"hydra.searchpath=[file://{tmp_path}]"]).data
    assert (found.root, found.max_bad_share, found.channels) == ("photos", 0.01, 3)

"""What every data set is told is said once, for Python and for YAML."""

import inspect
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from pictures import ListSet

from mae_hydra import data
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.hydras_own import ConfigRepository, guard
from mae_hydra.configuration.option_files import options, stated
from mae_hydra.configuration.tree import config_dir
from mae_hydra.data import FileSettings, Sample, Settings

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


def test_what_a_set_tells_of_itself_stands_beside_what_is_told_of_it():
    images = ListSet([Sample(torch.zeros(3, 1, 1), number // 2 % 2, f"photo {number}") for number in range(40)])
    told = {
        "image_size": [8, 16], "channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3, "num_classes": 3,
        "ignore_index": 255, "batch_size": 2, "num_workers": 1, "train_limit": 20, "label_fraction": 0.25,
        "prefetch": 5,
    }  # fmt: skip
    palette = np.zeros((3, 3), np.uint8)

    def made(**changes):
        return Settings(**told | changes).image_data(
            images, images, "class", palette=palette, class_names=("a", "b", "c"), notes=("own",)
        )

    found = made(label_seed=0)
    assert (found.mean, found.std, found.channels, found.ignore_index) == ((0.5,) * 3, (0.2,) * 3, 3, 255)
    assert (found.image_size, found.prefetch, found.class_names, len(found.validation)) == (
        (8, 16),
        5,
        tuple("abc"),
        40,
    )
    assert found.palette is palette
    assert found.notes == ("own", "note: none of 20 training images has c, so data.label_fraction may leave them out")
    names = [[found.train[place].name for place in range(5)] for found in (found, made(label_seed=1), made())]
    assert names[0] == names[2] != names[1]
    assert {int(name.split()[1]) % 2 for name in names[0]} == {0}  # of every second one
    plain = Settings(**told).image_data(images, images, "class")
    assert (plain.class_names, plain.palette.tolist()) == (
        ("class 0", "class 1", "class 2"), data.distinct_colours(3).tolist(),
    )  # fmt: skip
    for wrong in ({"batch_size": 0}, {"num_workers": -1}):
        with pytest.raises(ValueError, match=f"data.{next(iter(wrong))} must"):
            Settings(**told | wrong)


def test_bands_that_are_shown_are_told_by_the_files_and_kept_by_their_channels():
    told = {
        "image_size": 8, "channels": 4, "mean": [0.5] * 4, "std": [0.2] * 4, "num_classes": 0, "ignore_index": 255,
        "batch_size": 2, "num_workers": 0, "bands": [8, 4, 3, 2],
    }  # fmt: skip
    images = ListSet([])
    found = FileSettings(**told, shown_bands=[4, 3, 2]).image_data(images, images, "none")
    assert found.shown == (1, 2, 3)
    assert FileSettings(**told).image_data(images, images, "none").shown == ()
    for wrong, said in (
        ({"shown_bands": [4, 3, 1]}, "data.shown_bands must be three of the bands 8, 4, 3, 2, or one"),
        ({"shown_bands": [4, 3]}, "data.shown_bands must be three of the bands"),
        ({"bands": [8, 4, 3, 0]}, "data.bands must name bands of the files, counted from 1"),
        ({"bands": [8, 4, 3]}, "data.bands names 3 bands: set data.channels=3, got 4"),
        ({"bands": [8, 4, 3, 2, 1]}, "data.bands names 5 bands: set data.channels=5, got 4"),
    ):
        with pytest.raises(ValueError, match=said):
            FileSettings(**told | wrong)

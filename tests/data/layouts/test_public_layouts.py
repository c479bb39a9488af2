"""Each preset reads its set as it is published: which photos, with which class in every pixel."""

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from published import SETS

from mae_hydra.configuration.check import check
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.configuration.option_files import options
from mae_hydra.data import ImageData, check_labels, segmentation
from mae_hydra.data.audit.dataset import audit, list_files
from mae_hydra.data.loading.look_ahead import look_ahead
from mae_hydra.errors import UserError

OWN = {"segmentation", "classification", "tiny_imagenet"}


def data_of(preset: str, root: Path, *words: str) -> ImageData:
    config = compose_config(["model=upernet_vitt", f"data={preset}", f"data.root='{root}'", *words])
    check(config)
    return build(config.data, "data")


def maps_of(images) -> list[np.ndarray]:
    return [images[index].label.numpy() for index in range(len(images))]


def test_every_preset_is_tried():
    derived = set(options("data")) - OWN
    on_other = {name for name in derived if "_target_" in Path(f"conf/data/{name}.yaml").read_text()} | {
        "scene_classes"
    }
    assert derived - on_other == set(SETS)


@pytest.fixture(scope="module", params=sorted(SETS))
def published(request, tmp_path_factory):
    """A preset, its small set's folder and what its maps mean, and what the reader makes of it."""
    root = tmp_path_factory.mktemp(request.param)
    expected = SETS[request.param].write(root)
    return request.param, root, expected, data_of(request.param, root)


def test_a_published_layout_is_read_pixel_by_pixel(published):
    preset, _, expected, data = published
    assert data.num_classes == len(SETS[preset].stored) == len(set(data.class_names)) == len(data.palette)
    found = {"train": data.train, "validation": data.validation}
    if "all" in expected:  # the split is by names: both together are all
        wanted = sorted(each.tobytes() for each in expected["all"])
        assert sorted(each.tobytes() for each in (*maps_of(data.train), *maps_of(data.validation))) == wanted
        assert 0 < len(data.validation) <= len(data.train)
        found = {}
    if "test" in expected:
        found["test"] = data.test()
    for side, images in found.items():
        maps = maps_of(images)
        assert len(maps) == len(expected.get(side, [])), side
        for index, (read, wanted) in enumerate(zip(maps, expected.get(side, []), strict=True)):
            np.testing.assert_array_equal(read, wanted, err_msg=f"{side} {images.paths(index)}")
            assert images[index].image.shape == (3, *wanted.shape)


def test_what_is_looked_at_before_the_first_step_finds_nothing_wrong(published):
    data = published[3]
    check_labels(data, training=len(data.train) > 0)
    look_ahead(data.validation, None, seconds=5.0)


def test_an_audit_looks_at_the_same_files(published):
    preset, root, _, data = published
    config = compose_config([f"data={preset}", f"data.root='{root}'", "data.batch_size=2"])
    settings = OmegaConf.to_container(config.data, resolve=True)
    listing = list_files(segmentation, settings)
    for split, images in (("training", data.train), ("validation", data.validation)):
        assert [listing.splits[split].name(index) for index in range(len(images))] == list(images.names)
    found = audit(listing, settings, limit=None, num_workers=0, refusal=None, advance=lambda done, total: None)
    assert [each.sentence for each in found.findings if each.level == "error"] == []
    counted = {row["class"]: row.get("training_pixels", 0) + row["validation_pixels"] for row in found.classes}
    labels = np.concatenate([each.ravel() for each in (*maps_of(data.train), *maps_of(data.validation))])
    assert counted == {number: int((labels == number).sum()) for number in range(data.num_classes)}


@pytest.mark.parametrize("preset", ["potsdam", "voc2012", "camvid"])
def test_photos_alone_are_for_pre_training(preset, tmp_path):
    SETS[preset].write(tmp_path)
    data = data_of(preset, tmp_path, "data.maps=null")
    assert data.target == "none"
    assert data.num_classes == 0
    assert data.train[0].label is None


def test_a_colour_that_nobody_told_is_named(tmp_path):
    SETS["potsdam"].write(tmp_path)
    words = "data.colours={255 255 255: 0, 0 0 255: 1}"  # merged with the preset's
    assert data_of("potsdam", tmp_path, f"'{words}'".strip("'")).num_classes == 6
    with pytest.raises(UserError, match=r"holds \d colors? that data.colours does not have, .*255 255 0"):
        check_labels(data_of("segmentation", tmp_path, "data.images=2_Ortho_RGB", "data.image_suffix=_RGB",
                             "data.maps=5_Labels_all_noBoundary", "data.map_suffix=_label_noBoundary",
                             "data.num_classes=2", words))  # fmt: skip

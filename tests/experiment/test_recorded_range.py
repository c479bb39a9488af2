from typing import Any

import pytest
from omegaconf import OmegaConf

from mae_hydra.data.pixel_range import PixelRange
from mae_hydra.experiment.export import Options, describe
from mae_hydra.experiment.recorded_range import recorded_range, use_recorded_range

META: dict[str, Any] = {"origin": {"data": {"range": [[0.0, 4095.0]]}}}


def test_the_recorded_range_takes_the_place_of_another_measurement_and_of_nothing_else() -> None:
    for given, expected in (("auto", [[0.0, 4095.0]]), ([0, 9], [0, 9])):
        data = OmegaConf.create({"root": "photos", "range": given})
        use_recorded_range(data, META)
        assert data.range == expected
    scenes = OmegaConf.create({"num_train": 3})
    use_recorded_range(scenes, META)
    assert "range" not in scenes


@pytest.mark.parametrize(
    "meta", [{}, {"origin": None}, {"origin": {"data": {}}}, {"origin": {"data": {"range": None}}}]
)
def test_a_checkpoint_that_knows_of_no_deep_picture_has_none(meta: dict[str, Any]) -> None:
    data = OmegaConf.create({"range": "auto"})
    use_recorded_range(data, meta)
    assert recorded_range(meta) is None
    assert data.range == "auto"


def test_what_is_told_beside_an_exported_file_has_the_range() -> None:
    import mae_hydra

    encoder = mae_hydra.build("model=mae_vitt").encoder
    told = describe(encoder, META, "tokens", Options("torch", None, "uint8", None))
    assert told["range"] == [[0.0, 4095.0]]
    assert "range" not in describe(encoder, {}, "tokens", Options("torch", None, "uint8", None))
    assert recorded_range(META) == PixelRange((0.0,), (4095.0,))

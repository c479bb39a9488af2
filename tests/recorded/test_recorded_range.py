from typing import Any

import pytest
from omegaconf import OmegaConf

from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.errors import UserError
from mae_hydra.recorded.pixel_range import recorded_range, use_recorded_range
from mae_hydra.workflows.export import Options, describe

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


DAMAGED = [
    [[0]],
    [[1, 1]],
    [["a", "b"]],
    [],
    [[1, 0]],
    [[0, float("nan")]],
    "auto",
    3,
    [None],
    [[True, 2]],
    [[0, 1], [1, 1]],
]


@pytest.mark.parametrize("record", DAMAGED, ids=str)
def test_a_damaged_record_of_the_range_is_said(record: Any) -> None:
    with pytest.raises(UserError, match=r"the record of data\.range in last\.pt is damaged .*use another"):
        recorded_range({"origin": {"data": {"range": record}}}, "last.pt")


def test_what_is_told_beside_an_exported_file_has_the_range() -> None:
    import mae_hydra

    encoder = mae_hydra.build("model=mae_vitt").encoder
    told = describe(encoder, META, "tokens", Options("torch", None, "uint8", None))
    assert told["range"] == [[0.0, 4095.0]]
    assert "range" not in describe(encoder, {}, "tokens", Options("torch", None, "uint8", None))
    assert recorded_range(META) == PixelRange((0.0,), (4095.0,))

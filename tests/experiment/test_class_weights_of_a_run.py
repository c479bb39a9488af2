"""Class weights of a loss: worked out once, from then on those with which the run began."""

from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from mae_hydra.data import ImageData, median_frequency_weights, scenes
from mae_hydra.errors import UserError
from mae_hydra.experiment import class_weights as module
from mae_hydra.experiment.class_weights import give_class_weights
from mae_hydra.models.segmentation.losses.cross_entropy import PixelCrossEntropy


@pytest.fixture(scope="module")
def data() -> ImageData:
    return scenes(
        num_train=3, num_validation=1, seed=0, target="map", num_classes=12, image_size=32, channels=3, mean=[0.5] * 3,
        std=[0.2] * 3, ignore_index=255, batch_size=1, num_workers=0, train_limit=None,
    )  # fmt: skip


def model() -> Any:
    """With two losses that want weights, of a decoder and an auxiliary head, and one that wants none."""
    made: Any = nn.ModuleDict(
        {name: PixelCrossEntropy(ignore_index=255, class_weights="auto") for name in ("main", "auxiliary")}
    )
    made["plain"] = PixelCrossEntropy(ignore_index=255)
    return made


def test_every_loss_that_wants_them_has_the_weights_of_the_training_images(
    data: ImageData, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    caplog.set_level("INFO", logger="mae_hydra")
    made = model()
    expected, said = median_frequency_weights(data)
    assert give_class_weights(made, data, None) == expected
    assert [made[name].weight.tolist() for name in ("main", "auxiliary")] == [pytest.approx(expected)] * 2
    assert made["plain"].weight is None
    assert capsys.readouterr().out == f"{said}\n"
    assert [record.getMessage() for record in caplog.records] == [said]
    monkeypatch.setattr(module, "is_main", lambda: False)  # another process works nothing out and says nothing
    monkeypatch.setattr(module, "broadcast_object", lambda own: ([2.0] * 12, said) if own is None else own)
    assert give_class_weights(model(), data, None) == [2.0] * 12
    monkeypatch.setattr(module, "broadcast_object", lambda own: UserError("no weights"))
    with pytest.raises(UserError, match="no weights"):
        give_class_weights(model(), data, None)
    assert (capsys.readouterr().out, len(caplog.records)) == ("", 1)


def test_a_run_that_goes_on_keeps_the_weights_with_which_it_began(data: ImageData) -> None:
    made, known = model(), [float(number + 1) for number in range(12)]
    assert give_class_weights(made, data, known) == known
    assert [made[name].weight.tolist() for name in ("main", "auxiliary")] == [known] * 2
    for wrong in (known[:11], [*known, 13.0]):
        with pytest.raises(UserError, match=rf"has {len(wrong)} class weights, and the data 12 classes"):
            give_class_weights(model(), data, wrong)


def test_where_no_loss_wants_them_no_image_is_read(data: ImageData) -> None:
    unread: Any = None
    assert give_class_weights(nn.Linear(1, 1), unread, None) is None
    assert give_class_weights(PixelCrossEntropy(ignore_index=255), unread, [1.0] * 12) is None


def test_data_of_which_no_weights_can_be_made_are_refused(data: ImageData) -> None:
    with pytest.raises(UserError, match="class_weights=auto needs label maps"):
        give_class_weights(model(), replace(data, target="class"), None)

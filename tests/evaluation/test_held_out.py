"""Which held-out pictures are looked at."""

from toy_data import ToyImages, toy_data

from mae_hydra.data.dataset import spread
from mae_hydra.evaluation.held_out import HeldOut


def test_a_subset_is_spread_evenly_and_in_order() -> None:
    assert spread(10, 5) == [0, 2, 4, 6, 8]
    assert spread(10, 3) == [0, 3, 6]
    assert spread(3, 8) == [0, 1, 2]
    assert spread(3, None) == [0, 1, 2]
    assert spread(3, 0) == []


def test_every_picture_comes_once_with_its_index() -> None:
    held_out = HeldOut(toy_data(ToyImages([(8, 8)] * 7)), None, batch_size=3, num_workers=0, num_pictures=2, limit=None)
    batches = list(held_out.batches())
    assert [[index for index, _ in batch] for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [sample.name for batch in batches for _, sample in batch] == [f"toy_{index}" for index in range(7)]
    assert [index for index, _ in held_out.pictures()] == [0, 3]

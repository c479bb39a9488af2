import multiprocessing
from itertools import chain
from pathlib import Path

import pytest
import torch
from pictures import ListSet, labelled_set

from mae_hydra.data import EvalCrop, EvalStream, Sample
from mae_hydra.data.readers.folder import Photos
from mae_hydra.errors import UserError


def mixed_sizes(count: int = 11) -> ListSet:
    samples = [sample for size in (12, 24, 36) for sample in labelled_set(count, 3, height=size, seed=size).samples]
    return ListSet(samples[::3][:count])


def collect(dataset: ListSet, **changes: object) -> list[tuple[int, Sample]]:
    values = {"batch_size": 4, "num_workers": 0, "rank": 0, "world_size": 1}
    stream = EvalStream(dataset, **{"transform": None} | values | changes)  # type: ignore[arg-type]
    batches = list(stream)
    assert len(batches) == len(stream)
    return list(chain.from_iterable(batches))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_sample_comes_once_in_order_at_its_own_size(num_workers: int) -> None:
    dataset = mixed_sizes()
    found = collect(dataset, num_workers=num_workers)
    assert [index for index, _ in found] == list(range(11))
    for index, sample in found:
        assert sample.name == dataset[index].name
        assert torch.equal(sample.image, dataset[index].image)
        assert torch.equal(sample.label, dataset[index].label)  # type: ignore[arg-type]


@pytest.mark.parametrize("world_size", [1, 2, 3, 20])
def test_the_ranks_share_the_samples_without_repeating_any(world_size: int) -> None:
    ranks = [collect(mixed_sizes(), rank=rank, world_size=world_size) for rank in range(world_size)]
    assert sorted(index for rank in ranks for index, _ in rank) == list(range(11))
    assert max(map(len, ranks)) - min(map(len, ranks)) <= 1


def test_chosen_samples_come_in_the_order_asked_for() -> None:
    assert [index for index, _ in collect(mixed_sizes(), indices=[7, 2, 9], batch_size=2)] == [7, 2, 9]


def test_a_stream_can_be_gone_through_again_and_left_early() -> None:
    stream = EvalStream(mixed_sizes(), None, batch_size=2, num_workers=2, rank=0, world_size=1)
    for batch in stream:
        assert len(batch) == 2
        break
    assert [len(batch) for batch in stream] == [2, 2, 2, 2, 2, 1]
    assert len(list(stream)) == 6
    assert not multiprocessing.active_children()


def test_the_transform_is_applied_and_class_ids_pass() -> None:
    dataset = ListSet([Sample(sample.image, number, "") for number, sample in enumerate(mixed_sizes().samples)])
    found = collect(dataset, transform=EvalCrop(size=8, crop_ratio=0.875), num_workers=1)
    assert [sample.label for _, sample in found] == list(range(11))
    assert {sample.image.shape for _, sample in found} == {(3, 8, 8)}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_file_is_named_in_the_main_process(tmp_path: Path, num_workers: int) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    photos = Photos(tmp_path, ["broken.jpg"], 3)
    stream = EvalStream(photos, None, batch_size=4, num_workers=num_workers, rank=0, world_size=1)
    with pytest.raises(UserError, match=r"^cannot read the image .*broken\.jpg: "):
        list(stream)


def test_a_batch_size_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.batch_size must be at least 1, got 0"):
        collect(mixed_sizes(), batch_size=0)

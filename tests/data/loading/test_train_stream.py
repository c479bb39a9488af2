import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import ListSet, labelled_set, save, smooth_picture

from mae_hydra.data import PretrainAugment, Sample, SegmentAugment, TrainStream, epoch_order, folder
from mae_hydra.data.loading import serving
from mae_hydra.data.loading.stream import EvalStream, _AugmentedSamples, _Item, _Key, _stack
from mae_hydra.data.loading.unreadable import TRIES, Unreadable, replacements
from mae_hydra.errors import UserError
from mae_hydra.models import normalise
from mae_hydra.seeds import generator
from mae_hydra.types import Batch

CROP = PretrainAugment(size=8, scale=[0.2, 1.0], ratio=[0.75, 1.33], flip=0.5)
PHOTOS = ListSet([Sample(sample.image, None, sample.name) for sample in labelled_set(10, 3).samples])


def stream(dataset: Any = PHOTOS, augment: Any = CROP, **changes: Any) -> TrainStream:
    values = {"global_batch": 4, "micro_batch": 2, "rank": 0, "world_size": 1, "seed": 0, "num_workers": 0}
    return TrainStream(dataset, augment, **values | {"device_is_cuda": False} | changes)


def take(source: TrainStream, count: int, start_step: int = 0) -> list[Batch]:
    batches = source.batches(start_step)
    taken = list(islice(batches, count))
    batches.close()  # type: ignore[attr-defined]
    return taken


def same(first: list[Batch], second: list[Batch]) -> bool:
    parts = [
        (getattr(a, name), getattr(b, name))
        for a, b in zip(first, second, strict=True)
        for name in ("images", "labels", "index")
    ]
    return all(a is b is None or torch.equal(a, b) for a, b in parts)


def indices(batches: list[Batch]) -> list[int]:
    return [int(index) for batch in batches for index in batch.index]  # type: ignore[union-attr]


def no_workers_left(seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.02)
    return not multiprocessing.active_children()


@pytest.fixture(autouse=True)
def _every_worker_ends() -> Iterator[None]:
    yield
    assert no_workers_left()


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    order = epoch_order(3, 5, 100)
    assert np.array_equal(order, epoch_order(3, 5, 100))
    assert sorted(order) == list(range(100))
    for other in (epoch_order(3, 6, 100), epoch_order(4, 5, 100)):
        assert (order == other).mean() < 0.1


def test_an_epoch_visits_whole_steps_of_its_order_each_image_once() -> None:
    batches = take(stream(), 3 * 4)  # 10 images, steps of 4: an epoch is 2 steps of 2 micro-batches, 2 images wait
    assert stream().steps_per_epoch == 2
    for epoch in range(3):
        seen = indices(batches[4 * epoch : 4 * epoch + 4])
        assert seen == epoch_order(0, epoch, 10)[:8].tolist()
        assert len(set(seen)) == 8


def test_fewer_images_than_a_step_fill_it_with_several_epochs() -> None:
    small = stream(global_batch=16, micro_batch=16)
    assert small.steps_per_epoch == 10 / 16
    seen = indices(take(small, 5))
    assert [sorted(seen[start : start + 10]) for start in range(0, 80, 10)] == [list(range(10))] * 8


@pytest.mark.parametrize("start_step", [1, 2, 7])
def test_a_stream_started_at_a_step_equals_the_unbroken_one_from_there(start_step: int) -> None:
    unbroken = take(stream(), 2 * (start_step + 3))
    assert same(take(stream(), 6, start_step), unbroken[2 * start_step :])


def test_crops_grow_at_the_epochs_named_and_a_batch_has_one_size() -> None:
    growing = PretrainAugment(
        size=8, scale=[0.2, 1.0], ratio=[0.75, 1.33], flip=0.5, smaller=[4, [6, 5]], smaller_until=[1, 3]
    )
    batches = take(stream(augment=growing), 2 * 8)  # an epoch is 2 steps of 2 micro-batches
    sizes = [tuple(batch.images.shape[2:]) for batch in batches]
    assert sizes == [(4, 4)] * 4 + [(6, 5)] * 8 + [(8, 8)] * 4
    assert same(take(stream(augment=growing), 4, 5), batches[10:14])
    # Steps of more than one epoch: the one in which a step begins counts for all of it.
    few = take(stream(augment=growing, global_batch=16, micro_batch=16), 4)  # they begin at epochs 0, 1.6, 3.2, 4.8
    assert [batch.images.shape[2:] for batch in few] == [(4, 4), (6, 5), (8, 8), (8, 8)]
    # Sizes change neither the order nor what is drawn.
    assert indices(batches) == indices(take(stream(), 2 * 8))
    assert same(batches[12:], take(stream(), 4, 6))


class Counted(ListSet):
    """How often a sample was read."""

    reads = 0

    def __getitem__(self, index: int) -> Sample:
        self.reads += 1
        return super().__getitem__(index)


def test_a_late_start_touches_no_earlier_sample() -> None:
    counted = Counted(PHOTOS.samples)
    take(stream(counted), 1, start_step=10**6)
    assert counted.reads == 2


def test_crops_of_one_image_follow_one_another_and_share_its_decoding() -> None:
    several = PretrainAugment(size=8, scale=[0.2, 1.0], ratio=[0.75, 1.33], flip=0.5, crops_per_image=2)
    counted = Counted(PHOTOS.samples)
    batches = take(stream(counted, several), 8)  # 16 crops of the first 8 images of the order
    seen = indices(batches)
    assert seen[::2] == seen[1::2] == epoch_order(0, 0, 10)[:8].tolist()
    assert counted.reads == 8
    first = torch.cat([batch.images for batch in batches])
    assert torch.equal(first[::2], torch.cat([batch.images for batch in take(stream(), 4)]))  # as without repeating
    assert not any(torch.equal(a, b) for a, b in zip(first[::2], first[1::2], strict=True))
    assert stream(PHOTOS, several).steps_per_epoch == stream().steps_per_epoch
    assert same(take(stream(PHOTOS, several), 4, start_step=2), batches[4:])
    assert same(take(stream(PHOTOS, several, num_workers=2), 8), batches)
    thirds = PretrainAugment(size=8, scale=[0.2, 1.0], ratio=[0.75, 1.33], flip=0.5, crops_per_image=3)
    ranks = [take(stream(PHOTOS, thirds, world_size=2, rank=rank), 3) for rank in range(2)]
    one = take(stream(PHOTOS, thirds, micro_batch=2), 6)  # whatever cuts through the crops of an image
    assert same([ranks[position % 2][position // 2] for position in range(6)], one)


def test_a_batch_lies_in_memory_as_its_images_do_and_models_see_the_same() -> None:
    [batch] = take(stream(), 1)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    seen = normalise(batch.images, mean, std)
    assert seen.is_contiguous()
    assert torch.equal(seen, normalise(batch.images.contiguous(), mean, std))


def test_workers_change_nothing() -> None:
    plain = take(stream(), 8)
    assert same(take(stream(num_workers=2), 8), plain)
    assert same(take(stream(num_workers=2), 4, start_step=2), plain[4:])


def test_workers_change_nothing_for_class_maps_either() -> None:
    augment = SegmentAugment(
        size=16, ratio_range=[0.5, 2.0], cat_max_ratio=0.75, flip=0.5, photometric=True, ignore_index=255,
        fill=[0.5] * 3,
    )  # fmt: skip
    plain, parallel = (take(stream(labelled_set(6, 3), augment, num_workers=workers), 4) for workers in (0, 2))
    assert same(plain, parallel)
    assert plain[0].labels is not None
    assert (plain[0].labels.dtype, plain[0].labels.shape) == (torch.uint8, (2, 16, 16))
    assert (plain[0].images.dtype, plain[0].images.shape) == (torch.uint8, (2, 3, 16, 16))


def test_the_ranks_together_see_what_one_rank_sees() -> None:
    alone = take(stream(global_batch=8), 8)
    ranks = [take(stream(global_batch=8, rank=rank, world_size=2), 4) for rank in range(2)]
    together = [batch for step in range(2) for rank in ranks for batch in rank[2 * step : 2 * step + 2]]
    assert same(together, alone)


def test_micro_batches_are_cuts_of_one_and_the_same_step() -> None:
    whole, cut = take(stream(micro_batch=4), 2), take(stream(micro_batch=1), 8)
    assert torch.equal(torch.cat([batch.images for batch in whole]), torch.cat([batch.images for batch in cut]))


def test_every_epoch_augments_an_image_anew() -> None:
    batches = take(stream(ListSet(PHOTOS.samples[:4]), micro_batch=4), 2)
    first, second = (dict(zip(b.index.tolist(), b.images, strict=True)) for b in batches)  # type: ignore[union-attr]
    assert all(not torch.equal(first[index], second[index]) for index in range(4))


def test_class_ids_become_int64() -> None:
    labelled = ListSet([Sample(sample.image, number * 100, "") for number, sample in enumerate(PHOTOS.samples)])
    batch = take(stream(labelled), 1)[0]
    assert batch.labels is not None
    assert batch.labels.dtype == torch.int64
    assert batch.labels.tolist() == [100 * index for index in batch.index.tolist()]  # type: ignore[union-attr]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_corrupt_photo_among_good_ones_is_named_in_the_main_process(tmp_path: Path, num_workers: int) -> None:
    for number in range(12):
        save(smooth_picture(20, 20, seed=number), tmp_path / f"{number:02d}.jpg")
    data = folder(
        root=str(tmp_path), image_size=8, channels=3, mean=[0.5] * 3, std=[0.2] * 3, validation_fraction=0.1,
        num_classes=0, ignore_index=255, batch_size=2, num_workers=num_workers, train_limit=None,
    )  # fmt: skip
    broken = tmp_path / data.train[4].name
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(UserError) as caught:
        take(stream(data.train, num_workers=num_workers), 12)
    assert str(caught.value).startswith(f"cannot read the image {broken}: ")
    assert str(caught.value).count("\n") == 0
    assert no_workers_left()  # although the traceback is still held


def test_workers_leave_signals_to_the_main_process() -> None:
    batches = stream(num_workers=2).batches(0)
    plain = take(stream(), 20)
    first = [next(batches), next(batches)]  # one from each worker: both are ready
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker.pid, signal.SIGTERM)  # type: ignore[arg-type]
    assert same([*first, *islice(batches, 18)], plain)


class _Threads(ListSet):
    def __getitem__(self, index: int) -> Sample:
        return Sample(self.samples[index].image, torch.get_num_threads(), "")


def test_a_worker_computes_in_one_thread() -> None:
    batch = take(stream(_Threads(PHOTOS.samples), num_workers=1), 1)[0]
    assert batch.labels is not None
    assert batch.labels.tolist() == [1, 1]


def test_streaming_leaves_the_global_generators_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    take(stream(num_workers=1), 2)
    take(stream(), 2)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"micro_batch": 0}, "data.batch_size must be at least 1, got 0"),
        ({"micro_batch": 3}, "engine.global_batch must be a multiple of ranks x micro-batch, 1 x 3, got 4"),
        ({"world_size": 4}, "engine.global_batch must be a multiple of ranks x micro-batch, 4 x 2, got 4"),
        ({"rank": 1}, r"rank must lie in 0\.\.0, got 1"),
        ({"rank": -1}, r"rank must lie in 0\.\.0, got -1"),
        ({"global_batch": 0}, "engine.global_batch must be a multiple of ranks x micro-batch, 1 x 2, got 0"),
    ],
)
def test_batches_that_do_not_divide_are_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stream(**changes)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(UserError, match="the training split holds no sample"):
        stream(ListSet([]))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_ends_a_run_quietly_and_at_once(tmp_path: Path, number: signal.Signals) -> None:
    """As Ctrl-C in a terminal, `timeout` and a batch system do; both become an exception, as the engine may do."""
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(
            """
            import multiprocessing, signal, sys, torch
            from mae_hydra.data import PretrainAugment, Sample, TrainStream

            class Endless:
                def __len__(self): return 64
                def __getitem__(self, index): return Sample(torch.full((3, 9, 9), index, dtype=torch.uint8), None, "")

            def stop(number, frame): raise KeyboardInterrupt

            signal.signal(signal.SIGTERM, stop)
            signal.signal(signal.SIGINT, stop)  # a shell starts what it sends to the background without Python's own
            augment = PretrainAugment(size=8, scale=[0.2, 1.0], ratio=[0.75, 1.33], flip=0.5)
            stream = TrainStream(Endless(), augment, global_batch=8, micro_batch=8, rank=0, world_size=1, seed=0,
                                 num_workers=2, device_is_cuda=False)
            try:
                for step, batch in enumerate(stream.batches(0)):
                    if step == 20:
                        print("running", *(child.pid for child in multiprocessing.active_children()), flush=True)
            except KeyboardInterrupt:
                sys.exit(7)
            """
        )
    )
    process = subprocess.Popen(
        # Not of a socket over which a worker was just handing a batch: nobody is told of those by default.
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", str(script)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        workers = [int(pid) for pid in process.stdout.readline().split()[1:]]
        assert len(workers) == 2
        os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=30)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 7
    assert errors == ""
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


class Spoiled(ListSet):
    """Some of the samples cannot be read."""

    spoiled: frozenset[int] = frozenset()

    def __getitem__(self, index: int) -> Sample:
        if index in self.spoiled:
            raise UserError(f"cannot read the image {index}.jpg: it is truncated")
        return super().__getitem__(index)


def spoiled(*indices: int) -> Spoiled:
    dataset = Spoiled(PHOTOS.samples)
    dataset.spoiled = frozenset(indices)
    return dataset


def test_an_unreadable_image_is_replaced_and_named_once(caplog):
    batches = take(stream(spoiled(3), max_bad_share=0.5), 30)
    assert 3 not in indices(batches)
    assert len(indices(batches)) == 60
    named = [record.message for record in caplog.records if "cannot read the image 3.jpg" in record.message]
    assert len(named) == 1
    whole = take(stream(), 30)
    places = [place for place, index in enumerate(indices(whole)) if index != 3]
    assert [indices(batches)[place] for place in places] == [indices(whole)[place] for place in places]


@pytest.mark.parametrize("workers", [0, 2])
def test_replacements_do_not_depend_on_workers_processes_or_the_step_of_the_start(workers):
    whole = take(stream(spoiled(3, 5), max_bad_share=0.9), 24)
    assert same(take(stream(spoiled(3, 5), max_bad_share=0.9, num_workers=workers), 10, start_step=7), whole[14:24])
    halves = [
        take(stream(spoiled(3, 5), max_bad_share=0.9, num_workers=workers, rank=rank, world_size=2), 12)
        for rank in (0, 1)
    ]
    assert [index for pair in zip(*halves, strict=True) for index in indices(list(pair))] == indices(whole)


def test_too_many_unreadable_images_are_an_error_with_the_first_of_them():
    source = stream(spoiled(*range(6)), max_bad_share=0.05)
    with pytest.raises(UserError, match=r"5 files could not be used among the first \d+ training images, .* 0.05"):
        take(source, 40)


def test_few_unreadable_images_are_no_error_yet():
    take(stream(spoiled(1, 2, 3, 4), max_bad_share=0.01), 40)


def test_without_a_share_the_first_is_an_error():
    with pytest.raises(UserError, match=r"cannot read the image 3.jpg"):
        take(stream(spoiled(3)), 10)


def test_an_image_and_those_that_cannot_replace_it_are_told_in_order():
    order = list(replacements(7, 2, 3, 10))
    assert len(order) == TRIES
    assert order == generator(7, "replace", 2, 3).integers(10, size=10).tolist()
    others = [list(replacements(*key, 10)) for key in ((8, 2, 3), (7, 3, 3), (7, 2, 4), (7, 3, 2))]
    assert all(other != order for other in others)
    second = next(index for index in order if index not in (3, order[0]))
    for replacing, broken in ((True, {3, order[0]}), (True, set(range(10))), (False, {3})):
        samples = _AugmentedSamples(spoiled(*broken), CROP, 7, replacing=replacing)
        found = samples[_Key(epoch=2, index=3)]
        if isinstance(found, UserError):
            assert (str(found), replacing and len(broken) < 10) == (
                "cannot read the image 3.jpg: it is truncated",
                False,
            )
        else:
            assert found.index == second
            named = [3, *(index for index in order[: order.index(second)])]
            assert found.lost == tuple(f"cannot read the image {index}.jpg: it is truncated" for index in named)


def test_a_batch_tells_all_that_was_lost_for_it_and_its_first_error():
    items = [_Item(PHOTOS[place].image, None, place, lost) for place, lost in ((4, ("a",)), (7, ("b", "c")), (1, ()))]
    batch, lost = _stack([*items])
    assert (batch.index.tolist(), lost) == ([4, 7, 1], ["a", "b", "c"])
    errors = [UserError("first"), UserError("second")]
    assert _stack([items[0], *errors]) is errors[0]


def test_the_share_of_bad_files_is_of_all_images_seen_and_each_counts_once(capsys, caplog):
    bad = [f"cannot read {number}" for number in range(6)]
    found = Unreadable(0.5)
    found.note([bad[0], bad[0], bad[1]], 3)
    found.note([bad[1], bad[2], bad[3]], 4)  # four files of seven images are no sign yet
    found.note([bad[4]], 3)  # five of ten are the half
    found.note([], 2)
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert [record.message.split(" (")[0] for record in caplog.records] == bad[:5]
    assert "(2 such files so far" in caplog.records[1].message
    few = Unreadable(0.5)
    with pytest.raises(
        UserError, match=r"5 files could not be used among the first 9 training images, more than the .* 0.5"
    ):
        few.note(bad[:5], 9)
    with pytest.raises(UserError, match=r"the first: cannot read it\."):
        Unreadable(0.0).note(["cannot read \x1bit", *bad[:4]], 9)  # what a terminal would obey is left out


def test_what_serves_batches_is_told_how(monkeypatch):
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(serving, "DataLoader", lambda samples, **words: told.append(words) or [])
    for words in ({"num_workers": 3, "prefetch": 5, "device_is_cuda": True}, {"prefetch": 5}):
        list(stream(**words).batches(0))
    list(EvalStream(PHOTOS, None, batch_size=6, num_workers=8, rank=0, world_size=1))  # two batches
    kept = [[words[key] for key in ("num_workers", "prefetch_factor", "pin_memory")] for words in told]
    assert kept == [[3, 5, True], [0, None, False], [2, 2, False]]


def test_an_order_of_its_own_is_asked_for_with_the_seed_and_the_whole_batch():
    class Ordered(ListSet):
        def order(self, seed: int, global_batch: int) -> Any:
            return lambda epoch, place: (seed + 3 * global_batch + epoch + place) % 10

    batches = take(stream(Ordered(PHOTOS.samples), seed=5, global_batch=4), 6)  # epochs of 8
    assert indices(batches) == [(5 + 12 + place // 8 + place % 8) % 10 for place in range(12)]


def test_a_batch_is_handed_over_in_shared_memory_or_said_to_have_no_room(monkeypatch):
    made = (torch.zeros(2), [torch.zeros(2), "text"], Batch(torch.zeros(2), None, torch.zeros(2)))
    tensors = [made[0], made[1][0], made[2].images, made[2].index]
    assert all(a is b for a, b in zip(serving._tensors(made), tensors, strict=True))
    over = serving._HandedOver(lambda items: made)
    assert over([]) is made
    assert not any(tensor.is_shared() for tensor in tensors)
    monkeypatch.setattr(serving, "get_worker_info", lambda: "a worker's")
    assert over([]) is made
    assert all(tensor.is_shared() for tensor in tensors)

    def full(tensor: torch.Tensor) -> None:
        raise RuntimeError("no space left\non the device")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    said = over([])
    assert isinstance(said, UserError)
    assert "no room for a batch (no space left);" in str(said)


def test_other_errors_of_a_program_stay_as_they_are_and_lost_connections_are_silent(monkeypatch):
    class Wrong(ListSet):
        def __getitem__(self, index: int) -> Sample:
            raise RuntimeError("a mistake in the program")

    with pytest.raises(RuntimeError, match="a mistake in the program"):
        take(stream(Wrong(PHOTOS.samples)), 1)
    reported: list[type] = []
    monkeypatch.setattr(sys, "__excepthook__", lambda kind, error, trace: reported.append(kind))
    for error in (ConnectionResetError(), EOFError(), ValueError(), KeyError()):
        serving._report_all_but_lost_connections(type(error), error, None)
    assert reported == [ValueError, KeyError]


def test_a_loading_process_leaves_every_signal_and_ends_with_the_main_one(monkeypatch):
    asked: list[Any] = []
    monkeypatch.setattr(signal, "signal", lambda number, action: asked.append((number, action)))
    monkeypatch.setattr(serving, "end_with", lambda main, number: asked.append((main, number)))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    serving._obey_the_main_process_only(77, 0)
    names = ("SIGHUP", "SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
    wanted = {(getattr(signal, name), signal.SIG_IGN) for name in names} | {(77, signal.SIGKILL)}
    assert set(asked) == wanted
    assert sys.excepthook is serving._report_all_but_lost_connections


class Deadly(ListSet):
    def __getitem__(self, index: int) -> Sample:
        if index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def test_a_loading_process_that_is_killed_is_one_sentence_with_a_way_out():
    with pytest.raises(UserError, match=r"a loading process died .*use fewer with data.num_workers"):
        take(stream(Deadly(PHOTOS.samples), num_workers=2), 40)

"""What is kept between processes: only whole records, of the right index, wherever they were made."""

import multiprocessing
import pickle
import random
import zlib

import pytest

from mae_hydra.data.scenes.shared_records import HEADER, SharedRecords

SIZE = 50


def record(index: int) -> bytes:
    return random.Random(index).randbytes(SIZE)


def test_what_a_forked_process_put_is_there_for_all():
    records = SharedRecords(10, SIZE, 2**20)
    records.put(3, record(3))
    child = multiprocessing.get_context("fork").Process(target=records.put, args=(7, record(7)))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert [records.get(index) for index in (3, 7, 4)] == [record(3), record(7), None]


def test_a_copy_belongs_to_the_caller():
    records = SharedRecords(1, SIZE, 2**20)
    records.put(0, record(0))
    taken = records.get(0)
    assert taken is not None
    taken[:] = bytes(SIZE)
    assert records.get(0) == record(0)


def test_a_pickled_copy_begins_empty():
    records = SharedRecords(4, SIZE, 2**20)
    records.put(1, record(1))
    copy = pickle.loads(pickle.dumps(records))
    assert copy.get(1) is None
    copy.put(1, record(1))
    assert copy.get(1) == record(1)


@pytest.mark.parametrize("written", [0, 1, SIZE // 2, SIZE - 1])
def test_a_record_of_which_a_part_was_written_does_not_count_and_is_written_again(written):
    """Whatever of pixels and header another processor sees first."""
    records = SharedRecords(1, SIZE, 2**20)
    assert records._memory is not None
    HEADER.pack_into(records._memory, 0, 1, zlib.crc32(record(0), 0))
    records._memory[HEADER.size : HEADER.size + written] = record(0)[:written]
    assert records.get(0) is None
    records.put(0, record(0))
    assert records.get(0) == record(0)


def test_where_there_is_less_room_the_first_ones_stay():
    records = SharedRecords(100, SIZE, 10 * (SIZE + HEADER.size))
    for index in range(0, 100, 7):
        records.put(index, record(index))
    kept = [index for index in range(100) if records.get(index) is not None]
    assert len(kept) == 10
    assert kept[:3] == [0, 7, 14]
    assert all(records.get(index) == record(index) for index in kept)
    none = SharedRecords(100, SIZE, SIZE)
    none.put(0, record(0))
    assert none.get(0) is None


def _use(records: SharedRecords, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(3000):
        index = rng.randrange(40)
        found = records.get(index)
        if found is None:
            records.put(index, record(index))
        else:
            assert found == record(index)


def test_processes_that_write_to_the_same_places_at_once_never_get_a_mixture():
    records = SharedRecords(40, SIZE, 6 * (SIZE + HEADER.size))
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_use, args=(records, seed)) for seed in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]

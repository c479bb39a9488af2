"""Counts of single images in files: what comes back, from whichever process, and which lines are counted again."""

import json

import pytest
import torch

from mae_hydra.errors import UserError
from mae_hydra.evaluation.resumable_counts import Entry, Tally


def entry(stamp: str, cell: int = 0, boundaries: bool = False) -> Entry:
    confusions = torch.zeros(2, 2, dtype=torch.int64)
    confusions.view(-1)[cell], confusions[1, 1] = 2**40, 7
    return Entry(stamp, f"image of {stamp}", confusions, torch.arange(6).view(3, 2) if boundaries else None)


def plain(entries) -> list[tuple]:
    return [
        (each.stamp, each.name, each.confusions.tolist(), None if each.boundaries is None else each.boundaries.tolist())
        for each in entries
    ]


def test_entries_of_all_processes_come_back_once(tmp_path):
    told = {0: [entry("a"), entry("b", 1, boundaries=True)], 1: [entry("b", 1), entry("c", 2)], 10: [entry("d")]}
    for rank, entries in told.items():
        tally = Tally(tmp_path / "counts", rank, 2)
        for each in entries:
            tally.add(each)
        tally.finish()
    files = sorted(file.name for file in (tmp_path / "counts").iterdir())
    assert files == ["rank0.jsonl", "rank1.jsonl", "rank10.jsonl"]  # no two processes write into one
    found = list(Tally(tmp_path / "counts", 0, 2).entries())
    assert sorted(plain(found)) == plain([*told[0], told[1][1], *told[10]])
    assert found[0].confusions.dtype == torch.int64


GOOD = {"stamp": "s", "name": "n", "cells": [0, 3], "counts": [1, 2]}


@pytest.mark.parametrize(
    "change",
    [
        {"stamp": 1}, {"name": None}, {"cells": [0]}, {"counts": [1]}, {"cells": [0, 4]}, {"cells": [-1, 0]},
        {"counts": [1, 0]}, {"counts": [1, 0.5]}, {"cells": [0, 0.5]}, {"cells": None}, {"counts": None},
    ],
)  # fmt: skip
def test_a_line_that_is_not_of_so_many_classes_is_left_out_and_the_next_one_read(tmp_path, change):
    lines = [GOOD | change, GOOD | {"stamp": "t"}]
    (tmp_path / "rank0.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [each.stamp for each in Tally(tmp_path, 0, 2).entries()] == ["t"]


def test_what_the_disk_does_not_take_is_said_with_how_much_it_is_and_written_once_it_does(tmp_path):
    tally = Tally(tmp_path, 0, 2)
    (tmp_path / "rank0.jsonl").mkdir()
    tally.add(entry("a"))
    tally.add(entry("b"))
    with pytest.raises(UserError, match=r"the counts of 2 images could not be written .*make room"):
        tally.finish()
    (tmp_path / "rank0.jsonl").rmdir()
    tally.finish()
    assert [each.stamp for each in tally.entries()] == ["a", "b"]

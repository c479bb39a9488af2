"""Loading photos: what is counted in photos a second, and what is made of each photo."""

from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.table import Table

from mae_hydra.benchmark import loading, loading_processes
from mae_hydra.benchmark.photos import Files, photo_files
from mae_hydra.benchmark.timing import Timing


def cells(table: Table) -> list[list[str]]:
    columns = [list(map(str, column.cells)) for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def test_decoders_are_told_in_photos_a_second_and_by_the_share_of_pillows_pixels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = photo_files((24, 32), 2)
    found = loading_processes.decoders()
    pictures = {name: decoder(files[0]) for name, decoder in found.items()}
    assert {"Pillow", "torchvision"} <= found.keys()
    assert {tuple(each.shape) for each in pictures.values()} == {(3, 24, 32)}
    assert all(torch.equal(each, Files(files)[0].image) for each in pictures.values())
    white = torch.full((3, 24, 32), 255, dtype=torch.uint8)
    half = lambda encoded: torch.where(torch.arange(32) < 8, found["Pillow"](encoded), white + 0)  # noqa: E731
    monkeypatch.setattr(loading_processes, "decoders", lambda: {"Pillow": found["Pillow"], "other": half})
    monkeypatch.setattr(loading_processes, "alternate", lambda calls, **_: {n: Timing((0.25,)) for n in calls})
    table, numbers = loading_processes.decoding_table(files, 3)
    whites = sum(float((found["Pillow"](file)[..., 8:] == 255).sum()) for file in files)
    assert numbers["other"] == {"images_a_second": 8.0, "same_pixels": (2 * 3 * 24 * 8 + whites) / (2 * 3 * 24 * 32)}
    assert numbers["Pillow"] == {"images_a_second": 8.0, "same_pixels": 1.0}
    assert [row[:2] for row in cells(table)] == [["Pillow", "8"], ["other", "8"]]


def test_loading_processes_are_told_in_photos_a_second_from_the_second_batch_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, taken = count(), []
    monkeypatch.setattr(loading_processes.time, "perf_counter", lambda: float(next(clock)))

    def batches() -> Any:
        for number in range(9):
            taken.append(number)
            yield number

    assert loading_processes._seconds(batches(), 4) == 1 / 4  # one tick of the clock for four batches
    assert taken == [0, 1, 2, 3, 4]
    files = photo_files((24, 32), 2)
    monkeypatch.setattr(loading_processes, "decoders", lambda: {"Pillow": loading_processes.decoders})
    asked: list[Any] = []

    def seconds(made: Any, number: int) -> float:
        asked.append(number)
        return {6: 0.5, 12: 0.25}[number]

    monkeypatch.setattr(loading_processes, "_seconds", seconds)
    table, numbers = loading_processes.processes_table(files, 3, 8, loading.CROP, (1, 2))
    assert asked == [6, 12, 6, 12] * 3  # both in turns
    ours, theirs = "mae_hydra (decode=reduced)", "DataLoader: Pillow + torchvision"
    assert numbers == {ours: {"1": 32.0, "2": 64.0}, theirs: {"1": 32.0, "2": 64.0}}
    assert cells(table) == [[ours, "32", "64"], [theirs, "32", "64"]]


def test_batches_of_photos_are_crops_of_ours_and_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    files = photo_files((60, 80), 3)
    plain = loading._plain(files)
    assert plain.shape == (3, 3, 224, 224)
    assert -2.2 < plain.min() < 0 < plain.max() < 2.7  # normalized by ImageNet's statistics
    batch: Any = loading._ours(files, decode="whole")()
    assert (batch.images.shape, batch.images.dtype) == ((3, 3, 224, 224), torch.uint8)
    looked: list[Any] = []
    monkeypatch.setattr(
        loading, "encoded_image",
        lambda file, channels, name: SimpleNamespace(
            shape=(1, 80, 160), cropped=lambda *told: looked.append((channels, *told))
        ),
    )  # fmt: skip
    loading._entropy(files)
    assert looked == [(1, (0, 0, 80, 160), (10, 20), "reduced")] * 3
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with loading.one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
    stored = Files([b"a", b"b"]).stored(1)
    assert (stored.name, stored.encoded) == ("1.jpg", b"b")


def test_a_measurement_of_loading_has_each_number_under_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    medians = {"mae_hydra (decode=reduced)": 0.5, "": 0.125}
    monkeypatch.setattr(
        loading, "alternate", lambda calls, **_: {name: Timing((medians.get(name, 2.0),)) for name in calls}
    )
    asked: list[int] = []
    for name in ("decoding_table", "processes_table"):
        monkeypatch.setattr(loading, name, lambda files, rounds, *_: (asked.append(rounds), (Table(), {}))[1])
    found = loading.loading((60, 80), images=4, rounds=5)
    files = photo_files((60, 80), 4)
    assert (found.numbers["size"], found.numbers["images"]) == ([60, 80], 4)
    assert found.numbers["bytes"] == sum(map(len, files)) / 4
    assert found.numbers["floor"] == {"name": "entropy decoding", "seconds": 0.125}
    assert asked == [5, 2]
    rows = cells(found.table)
    assert rows[0] == ["mae_hydra (decode=reduced)", "0.500", "0.500", "8.00", "1.00"]
    assert rows[-2:] == [
        ["PIL + torchvision", "2.000", "2.000", "2.00", "4.00"],
        ["lower bound: entropy decoding", "0.125", "", "32.00", "0.25"],
    ]

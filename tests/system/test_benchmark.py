"""`mae-hydra benchmark`, as it is typed: tables on the screen, numbers in a file."""

import json
import shutil
from pathlib import Path

import pytest
import starting
from conftest import TINY_MAE, TINY_UPERNET

from mae_hydra.benchmark.timing import Timing
from mae_hydra.commands import main


def benchmark(*words: str) -> dict:
    assert main(["benchmark", *words, "--out", "numbers.json"]) == 0
    return json.loads(Path("numbers.json").read_text())


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_parts_are_counted_without_building_anything(capsys):
    found = benchmark("parts", "model=upernet_vitb", "data=ade20k", "head.low_resolution_first=false")
    assert found["parts"][-1]["parameters"] == 163_877_228
    assert "1209.9" in capsys.readouterr().out


@pytest.mark.slow
def test_a_step_stands_beside_the_peer_of_its_task(capsys):
    found = benchmark("step", *TINY_MAE, "--rounds", "2")
    assert [len(timing["seconds"]) for timing in found["timings"].values()] == [2, 2, 2]
    assert found["peak_memory_bytes"] > 0
    said = " ".join(capsys.readouterr().out.split())  # a caption is folded where the line ends
    assert "Hugging Face ViTMAE" in said
    assert "2 alternating rounds" in said
    other = benchmark("step", "model=upernet_vitt", *TINY_UPERNET, "--rounds", "1")
    assert list(other["timings"])[:2] == ["mae_hydra", "plain UPerNet"]


@pytest.mark.slow
def test_a_picture_is_segmented_beside_the_loop_that_everyone_writes():
    found = benchmark("inference", "model=upernet_vitt", *TINY_UPERNET, "--size", "70", "150", "--rounds", "2")
    assert {"Slide", "window at a time"} <= set(found["timings"])  # and mmsegmentation, where it is installed
    assert found["agreeing_pixels"] > 0.99
    assert found["floor"]["seconds"] > 0
    several = benchmark(
        "inference", "model=upernet_vitt", *TINY_UPERNET, "inference=multiscale_flip", "--size", "70", "150",
        "--rounds", "1",
    )  # fmt: skip
    assert {"MultiscaleFlip", "window at a time"} <= set(several["timings"])
    assert several["agreeing_pixels"] > 0.99
    alone = benchmark(
        "inference", "model=upernet_vitt", *TINY_UPERNET, "--size", "70", "150", "--rounds", "1", "--alone"
    )
    assert list(alone["timings"]) == ["Slide"]


@pytest.mark.slow
def test_the_results_row_has_all_its_columns(train, capsys, trained_upernet):
    shutil.copytree(trained_upernet, "run")
    found = benchmark("results-row", "run", "--images", "3")
    assert {"fps", "mIoU", "mIoU(ms+flip)", "training_peak_memory_bytes", "machine"} <= found.keys()
    assert found["fps"] > 0
    said = capsys.readouterr().out
    for column in ("memory, GB", "fps", "mIoU(ms+flip)"):
        assert column in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["results-row"], "results-row needs a run or a checkpoint"),
        (["parts", "run"], "parts takes overrides only"),
        (["inference", "model=mae_vitt"], "this benchmark takes a UPerNet"),
        (["step", "--rounds", "0"], "--rounds must be at least 1"),
        (["step", "model=mae_vitx"], "model=mae_vitx does not exist"),
    ],
)
def test_a_mistake_is_one_sentence(capsys, words, message):
    assert main(["benchmark", *words]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said


@pytest.mark.slow
def test_every_command_of_start_up_runs(forked_children):
    """Forked, so that all that imports take is missing: `measure.py start-up` itself tells what they take."""
    found = starting.starting(rounds=1, warmup=0)
    seconds = {name: timing["median"] for name, timing in found.numbers["timings"].items()}
    assert seconds.keys() == {*starting.COMMANDS, *starting.FLOORS, "each further job of a sweep"}
    assert seconds["python alone"] < seconds[starting.SMOKE] < seconds[starting.SWEEP]


def test_a_further_job_of_a_sweep_is_half_of_what_two_more_take(monkeypatch):
    timings = dict.fromkeys([*starting.COMMANDS, *starting.FLOORS], Timing((1.0, 1.0)))
    timings |= {starting.SMOKE: Timing((8.0, 9.0)), starting.SWEEP: Timing((12.0, 15.0))}
    monkeypatch.setattr(starting, "alternate", lambda *_, **__: dict(timings))
    found = starting.starting(rounds=2).numbers["timings"]["each further job of a sweep"]
    assert found["seconds"] == [2.0, 3.0]

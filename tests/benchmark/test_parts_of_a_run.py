"""Every benchmark runs, on little, and its numbers hang together."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import growth
import kinds
import large
import measure
import pytest
import torch
from PIL import Image

from mae_hydra.benchmark import loading, verbs
from mae_hydra.benchmark.photos import Files, photo_files
from mae_hydra.benchmark.rates import matrix_rate, memory_rate
from mae_hydra.benchmark.results import Floor, gigabytes_column, in_rounds, timing_table
from mae_hydra.benchmark.timing import Timing
from mae_hydra.commands import main
from mae_hydra.figures import to_pixels
from mae_hydra.flops import training_flops

CPU = torch.device("cpu")


def test_a_table_compares_with_the_first_row() -> None:
    found = {"ours": Timing((2.0, 2.0, 4.0)), "theirs": Timing((6.0, 6.0, 6.0)), "bare": Timing((1.0,) * 3)}
    table = timing_table(
        "a", found, 8, "img/s", Floor("copying", 0.5), gigabytes_column("kept", {"ours": 10**9, "bare": None})
    )
    columns = {str(column.header): list(column.cells) for column in table.columns}
    assert columns == {
        "": ["ours", "theirs", "bare", "lower bound: copying"], "median s": ["2.000", "6.000", "1.000", "0.500"],
        "95 % s": ["3.800", "6.000", "1.000", ""], "img/s": ["4.00", "1.33", "8.00", "16.00"],
        "ratio": ["1.00", "3.00", "0.50", "0.25"],
        "kept, GB": ["1.00", "", "unknown", ""],
    }  # fmt: skip
    quick = timing_table("a", {"ours": Timing((0.1,)), "theirs": Timing((0.0999,))}, 1, "img/s")
    assert list(quick.columns[1].cells) == ["0.100", "0.09990"]
    assert [in_rounds(number) for number in (1, 2)] == ["one round", "medians of 2 alternating rounds"]


@pytest.mark.slow
def test_rates_of_the_machine_are_possible_ones() -> None:
    assert 1e8 < matrix_rate(CPU, torch.float32) < 1e15
    assert 1e8 < memory_rate(CPU) < 1e13


def test_made_photos_are_the_same_every_time_and_of_their_size() -> None:
    first, second = photo_files((60, 80), 2), photo_files((60, 80), 2)
    assert first == second
    assert first[0] != first[1]
    assert Files(first)[0].image.shape == (3, 60, 80)


@pytest.mark.slow
def test_loading_measures_every_form_on_the_same_photos() -> None:
    threads = torch.get_num_threads()
    found = loading.loading((300, 400), images=3, rounds=1)
    assert torch.get_num_threads() == threads
    assert set(found.numbers["timings"]) >= {"decode=crop", "decode=whole", loading.PLAIN}
    assert found.numbers["floor"]["seconds"] > 0
    assert {"torchvision", "Pillow"} <= set(found.numbers["decoding"])
    assert all(each["same_pixels"] > 0.999 for each in found.numbers["decoding"].values())
    ours, *others = found.numbers["processes"].values()
    assert [list(each) for each in (ours, *others)] == [["1", "2", "4"]] * (1 + len(found.numbers["decoding"]))
    assert loading._plain(photo_files((300, 400), 2)).shape == (2, 3, 224, 224)


def test_metrics_are_counted_alike_by_all() -> None:
    found = measure.metrics(["data.num_classes=20"], (50, 60), rounds=1)
    assert set(found.numbers["timings"]) == {"mae_hydra", "torchmetrics", "three histograms"}


@pytest.mark.slow
def test_a_checkpoint_is_written_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = measure.checkpoint(["model=mae_vitt"], rounds=1)
    assert found.numbers["bytes"] > 10**6
    assert len(found.numbers["timings"]) == 5
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_growth_is_drawn_over_what_operations_predict(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = growth.Key("mask ratio", "model.mask_ratio={:g}", (0.25, 0.75), ("model=mae_vitt", "data.batch_size=2"))
    monkeypatch.setattr(growth, "KEYS", (tiny,))
    monkeypatch.setattr(growth, "PHOTOS", 4)
    found, figure = growth.growths(rounds=1)
    flops = found.numbers["mask ratio"]["flops"]
    assert flops[0] > flops[1] > 0
    assert len(found.numbers["loading processes"]["images_a_second"]) == 4
    assert to_pixels(figure).std() > 0


@pytest.mark.slow
def test_operations_of_a_step_grow_with_what_is_seen() -> None:
    def flops(*words: str) -> float:
        config = verbs.composed(["model=mae_vitt", *words])
        _, model, batch = verbs.training_step(config, verbs.build(config.engine, "engine"))
        return training_flops(model, batch)

    assert flops("model.mask_ratio=0.25") > 1.2 * flops("model.mask_ratio=0.75")
    assert flops("data.batch_size=4") == flops("data.batch_size=8")


@pytest.mark.slow
def test_the_kinds_of_a_step_are_told_apart() -> None:
    """Attention is a kernel in fp32 and products in bf16; with parameters in bf16 fewer tensors are cast."""
    config = verbs.composed(["model=mae_vitt", "data.batch_size=2", "engine=cpu"])
    work, _, _ = verbs.training_step(config, verbs.build(config.engine, "engine"))
    counted = {}
    for precision in kinds.PRECISIONS:
        work.settings = replace(work.settings, precision=precision)
        counted[precision] = Counter(kind for kind, _ in kinds._operations(work))
    assert [found["fused attention"] > 0 for found in counted.values()] == [True, False, False]
    assert [found["softmax"] > 0 for found in counted.values()] == [False, True, True]
    assert counted["fp32"]["casts"] < counted["bf16_params"]["casts"] < counted["bf16"]["casts"]


def test_each_operation_counts_with_its_least_time() -> None:
    rounds = [[("casts", 1.0), ("casts", 9.0), ("softmax", 2.0)], [("casts", 5.0), ("casts", 2.0), ("softmax", 3.0)]]
    assert kinds._least(rounds) == {"casts": 3.0, "softmax": 2.0}


@pytest.mark.slow
def test_the_script_of_the_accelerator_runs_without_one(tmp_path: Path) -> None:
    import subprocess
    import sys

    root = Path(__file__).parents[2]
    script = [sys.executable, str(root / "benchmarks/gpu.py"), "--out", str(tmp_path / "gpu.json"), "--rounds", "1"]
    if not torch.cuda.is_available():
        refused = subprocess.run(script, capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert "--smoke" in refused.stderr
    done = subprocess.run([*script, "--smoke"], capture_output=True, text=True, check=True)
    assert "failed" not in done.stdout
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert len(found) > 10
    assert all(part["took_seconds"] > 0 for name, part in found.items() if name not in ("date", "machine"))


@pytest.mark.slow
def test_large_pictures_are_measured_in_processes_of_their_own() -> None:
    pytest.importorskip("rasterio")
    found = large.large({"probabilities": (0.1,), "predict": (0.1,)}).numbers
    assert list(found) == ["probabilities 0.1", "predict 0.1"]
    assert all(2e8 < each["peak_bytes"] < 4e9 for each in found.values())


def test_wrong_words_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in [
        (["loading", "model=mae_vitt"], "loading takes no overrides, got model=mae_vitt"),
        (["start-up"], "python benchmarks/measure.py start-up, in a clone of the repository"),
        (["loading", "--size", "0", "5"], "--size takes height and width in pixels"),
    ]:
        assert main(["benchmark", *words]) != 0
        assert message in capsys.readouterr().err


def test_the_figure_lies_beside_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from growth_figure import Growth
    from growth_figure import growth as draw

    from mae_hydra.benchmark.results import Measured

    drawn = draw([Growth("mask ratio", "ms", (0.1, 0.9), (2.0, 1.0), (2.1, 0.9))], title="Growth")
    empty = Measured(timing_table("a", {"b": Timing((1.0,))}, 1, "x"), {})
    monkeypatch.setattr(growth, "growths", lambda rounds, words: (empty, drawn))
    assert measure.main(["growth", "--out", str(tmp_path / "growth.json")]) == 0
    with Image.open(tmp_path / "growth.png") as figure:
        assert figure.width > 300

"""Which trainings the demo starts, from which weights, and what it makes of their results; nothing is trained."""

import json
from pathlib import Path
from typing import Any

import pytest

from mae_hydra.commands import demo, main
from mae_hydra.commands.demo import classify
from mae_hydra.commands.demo import report as demo_report
from mae_hydra.errors import UserError
from mae_hydra.launching import stages
from mae_hydra.owned import Owned


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, list[str]]]:
    """(run directory, words) of each training; its results are numbered."""
    monkeypatch.chdir(tmp_path)
    found: list[tuple[str, list[str]]] = []

    def run_apart(command: list[str]) -> tuple[int, str]:
        assert command[1:4] == ["-m", "mae_hydra", "train"]
        *words, place = command[4:]
        folder = Path(place.removeprefix("hydra.run.dir="))
        found.append((str(folder), words))
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps({"val/mIoU": len(found), "val/top1": 10.0 * len(found)}))
        return 0, ""

    monkeypatch.setattr(stages, "run_apart", run_apart)
    return found


def test_the_demo_pre_trains_and_segments_from_both_starts_with_each_seed(
    trained: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[tuple[Any, ...]] = []
    monkeypatch.setattr(demo_report, "write_report", lambda *given, seconds: reports.append((*given, seconds)))
    assert main(["demo", "--out", "d", "--seeds", "3,5", "x=1"]) == 0
    assert [place for place, _ in trained] == [
        f"d/seed{seed}/{folder}" for seed in (3, 5) for folder in ("pretrain", "pretrained", "scratch")
    ]
    assert [words for _, words in trained] == [
        [f"+experiment=demo_{name}", f"seed={seed}", "x=1", *more] for seed in (3, 5) for name, more in
        (("pretrain", []), ("transfer", [f"init_from=d/seed{seed}/pretrain"]), ("scratch", []))
    ]  # fmt: skip
    [(out, shown, rows, seconds)] = reports
    assert (out, shown) == (Path("d"), Path("d/seed3"))
    assert [(row["seed"], row["start"], row["val/mIoU"]) for row in rows] == [
        (3, "pre-trained", 2), (3, "from scratch", 3), (5, "pre-trained", 5), (5, "from scratch", 6)
    ]  # fmt: skip
    assert 0 <= seconds < 60
    assert main(["demo", "--out", "one", "--seeds", "4"]) == 0  # of one seed without a folder for it
    assert [place for place, _ in trained[6:]] == ["one/pretrain", "one/pretrained", "one/scratch"]
    assert reports[1][1] == Path("one")


@pytest.mark.parametrize(("code", "error"), [(75, KeyboardInterrupt), (130, KeyboardInterrupt), (1, UserError)])
def test_a_part_that_is_stopped_stops_the_demo_and_one_that_fails_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int, error: type[BaseException]
) -> None:
    monkeypatch.setattr(stages, "run_apart", lambda command: (code, ""))
    with pytest.raises(error):
        demo._train(Path("run"), ["seed=1"])
    assert capsys.readouterr().out == "      python train.py seed=1 hydra.run.dir=run\n"  # what a person would type


def test_what_the_demo_would_write_over_is_refused_before_it_trains(
    trained: list[tuple[str, list[str]]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = [f"figures/{name}.png" for name in ("reconstructions", "segmentations", "curves", "classes")]
    left = {
        "segment": ["results.json", "results.md", *figures],
        "classify": ["classification.json", "classification.md"],
    }
    for task, name in [(task, name) for task, names in left.items() for name in names]:
        place = Path(task, name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("mine")
        assert main(["demo", "--out", task, "--task", task]) == 1
        assert f"{place} is there, and it was not mae-hydra demo that wrote it" in capsys.readouterr().err
        place.unlink()
    assert main(["demo", "--seeds", "1,x"]) == 1
    assert "--seeds takes whole numbers with commas between them, got '1,x'" in capsys.readouterr().err
    assert trained == []
    for task, names in left.items():  # and those of the other task stay
        for name in {"segment": left["classify"], "classify": left["segment"]}[task]:
            Path(task, name).parent.mkdir(parents=True, exist_ok=True)
            Path(task, name).write_text("mine")
        monkeypatch.setattr(demo, "_train", lambda *given: 1 / 0)  # the first thing that is done
        with pytest.raises(ZeroDivisionError):
            main(["demo", "--out", task, "--task", task])
        owned = Owned(Path(task), "demo")
        assert [name for name in left["segment"] + left["classify"] if Path(task, name) in owned] == names


def test_classification_is_tried_in_every_way_from_both_starts_and_its_table_has_each_mean(
    trained: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated: list[tuple[Any, ...]] = []

    def evaluate(*given: Any) -> dict[str, float]:
        evaluated.append(given)
        return {"knn": 1.0 * len(evaluated), "linear": 100.0 + len(evaluated)}

    monkeypatch.setattr(classify, "evaluate", evaluate)
    assert main(["demo", "--out", "d", "--task", "classify", "--seeds", "0,1", "x=1"]) == 0
    first = trained[:7]
    assert [place for place, _ in first] == [
        "d/seed0/pretrain",
        *(f"d/seed0/pretrained/{way}" for way in ("probe", "partial", "finetune")),
        *(f"d/seed0/from_scratch/{way}" for way in ("probe", "partial", "finetune")),
    ]
    given = {place: words[3:] for place, words in first}
    assert {tuple(words[:3]) for _, words in first} == {
        (f"+experiment=demo_{name}", "seed=0", "x=1") for name in ("pretrain", "probe", "partial", "finetune")
    }
    assert [given[place] for place in given] == [
        [], *[["init_from=d/seed0/pretrain"]] * 3, [], [], ["optimizer.lr=2e-3"]
    ]  # fmt: skip
    assert evaluated[:2] == [(Path(f"d/seed0/{start}/probe"), ["evaluation=features"], None, "last") for start in
                             ("pretrained", "from_scratch")]  # fmt: skip
    # The trainings are numbered, ten percent each: 2 to 4 and 5 to 7 of the first seed, 9 to 14 of the second.
    expected = {"nearest neighbors": (1, 2), "linear, L-BFGS": (101, 102), "linear probe": (20, 50),
                "last block": (30, 60), "fine-tuning": (40, 70)}  # fmt: skip
    results = json.loads(Path("d/classification.json").read_text())
    assert results[0] == {way: {"pre-trained": one, "from scratch": two} for way, (one, two) in expected.items()}
    assert Path("d/classification.md").read_text().splitlines() == [
        "| ViT-Tiny, top-1 % | pre-trained | from scratch |", "| --- | ---: | ---: |",
        "| nearest neighbors | 2.0 ± 1.4 | 3.0 ± 1.4 |", "| linear, L-BFGS | 102.0 ± 1.4 | 103.0 ± 1.4 |",
        "| linear probe | 55.0 ± 49.5 | 85.0 ± 49.5 |", "| last block | 65.0 ± 49.5 | 95.0 ± 49.5 |",
        "| fine-tuning | 75.0 ± 49.5 | 105.0 ± 49.5 |",
    ]  # fmt: skip
    assert "512 labels, the same budget" in capsys.readouterr().out
    assert classify._cell([12.34]) == "12.3"


def test_the_demo_draws_the_same_pictures_of_both_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth, from scratch and pre-trained, in this order; each model is the one of its folder."""
    from types import SimpleNamespace

    import numpy as np
    import torch

    samples = [SimpleNamespace(image=torch.full((3, 4, 4), 9 * n, dtype=torch.uint8),
                               label=torch.full((4, 4), n, dtype=torch.uint8)) for n in range(8)]  # fmt: skip
    palette = np.array([[10 * n, 0, 0] for n in range(8)], np.uint8)
    data = SimpleNamespace(validation=samples, class_names=[f"c{n}" for n in range(8)], palette=palette)
    seen: dict[str, int] = {}

    def predict(model: str, images: list[torch.Tensor]) -> list[torch.Tensor]:
        seen[model] = len(images)
        return [torch.full((4, 4), 6 if model == "scratch" else 7, dtype=torch.uint8)] * len(images)

    parts = {"data": data, "inference": SimpleNamespace(predict=predict)}
    monkeypatch.setattr(demo_report, "read_checkpoint", lambda path: path)
    monkeypatch.setattr(demo_report, "recorded", lambda checkpoint: SimpleNamespace(config=SimpleNamespace(**parts)))
    monkeypatch.setattr(demo_report, "build", lambda part, name: part)
    monkeypatch.setattr(demo_report.entry, "load", lambda path: path.name)
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(demo_report, "sheet", lambda rows, **more: drawn.update(more, rows=rows))
    monkeypatch.setattr(demo_report, "overlay", lambda image, maps, *given, **more: int(maps.max()))
    demo_report._segmentations(tmp_path)
    assert seen == {"scratch": 6, "pretrained": 6}
    assert [row[1:] for row in drawn["rows"]] == [[n, 6, 7] for n in range(6)]
    assert [int(row[0].max()) for row in drawn["rows"]] == [9 * n for n in range(6)]
    assert drawn["columns"] == ["image", "ground truth", "from scratch", "pre-trained"]
    assert [entry.name for entry in drawn["legend"]] == [f"c{n}" for n in range(8)]
    data.validation = samples[:2]
    demo_report._segmentations(tmp_path)
    assert [row[1:] for row in drawn["rows"]] == [[0, 6, 7], [1, 6, 7]]

"""Whose numbers lie in the folder of an evaluation, and whether they are still those of the data."""

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from mae_hydra import atomic
from mae_hydra.configuration.changes import Change
from mae_hydra.errors import UserError
from mae_hydra.evaluation.mean_iou import Counts
from mae_hydra.evaluation.resumable_counts import Tally
from mae_hydra.experiment.provenance import sha256_of
from mae_hydra.weights.parts import OWN_AVERAGE
from mae_hydra.workflows import evaluate, evaluation_folder
from mae_hydra.workflows.evaluation_folder import Work, look_back
from mae_hydra.workflows.evaluation_plan import Plan, _fingerprint, default_folder, of_split

DATA: Any = SimpleNamespace(class_names=("sky", "tree"))


def plan(fingerprint: str = "a") -> Plan:
    nothing: Any = None
    return Plan(nothing, nothing, "", fingerprint, "")


def seen(*stamps: str) -> dict[str, Work]:
    return {"validation": Work(None, list(stamps))}


def complete(folder: Path) -> None:
    (folder / "results.json").write_text(json.dumps({"top1": 50.0, "folder": "where it was then"}))


def test_results_hold_for_the_files_they_were_found_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "found"
    folder.mkdir()
    (folder / f".results.json.00000000.{atomic._machine()}-4194304.partial").touch()  # of a process that is gone
    assert look_back(folder, plan(), seen("x 1", "y 1"), DATA) is None
    assert look_back(folder, plan(), seen("x 1", "y 1"), DATA) is None  # begun, and not complete
    complete(folder)
    assert look_back(folder, plan(), seen("x 1", "y 1"), DATA) == {
        "top1": 50.0,
        "folder": str(folder),
        "already_complete": True,
    }
    assert capsys.readouterr().out == ""
    for changed in (seen("x 1", "y 2"), seen("x 1"), seen("x 1", "y 1", "z 1")):
        complete(folder)
        assert look_back(folder, plan(), changed, DATA) is None
        assert not (folder / "results.json").exists()
        assert "the data have changed" in capsys.readouterr().out
    renamed: Any = SimpleNamespace(class_names=("sky", "bush"))
    complete(folder)
    assert look_back(folder, plan(), seen("x 1", "y 1", "z 1"), renamed) is None
    capsys.readouterr()
    for main, said in ((True, "one\ntwo\n"), (False, "")):
        monkeypatch.setattr(evaluation_folder, "is_main", lambda main=main: main)
        evaluation_folder.tell(["one", "two"])
        assert capsys.readouterr().out == said


def test_a_folder_of_something_else_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="is not empty and holds no evaluation"):
        look_back(tmp_path, plan(), seen("x 1"), DATA)
    (tmp_path / "fingerprint.json").write_bytes(b"\xff[")  # damaged
    with pytest.raises(UserError, match="is not empty and holds no evaluation"):
        look_back(tmp_path, plan(), seen("x 1"), DATA)
    look_back(tmp_path / "mine", plan("a"), seen("x 1"), DATA)
    complete(tmp_path / "mine")
    with pytest.raises(UserError, match="of other weights or other settings"):
        look_back(tmp_path / "mine", plan("b"), seen("x 1"), DATA)
    assert (tmp_path / "mine" / "results.json").exists()


def test_damaged_results_are_no_results(tmp_path: Path) -> None:
    look_back(tmp_path / "mine", plan(), seen("x 1"), DATA)
    for content in (b"[]", b"\xff", b'{"top1": 5'):
        (tmp_path / "mine" / "results.json").write_bytes(content)
        assert look_back(tmp_path / "mine", plan(), seen("x 1"), DATA) is None


def test_the_digest_of_a_folder_is_what_sha256sum_says_of_it(tmp_path: Path) -> None:
    for name, content in (("model.safetensors", b"weights"), ("config.json", b"{}"), (".cache", b"hidden")):
        (tmp_path / name).write_bytes(content)
    said = subprocess.run("sha256sum * | sha256sum", shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert sha256_of(tmp_path) == said.stdout.split()[0]
    assert sha256_of(tmp_path / "config.json") == hashlib.sha256(b"{}").hexdigest()


def test_a_fingerprint_changes_with_whatever_decides_the_numbers(tmp_path: Path) -> None:
    tree: Any = {
        "data": {"_target_": "mae_hydra.data.ade20k", "root": str(tmp_path), "num_workers": 1, "mean": [0.5]},
        "inference": {"_target_": "mae_hydra.inference.Slide", "crop": 64},
        "evaluation": {"validation": {"_target_": "mae_hydra.evaluation.MeanIoU", "limit": 3, "batch_size": 1}},
        "engine": {"precision": "fp32", "devices": 1},
    }

    def found(part: str = "", weights: str = "abc", split: Any = "validation", **changes: Any) -> str:
        made = {group: dict(node) for group, node in tree.items()}
        for key, value in changes.items():
            group, _, name = key.partition("__")
            made[group][name] = value
        return _fingerprint(made, weights, part, split)

    evaluator = tree["evaluation"]["validation"]
    tree_before, tree["data"] = dict(tree["data"]), dict(reversed(tree["data"].items()))
    reordered = found()  # of which nothing follows
    tree["data"] = tree_before
    same = [
        found(), reordered, found(OWN_AVERAGE), found(data__num_workers=2), found(engine__devices=4),
        found(data__root=str(tmp_path / "x" / "..")), found(evaluation__validation=evaluator | {"batch_size": 2}),
    ]  # fmt: skip
    assert len(set(same)) == 1
    others = [
        found("ema"), found("other"), found(split="test"), found(split="train"), found(weights="abd"),
        found(data__root=str(tmp_path / "x")),
        found(data__mean=[0.6]), found(inference__crop=32), found(engine__precision="bf16"),
        found(evaluation__validation=evaluator | {"limit": 4}), found(evaluation__more=evaluator),
    ]  # fmt: skip
    assert len({*same, *others}) == 1 + len(others)


def test_of_another_split_nothing_holds_that_was_known_of_the_validation() -> None:
    @dataclass(frozen=True)
    class Data:
        train: str = "of training"
        validation: str = "of validation"
        test: Any = None
        present_classes: Any = (0, 1)
        grouped: bool = True

    def of(split: str, data: Data) -> Any:
        config = OmegaConf.create({"data": {"_target_": "mae_hydra.data.ade20k"}})
        return of_split(data, SimpleNamespace(split=split, config=config))  # type: ignore[arg-type]

    data = Data(test=lambda: "of test")
    assert of("validation", data) is data
    for split in ("train", "test"):
        found = of(split, data)
        words = f"of {'training' if split == 'train' else 'test'}"
        assert (found.validation, found.present_classes, found.grouped) == (words, None, False)
    with pytest.raises(UserError, match="split=test: ade20k has no test split"):
        of("test", Data())


def test_images_that_were_counted_are_not_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[int], int]] = []
    streams: list[tuple[int, ...]] = []

    def predicted(stream: Any, evaluator: Any, model: Any, share: int) -> Any:
        asked.append((list(stream.indices), share))
        streams.append((stream.rank, stream.world_size, stream.batch_size, stream.num_workers))
        return ((index, SimpleNamespace(name=f"{index}.png"), index) for index in stream.indices)

    finished: list[int] = []
    finish = Tally.finish
    monkeypatch.setattr(Tally, "finish", lambda self: finished.append(1) or finish(self))
    monkeypatch.setattr(evaluate, "EvalStream", lambda images, _, **told: SimpleNamespace(**told))
    monkeypatch.setattr(evaluate, "_predicted", predicted)
    counts = SimpleNamespace(count=lambda prediction, sample: Counts(torch.full((2, 2), prediction), None))
    node: Any = SimpleNamespace(batch_size=3, num_workers=4)
    data: Any = SimpleNamespace(num_classes=2, validation=())
    for numbers, missing in (({"x": 3, "y": 5}, [3, 5]), ({"x": 3, "y": 5, "z": 7}, [7]), ({"x": 3}, [])):
        assert evaluate._count_images(node, data, counts, None, numbers, tmp_path) == len(missing)
        assert asked.pop() == (missing, len(missing))
        assert finished.pop()  # what the disk has not taken is said
    monkeypatch.setattr(evaluate, "rank", lambda: 1)
    monkeypatch.setattr(evaluate, "world_size", lambda: 2)
    assert (
        evaluate._count_images(node, data, counts, None, dict(zip("abcde", range(5), strict=True)), tmp_path / "o") == 5
    )
    assert asked.pop() == ([0, 1, 2, 3, 4], 2)  # the bar goes to the share of this process
    assert (streams[0], streams[-1]) == ((0, 1, 3, 4), (1, 2, 3, 4))
    entries = [(each.stamp, each.name, each.confusions[0, 0].item()) for each in Tally(tmp_path, 0, 2).entries()]
    assert sorted(entries) == [("x", "3.png", 3), ("y", "5.png", 5), ("z", "7.png", 7)]


def test_results_lie_beside_the_run_or_below_the_output_root() -> None:
    config = OmegaConf.create({"paths": {"output_root": "out"}})

    def of(path: str) -> Path:
        checkpoint: Any = SimpleNamespace(path=Path(path))
        return default_folder(Plan(checkpoint, config, "", "abc", "slide-abc"))

    assert of("runs/mine/checkpoints/best.pt") == Path("runs/mine/evaluations/slide-abc")
    assert of("weights/vit.pth") == Path("out/evaluations/vit-slide-abc")


def test_stamps_are_of_all_images_and_a_limit_is_told_where_it_left_some_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_folder, "stamp_of", lambda images, index: f"{images}{index}")
    data: Any = SimpleNamespace(train="ab", validation="cde")
    assert evaluation_folder._all_stamps(data) == ["ab0", "ab1", "cde0", "cde1", "cde2"]
    told: Any = SimpleNamespace(notes=["first"], lifted={"evaluation.a.limit": 2, "evaluation.b.limit": 3})
    said = evaluate._notes(told, data)
    assert said == ["first", "all 3 images are evaluated; evaluation.a.limit=2 was the training's"]


def test_the_protocol_has_memory_in_bytes_and_each_fact_under_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    used = SimpleNamespace(ru_maxrss=7)
    monkeypatch.setattr(evaluate, "resource", SimpleNamespace(getrusage=lambda who: used, RUSAGE_SELF=0))
    monkeypatch.setattr(evaluate, "environment", lambda: "here")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = OmegaConf.create({name: {"a": name} for name in ("inference", "data", "evaluation")})
    checkpoint: Any = SimpleNamespace(path=Path("none.pt"), name="", revision="", layout="ours", meta={"step": 4})
    changes = {"data.root": Change("a", "b")}
    plan = Plan(checkpoint, config, "123", "abc", "", changes, ["one"], split="test")
    monkeypatch.setattr(evaluate, "world_size", lambda: 3)
    data: Any = SimpleNamespace(class_names=("a",), validation=range(9))
    settings: Any = SimpleNamespace(resolved_precision="bf16")
    found = evaluate._protocol(plan, data, seen("x 1"), settings, 2.0, 6)
    assert found == {
        "checkpoint": "none.pt", "sha256": "123", "sha256_of": "the file", "layout": "ours", "step": 4,
        "fingerprint": "abc", "differs_from_training": {"data.root": {"now": "a", "training": "b"}},
        "notes": ["one"], "inference": {"a": "inference"},
        "data": {"a": "data"}, "data_sha256": evaluation_folder.data_digest(seen("x 1"), data), "split": "test",
        "validation_images": 9, "evaluation": {"a": "evaluation"}, "precision": "bf16", "processes": 3,
        "images_counted": 6, "seconds": 2.0, "images_per_second": 3.0,
        "peak_memory_bytes": {"host": 7 * 1024, "accelerator": None}, "environment": "here",
    }  # fmt: skip
    checkpoint.name, checkpoint.revision, checkpoint.path = "hf-hub:a/b", "c1", Path()
    more = evaluate._protocol(plan, data, seen("x 1"), settings, 0.0, 6)
    assert (more["name"], more["revision"], more["images_per_second"]) == ("hf-hub:a/b", "c1", None)
    assert more["sha256_of"].startswith("(cd checkpoint; sha256sum")
    checkpoint.meta["step"] = 0
    assert evaluate._protocol(plan, data, seen("x 1"), settings, 0.0, 6)["step"] == 0


def test_each_evaluator_stands_on_its_own_files_and_the_training_images_are_judged_by_none_that_compares_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class OfFiles:
        def stamps(self) -> list[str]:
            return ["of its own"]

    made: dict[str, Any] = {"evaluation.a": OfFiles(), "evaluation.b": SimpleNamespace(bank=1), "inference": "way"}
    monkeypatch.setattr(evaluation_folder, "_all_stamps", lambda data: ["of all"])
    monkeypatch.setattr(evaluation_folder, "nodes_of", lambda config, group: dict.fromkeys("ab"))
    given: list[Any] = []
    monkeypatch.setattr(
        evaluation_folder, "complete",
        lambda key, built, *, data, inference: given.append((key, data is DATA, inference)) or built,
    )  # fmt: skip
    shared: list[Any] = []
    monkeypatch.setattr(evaluation_folder, "broadcast_object", lambda stamps: shared.append(stamps) or stamps)
    for split in ("validation", "test", "train"):
        plan: Any = SimpleNamespace(config=None, split=split, build=made.__getitem__)
        if split == "train":
            with pytest.raises(UserError, match=r"split=train: evaluation\.b compares other images with those"):
                evaluation_folder.work_on(plan, DATA)
        else:
            work = evaluation_folder.work_on(plan, DATA)
            assert {name: each.stamps for name, each in work.items()} == {"a": ["of its own"], "b": ["of all"]}
            assert given == [("evaluation.a", True, "way"), ("evaluation.b", True, "way")]
            assert shared == [["of its own"], ["of all"]]
            given.clear()
            shared.clear()

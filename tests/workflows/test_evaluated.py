"""One evaluation and several beside each other: what each evaluator is asked, and where its numbers lie."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from mae_hydra.types import Evaluation
from mae_hydra.weights import Checkpoint
from mae_hydra.workflows import evaluate
from mae_hydra.workflows.evaluation_folder import Work
from mae_hydra.workflows.evaluation_plan import Plan
from mae_hydra.workflows.evaluation_report import EvaluationReport


class Whole:
    """An evaluator that runs over everything at once."""

    def __init__(self, judges: str | None, value: float) -> None:
        self.judges, self.value = judges, value
        self.asked: list[Any] = []

        self.held_out = SimpleNamespace(indices=[4, 6], watch=None)

    def check(self, model: Any) -> None:
        self.asked.append("check")

    def run(self, model: Any, step: int) -> Evaluation:
        self.asked.append(step)
        return Evaluation({"score": self.value}, {})


class Singly(Whole):
    """An evaluator that counts image by image."""

    counts_confusions = True


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, list[Any]]:
    made: dict[str, list[Any]] = {"matched": [], "doubts": [], "counted": [], "written": []}
    monkeypatch.setattr(evaluate, "match_classes", lambda model, checkpoint, data: made["matched"].append(checkpoint))
    monkeypatch.setattr(evaluate, "say_doubts", lambda data, training: made["doubts"].append(training))
    monkeypatch.setattr(
        evaluate, "_count_images",
        lambda node, data, evaluator, model, numbers, folder: made["counted"].append((numbers, folder)) or 1,
    )  # fmt: skip
    monkeypatch.setattr(evaluate, "Tally", lambda folder, rank, classes: (folder, rank, classes))
    monkeypatch.setattr(
        EvaluationReport, "of_tally",
        classmethod(lambda cls, tally, data, numbers: cls({"mIoU": 50.0}, images=[None] * 2)),
    )  # fmt: skip
    monkeypatch.setattr(
        evaluate, "write_report", lambda report, data, evaluator, model, place: made["written"].append(place)
    )
    monkeypatch.setattr(evaluate, "_protocol", lambda plan, data, work, settings, seconds, counted: counted)
    return made


def evaluated(folder: Path, model: Any, work: dict[str, Any], **nodes: Any) -> dict[str, Any]:
    config = OmegaConf.create({"evaluation": {name: nodes.get(name, {}) for name in work}, "seed": 3})
    plan = Plan(Checkpoint({}, {"step": 7}, "", Path("a.pt")), config, "", "", "")
    data: Any = SimpleNamespace(validation=range(9), num_classes=2)
    given = {name: Work(evaluator, ["x", "y"]) for name, evaluator in work.items()}
    settings: Any = None
    folder.mkdir()
    found = evaluate._evaluate(plan, data, model, given, settings, folder)
    assert json.loads((folder / "results.json").read_text()) == found
    assert yaml.safe_load((folder / "config.yaml").read_text()) == OmegaConf.to_container(config)
    return found


def test_one_evaluation_has_its_numbers_by_their_own_names(done: dict[str, list[Any]], tmp_path: Path) -> None:
    segmenter: Any = SimpleNamespace(answers="pixels")
    evaluator = Singly("pixels", 1.0)
    assert evaluated(tmp_path / "a", segmenter, {"val": evaluator}) == {
        "mIoU": 50.0, "images": 2, "protocol": 1, "folder": str(tmp_path / "a"),
    }  # fmt: skip
    assert evaluator.asked == ["check"]
    assert done["counted"] == [({"x": 4, "y": 6}, tmp_path / "a/counts")]
    assert (done["written"], done["doubts"], len(done["matched"])) == ([tmp_path / "a"], [False], 1)
    for limit, images in ((None, 9), (4, 4), (20, 9)):
        whole = Whole("images", 2.0)
        found = evaluated(
            tmp_path / f"b{limit}", SimpleNamespace(answers="images"), {"val": whole}, val={"limit": limit}
        )
        assert (found["score"], found["images"], found["protocol"], whole.asked) == (2.0, images, images, ["check", 7])
        assert whole.held_out.watch is evaluate._with_a_bar
    assert done["doubts"] == [False]  # of class maps alone
    batches: list[Any] = [[1, 2], [3]]
    assert list(evaluate._with_a_bar(batches, 3)) == batches


def test_several_evaluations_have_their_names_before_their_numbers(done: dict[str, list[Any]], tmp_path: Path) -> None:
    work = {"one": Whole(None, 1.0), "two": Singly("pixels", 0.0), "three": Whole(None, 3.0)}
    found = evaluated(tmp_path / "a", SimpleNamespace(answers="pixels"), work)
    scores = {name: value for name, value in found.items() if isinstance(value, float)}
    assert scores == {"one/score": 1.0, "two/mIoU": 50.0, "three/score": 3.0}
    assert done["written"] == [tmp_path / "a" / name for name in work]
    assert found["folder"] == str(tmp_path / "a")


@pytest.mark.parametrize(
    ("answers", "judges", "matched"),
    [
        ("pixels", "pixels", 1), ("images", "images", 1), ("pixels", "images", 0), ("reconstruction", "pixels", 0),
        (None, "images", 1), (None, None, 0), ("mine", "mine", 0),
    ],
)  # fmt: skip
def test_names_of_classes_are_matched_where_the_evaluator_judges_what_the_model_answers(
    done: dict[str, list[Any]], tmp_path: Path, answers: str | None, judges: str | None, matched: int
) -> None:
    model: Any = SimpleNamespace() if answers is None else SimpleNamespace(answers=answers)
    evaluated(tmp_path / "a", model, {"val": Whole(judges, 1.0)})
    assert len(done["matched"]) == matched


def test_the_words_for_the_model_reach_it_where_the_file_does_not_tell_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []
    settings = SimpleNamespace(
        check_world=lambda world: asked.append(world), apply=lambda: asked.append("applied"),
        torch_device=torch.device("cpu"), autocast=lambda: nullcontext(entered.append(torch.is_grad_enabled())),
    )  # fmt: skip
    entered: list[bool] = []
    told: list[list[str]] = []
    data = SimpleNamespace(notes=["of the data", "another"], validation=range(3))
    meta: dict[str, Any] = {}
    plan = SimpleNamespace(
        checkpoint=Checkpoint({}, meta, "", Path("a.pt")), changes={"a": "b (training: c)", "d": "e"}, notes=["noted"],
        lifted={"evaluation.val.limit": 2},
        build=lambda key: settings if key == "engine" else data,
    )  # fmt: skip
    model = torch.nn.Identity()
    monkeypatch.setattr(evaluate, "tell", told.append)
    monkeypatch.setattr(evaluate, "plan_evaluation", lambda *told: asked.append(told) or plan)
    for name in ("of_split", "named_by"):
        monkeypatch.setattr(evaluate, name, lambda first, second, name=name: data)
    monkeypatch.setattr(evaluate, "work_on", lambda plan, data: {})
    monkeypatch.setattr(evaluate, "look_back", lambda folder, plan, work, data: meta.get("finished"))
    monkeypatch.setattr(evaluate.entry, "model_from", lambda checkpoint, *words: asked.append(words) or model)
    monkeypatch.setattr(evaluate, "_evaluate", lambda plan, data, model, work, settings, folder: {"folder": folder})
    words = ["~model.flavour", "~backbone.x", "~head.y", "data.mean=[1]", "data.std=[2]", "data.image_size=8", "seed=1"]
    assert evaluate.evaluate("run", words, tmp_path, "last", [Path("own")]) == {"folder": tmp_path}
    assert asked == [("run", words, "last", [Path("own")]), 1, "applied", tuple(words[:6])]
    assert (entered, capsys.readouterr().out) == ([False], "of the data\nanother\n")
    lifted = "all 3 images are evaluated; evaluation.val.limit=2 was the training's"
    assert told == [["evaluating a.pt", "noted", lifted, "a is b (training: c)", "d is e"]]
    meta["config"], meta["step"], data.notes = {"model": {}}, 0, []
    evaluate.evaluate("run", words, tmp_path)
    assert asked[-4:] == [("run", words, "best", ()), 1, "applied", tuple(words[:3])]
    assert (told[-1][0], capsys.readouterr().out) == ("evaluating a.pt, step 0", "")
    data.notes = ["of the data"]
    monkeypatch.setattr(evaluate, "is_main", lambda: False)
    evaluate.evaluate("run", words, tmp_path)
    assert capsys.readouterr().out == ""
    meta["finished"] = {"already": True}
    asked.clear()
    assert evaluate.evaluate("run", words, tmp_path) == {"already": True}
    assert len(asked) == 3  # nothing is built for what is complete

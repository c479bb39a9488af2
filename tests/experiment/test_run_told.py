"""What a training begins with, writes down and says of itself; nothing is trained here."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from mae_hydra import products
from mae_hydra.engine import Cut
from mae_hydra.errors import UserError
from mae_hydra.experiment import run as module
from mae_hydra.experiment.holder import Refused
from mae_hydra.experiment.run import _compare_images, _introduce, _record_start, _train
from mae_hydra.experiment.same_run import Trained
from mae_hydra.experiment.status import Ending
from mae_hydra.weights import Checkpoint

FACTS: dict[str, Any] = {
    "root": "/a", "classes": ["sky", "wall"], "range": [[0, 9]], "train": {"images": 4, "contents": "x"},
    "validation": {"images": 2, "contents": "y"},
}  # fmt: skip
CONFIG = {"task": "segment", "seed": 5, "inference": {"mode": "slide"}}


def config(**told: Any) -> DictConfig:
    usual = {"name": "mine", "task": "segment", "resume": "auto", "resume_data": None, "seed": 5}
    return OmegaConf.create(usual | {"checkpoint": {"monitor": "val/mIoU"}, "data": {"root": None}} | told)


@pytest.mark.parametrize(
    ("told", "now", "plain", "outcome"),
    [
        ({}, {}, {}, (False, "")),
        ({}, {}, {"inference": {"mode": "whole"}}, (True, "")),  # which job.py tells with its keys
        ({}, {"validation": {"images": 3, "contents": "z"}}, {}, (True, "; best.pt is chosen anew from here on")),
        ({}, {"root": "/b"}, {}, (False, "goes on with the same images in /b\n")),
        ({"resume_data": "changed"}, {"train": {"images": 5, "contents": "z"}}, {}, (False, "with other training")),
        ({"resume_data": "same"}, {"train": {"images": 5, "contents": "z"}}, {}, "resume_data=changed"),
        ({}, {"train": {"images": 5, "contents": "z"}}, {}, "resume_data=changed"),
        ({}, {"classes": ["wall", "sky"]}, {}, "class 0 was sky and is wall now"),
        ({"task": "classify"}, {"classes": ["wall", "sky"]}, {}, "class 0 was sky"),
        ({"task": "pretrain"}, {"classes": ["wall", "sky"]}, {}, (False, "")),  # which knows no classes
        ({}, {"range": [[0, 8]]}, {}, r"\[\[0, 9\]\] as black and white"),
    ],
)  # fmt: skip
def test_images_are_compared_with_those_that_were_trained_on(
    capsys: pytest.CaptureFixture[str], told: dict, now: dict, plain: dict, outcome: Any
) -> None:
    trained = Trained(CONFIG, FACTS)
    if isinstance(outcome, str):
        with pytest.raises(Refused, match=outcome):
            _compare_images(config(**told), CONFIG | plain, Path("run"), trained, FACTS | now)
        return
    chosen_anew, said = outcome
    assert _compare_images(config(**told), CONFIG | plain, Path("run"), trained, FACTS | now) is chosen_anew
    printed = capsys.readouterr().out
    assert said in printed
    assert bool(printed) == bool(said)
    assert ("best.pt" in printed) == ("best.pt" in said)


def test_a_start_is_written_down_with_where_it_began_from_and_the_step(tmp_path: Path) -> None:
    """A run that goes on keeps the file that it began from."""
    weights = tmp_path / "a.pt"
    weights.write_bytes(b"weights")
    run, data = tmp_path / "run", SimpleNamespace(train=[1, 2], validation=[3], pixel_range=None)
    run.mkdir()
    settings = SimpleNamespace(torch_device=torch.device("cpu"))
    for step, started, given in ((0, False, Checkpoint({}, {"step": 7}, "", weights)), (9, True, None)):
        built = SimpleNamespace(started=started, given=given, state=SimpleNamespace(step=step))
        facts = json.loads(json.dumps(FACTS)) | {"precision": "bf16", "steps_per_epoch": 2.5, "class_weights": [1.0]}
        origin = _record_start(config(), run, data, settings, built, facts)  # type: ignore[arg-type]
        assert origin["seed"] == 5
        assert origin["parent"]["step"] == 7
        assert origin["parent"]["path"] == str(weights)
        told = FACTS | {"precision": "bf16", "steps_per_epoch": 2.5, "class_weights": [1.0]}
        told |= {"train": FACTS["train"] | {"images": 2, "listing": "embedded"}}
        told |= {"validation": FACTS["validation"] | {"images": 1, "listing": "embedded"}}
        assert origin["data"] == json.loads((run / "data.json").read_text()) == told
    starts = [json.loads(line) for line in (run / "starts.jsonl").read_text().splitlines()]
    assert [(line["step"], line["data"]["precision"], line["data"]["train"]["images"]) for line in starts] == [
        (0, "bf16", 2), (9, "bf16", 2),
    ]  # fmt: skip
    fresh = SimpleNamespace(started=False, given=None, state=SimpleNamespace(step=0))
    assert _record_start(config(), run, data, settings, fresh, json.loads(json.dumps(FACTS)))["parent"] is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cut", "start", "said"),
    [
        (Cut(8, 1, 1), 0, "9 steps of 8 images"),
        (Cut(2, 4, 1), 0, "9 steps of 8 images (micro-batches of 2, 1 processes)"),
        (Cut(4, 1, 2), 3, "9 steps of 8 images (micro-batches of 4, 2 processes), from step 3"),
    ],
)
def test_a_run_says_what_is_about_to_happen(
    capsys: pytest.CaptureFixture[str], cut: Cut, start: int, said: str
) -> None:
    settings: Any = SimpleNamespace(torch_device="cpu", resolved_precision="bf16", global_batch=8)
    data: Any = SimpleNamespace(train=[0] * 5, validation=[0] * 3, image_size=(64, 96))
    model = torch.nn.ParameterList([torch.empty(1000, 280), torch.empty(1000, 1000)])
    model[1].requires_grad_(False)  # frozen ones and fixed positions count, buffers do not
    model.register_buffer("mean", torch.empty(500, 1000))
    _introduce("mine", model, data, settings, cut, 9, start, Path("outputs/run"))
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == "mine: 1.3 M parameters on cpu in bf16; 5 training and 3 validation images, 64x96"
    assert second == said
    assert third.endswith("outputs/run")


class Told:
    """What `_train` asks of its parts; `asked`: what it gave them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, trained: Trained | None, *, step: int = 4) -> None:
        self.asked: dict[str, Any] = {}
        self.state = SimpleNamespace(
            optimizer=None, model=torch.nn.Module(), step=step, callbacks=SimpleNamespace(given_up=False, ended="x")
        )
        self.checkpoints = SimpleNamespace(best={"value": 1.0}, restore=lambda state: self.asked.update(restored=state))
        settings = SimpleNamespace(precision="settled", resolved_precision="bf16", torch_device=torch.device("cpu"))
        self.built = SimpleNamespace(
            settings=settings, stream=SimpleNamespace(steps_per_epoch=7.0), class_weights=[3.0], started=True,
            doubt=None, state=self.state, schedule=SimpleNamespace(steps=4), checkpoints=self.checkpoints, cut=None,
            forward=None, evaluators={},
        )  # fmt: skip
        self.files = SimpleNamespace(missing="")
        data: Any = SimpleNamespace(
            class_names=("sky", "wall"), pixel_range=None, palette=torch.eye(2), train=[0] * 4, validation=[0] * 2
        )
        self.data, self.settings = data, SimpleNamespace(resolved_precision="of the device", precision="auto")
        patch = monkeypatch.setattr
        patch(module, "what_was_trained", lambda run_dir: trained)
        patch(module, "assemble", lambda *told, **named: self.asked.update(named) or self.built)
        patch(module, "warn", lambda lines, word: self.asked.update(warned=(lines, word)))
        patch(module, "describe_groups", lambda optimizer: ["of matrices", "of vectors"])
        patch(module, "_trackers", lambda *told: "trackers")
        patch(module, "LocalFiles", lambda: self.files)
        patch(module, "_introduce", lambda *told: self.asked.update(introduced=told))
        patch(module, "_record_start", lambda *told: self.asked.update(facts=told[-1]) or {})
        patch(
            module, "fit", lambda *told, **named: self.asked.update(parts=told, fitted=named) or {"val/mIoU": 31.0,
                                                                                                 "val/loss": 1.0}
        )  # fmt: skip

    def train(self, run_dir: Path, plain: Any = None, start: Any = None, **told: Any) -> Ending:
        return _train(config(**told), plain or CONFIG, run_dir, self.data, self.settings, start)  # type: ignore[arg-type]


def recorded(**told: Any) -> dict[str, Any]:
    return {"classes": ["sky", "wall"], "train": {"images": 4}, "validation": {"images": 2}} | told


def test_a_run_goes_on_with_the_length_of_an_epoch_the_class_weights_and_the_precision_with_which_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {"steps_per_epoch": 2.5, "class_weights": [1.0, 2.0], "precision": "fp32"}
    told = Told(monkeypatch, Trained(CONFIG, recorded(**kept)))
    assert told.train(tmp_path) == Ending(31.0)
    assert {name: told.asked[name] for name in kept} == kept
    written = {name: told.asked["facts"][name] for name in (*kept, "classes", "range")}
    assert written == {
        "steps_per_epoch": 2.5, "class_weights": [3.0], "precision": "settled", "classes": ["sky", "wall"],
        "range": None,
    }  # fmt: skip
    assert told.asked["restored"] is told.state
    assert told.asked["fitted"]["seed"] == 5
    assert told.asked["fitted"]["meta"] == {"class_names": ["sky", "wall"], "palette": [[1, 0], [0, 1]], "origin": {}}
    assert told.checkpoints.best == {"value": 1.0}
    older = Told(monkeypatch, Trained(CONFIG, recorded()))  # whose record does not tell of its precision
    older.train(tmp_path)
    assert [older.asked[name] for name in kept] == [None, None, "of the device"]
    untold = Told(monkeypatch, Trained(CONFIG, None))
    untold.train(tmp_path)
    assert [untold.asked[name] for name in kept] == [None, None, "of the device"]
    fresh = Told(monkeypatch, None)
    fresh.built.started = False
    fresh.data.pixel_range = SimpleNamespace(pairs=lambda: [[0, 9]])
    fresh.train(tmp_path)
    assert fresh.asked["facts"]["range"] == [[0, 9]]
    assert [fresh.asked[name] for name in kept] == [None, None, None]
    assert fresh.asked["facts"]["steps_per_epoch"] == 7.0
    assert "restored" not in fresh.asked
    anew = Told(monkeypatch, Trained(CONFIG, recorded(train={"images": 9}, **kept)))  # it would be refused
    anew.train(tmp_path, resume="never")
    assert [anew.asked[name] for name in kept] == [None, None, None]


def test_only_a_run_that_begins_is_told_of_another_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(module, "note_of", lambda *told: given.append((told[:4], len(list(told[4])))) or [])
    for started in (True, False):
        told = Told(monkeypatch, None)
        told.state.model = torch.nn.Linear(2, 2)
        told.built.started = started
        told.train(tmp_path)
    asked = ("auto", "settled", "cpu", "engine.precision=")
    assert given == [(asked, 0), (asked, 2)]


@pytest.mark.parametrize("faster", products.LIBRARIES)
def test_products_are_made_by_the_library_of_the_first_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faster: str
) -> None:
    """Another one rounds in another way, and a run goes on bit for bit."""
    for trained, expected in (
        (None, faster),
        (Trained(CONFIG, recorded(products="onednn")), "onednn"),
        (Trained(CONFIG, recorded(products="torch")), "torch"),
        (Trained(CONFIG, recorded()), "torch"),  # from before oneDNN was taken
        (Trained(CONFIG, None), "torch"),
    ):  # fmt: skip
        products.take(faster)  # as the settings of the process are applied
        told = Told(monkeypatch, trained)
        told.train(tmp_path)
        assert (products.taken(), told.asked["facts"]["products"]) == (expected, expected)


@pytest.mark.parametrize(("validation", "mode", "best"), [(2, "slide", 1.0), (3, "slide", None), (2, "whole", None)])
def test_scores_of_other_images_or_made_in_another_way_choose_the_best_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validation: int, mode: str, best: float | None
) -> None:
    told = Told(monkeypatch, Trained(CONFIG, recorded(validation={"images": validation})))
    told.train(tmp_path, CONFIG | {"inference": {"mode": mode}})
    assert (told.checkpoints.best and told.checkpoints.best["value"]) == best


def test_how_a_training_ended_is_told_with_its_last_step_and_the_score_it_is_judged_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mae_hydra.precision.bf16_gain", lambda: 0.5)
    monkeypatch.setattr("mae_hydra.precision.has_matrix_units", lambda: False)
    endings = []
    for step, given_up in ((4, True), (3, False), (3, True)):
        told = Told(monkeypatch, None, step=step)
        told.state.callbacks = SimpleNamespace(given_up=given_up, ended="no better" if step < 4 else "")
        endings.append(told.train(tmp_path, checkpoint={"monitor": "val/loss"}))
    assert endings == [
        Ending(1.0), Ending(1.0, "ended after step 3 of 4: no better"),
        Ending(1.0, "pruned at step 3 of 4: no better", True),
    ]  # fmt: skip
    first, *said = capsys.readouterr().out.splitlines()
    assert first.startswith("computes in settled, ")  # "auto" of a processor stands for something that surprises
    assert said == [first, "ended after step 3 of 4: no better", first, "pruned at step 3 of 4: no better"]
    assert math.isnan(Told(monkeypatch, None).train(tmp_path, checkpoint={"monitor": "val/none"}).value)
    for step in (4, 3):
        told = Told(monkeypatch, None, step=step)
        told.files.missing = "results.json is not"
        with pytest.raises(UserError, match=r"trained to the end, but results\.json is not"):
            told.train(tmp_path)


def test_a_training_is_given_its_own_parts_and_tells_what_it_is_before_its_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told(monkeypatch, None, step=3)
    told.built.forward, told.built.cut, told.built.evaluators = "forward", "cut", {"v": "evaluator"}
    told.built.doubt = "few images"
    told.state.model = "model"
    order: list[Any] = []
    start: Any = SimpleNamespace(write=order.append)
    record = module._record_start
    monkeypatch.setattr(module, "_record_start", lambda *parts: order.append("record") or record(*parts))
    with caplog.at_level("INFO", logger="mae_hydra"):
        told.train(tmp_path, start=start)
    assert order == [tmp_path, "record"]  # whose files the record reads
    assert told.asked["download"] is True  # a person has typed where it begins
    assert told.asked["introduced"] == (
        "mine", "model", told.data, told.built.settings, "cut", 4, 3, tmp_path,
    )  # fmt: skip
    assert told.asked["warned"] == (["few images"], "note")
    parts = (told.state, "forward", told.built.stream, told.built.schedule, {"v": "evaluator"}, told.checkpoints)
    assert told.asked["parts"] == (*parts, "trackers", told.built.settings)
    fitted = told.asked["fitted"]
    assert (fitted["cut"], fitted["run_dir"], fitted["config"]) == ("cut", tmp_path, CONFIG)
    groups = [record.getMessage() for record in caplog.records if "group" in record.getMessage()]
    assert groups == ["parameter group of matrices", "parameter group of vectors"]


def test_what_the_main_process_finds_holds_in_every_process_and_is_said_by_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found: list[Any] = [(None, "other validation images", True), ("another run", "", False)]
    monkeypatch.setattr(module, "is_main", lambda: False)
    monkeypatch.setattr(module, "broadcast_object", lambda own: found.pop(0))
    assert _compare_images(config(), CONFIG, Path("run"), Trained(CONFIG, FACTS), {}) is True
    with pytest.raises(Refused, match="another run"):
        _compare_images(config(), CONFIG, Path("run"), Trained(CONFIG, FACTS), {})
    told = Told(monkeypatch, None, step=3)
    told.built.doubt = "few images"
    kept = Trained(CONFIG, recorded(precision="fp32", steps_per_epoch=2.5))
    found[:] = [kept, (None, "", False), "onednn"]
    assert told.train(tmp_path, start=SimpleNamespace()).why == "ended after step 3 of 4: x"
    assert (told.asked["precision"], told.asked["steps_per_epoch"]) == ("fp32", 2.5)
    assert not {"warned", "introduced", "facts"} & told.asked.keys()  # nor is anything written
    assert products.taken() == "onednn"
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_every_process_trains_in_the_directory_of_the_main_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.log").touch()
    monkeypatch.chdir(tmp_path)
    assert module._shared(Path("second")) == tmp_path / "second"
    assert (tmp_path / "second").is_dir()
    monkeypatch.setattr(module, "broadcast_object", lambda own: str(tmp_path / "first"))
    assert module._shared(Path("second")) == tmp_path / "first"
    assert [path.name for path in tmp_path.iterdir()] == ["first"]

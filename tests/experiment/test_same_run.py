"""Whether what goes on in a directory is what began there: which file tells it, and what is refused or only said."""

import hashlib
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from mae_hydra.errors import UserError
from mae_hydra.experiment import same_run
from mae_hydra.experiment.holder import Refused
from mae_hydra.experiment.same_run import Trained, what_was_trained

RUN = Path("outputs/run")
BEFORE = {
    "root": "/a", "classes": ["sky", "wall", "tree"], "range": [[0, 10], [0, 20]],
    "train": {"images": 4, "contents": "x"}, "validation": {"images": 2, "contents": "y"},
}  # fmt: skip


def saved(file: Path, told: str | None, data: Any = None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if told is None:
        file.write_bytes(b"damaged")
    else:
        meta = {"origin": {"data": {"root": told} if data is None else data}}
        torch.save({"config": {"notes": told}, "meta": meta, "model": torch.zeros(2)}, file)


def told(trained: Trained | None) -> Any:
    """The notes of the configuration, beside what an older record is completed with; and the data."""
    return trained and (trained.config and trained.config["notes"], trained.data)


@pytest.mark.parametrize(
    ("files", "counts"),
    [
        (["step-00000002.pt", "step-00000010.pt", "last.pt", "best.pt"], "last.pt"),
        (["step-00000002.pt", "step-00000010.pt", "!last.pt", "best.pt"], "step-00000010.pt"),
        (["step-00000002.pt", "!step-00000010.pt", "best.pt"], "step-00000002.pt"),
        (["!last.pt", "best.pt"], "best.pt"),
        (["!last.pt"], "config.yaml"),
        (["other.pt"], None),
        ([], None),
    ],
)
def test_the_newest_checkpoint_that_can_be_read_tells_what_was_trained(
    tmp_path: Path, files: list[str], counts: str | None
) -> None:
    """`!` marks a damaged one; where all are, the files beside them tell."""
    for name in files:
        saved(tmp_path / "checkpoints" / name.lstrip("!"), None if name.startswith("!") else name)
    (tmp_path / "config.yaml").write_text("notes: config.yaml\n")
    (tmp_path / "data.json").write_text('{"root": "config.yaml"}')
    assert told(what_was_trained(tmp_path)) == (None if counts is None else (counts, {"root": counts}))


def test_what_a_checkpoint_does_not_tell_or_tells_amiss_is_read_beside_it(tmp_path: Path) -> None:
    saved(tmp_path / "checkpoints/last.pt", "a", data={"classes": 5})
    (tmp_path / "data.json").write_text('{"root": "beside"}')
    assert told(what_was_trained(tmp_path)) == ("a", {"root": "beside"})
    for content in ({"config": {}}, [1]):  # an empty configuration is none; and what is no table tells nothing
        torch.save(content, tmp_path / "checkpoints/last.pt")
        assert told(what_was_trained(tmp_path)) == (None, {"root": "beside"})
        (tmp_path / "config.yaml").write_text("{}")
    assert same_run.recorded_config(tmp_path) is None
    torch.save({"config": {"notes": {1, 2}}}, tmp_path / "checkpoints/last.pt")  # which is in no configuration
    (tmp_path / "config.yaml").write_text("notes: beside")
    assert told(what_was_trained(tmp_path)) == ("beside", {"root": "beside"})


def test_what_would_run_code_when_it_is_read_is_not_read(tmp_path: Path) -> None:
    torch.save({"config": {"notes": "a"}, "of anybody": SimpleNamespace()}, tmp_path / "last.pt")
    assert same_run.read_told(tmp_path / "last.pt") is None
    torch.save({"config": {"notes": "a"}}, tmp_path / "last.pt")
    assert same_run.read_told(tmp_path / "last.pt") == {"config": {"notes": "a"}}


def test_an_older_record_is_completed_in_all_its_groups_unless_its_arguments_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "checkpoints/last.pt", "a")
    record = {"notes": "a", "encoder": {}, "loss": {}, "callbacks": {}}
    asked: list[Any] = []

    def complete(config: Any, groups: Any) -> Any:
        asked.append((OmegaConf.to_container(config), set(groups)))
        return OmegaConf.create(record | {"loss": {"gain": "${notes}"}}), ["loss.gain is newer"]

    monkeypatch.setattr(same_run, "with_newer_arguments", complete)
    trained = what_was_trained(tmp_path)
    assert trained is not None
    assert (trained.config, trained.newer) == (record | {"loss": {"gain": "a"}}, ["loss.gain is newer"])
    assert asked == [(record, {"encoder", "loss", "callbacks"})]

    def refuse(config: Any, groups: Any) -> Any:
        raise UserError("loss.slope is gone")

    monkeypatch.setattr(same_run, "with_newer_arguments", refuse)
    trained = what_was_trained(tmp_path)
    assert trained is not None
    assert (trained.config, trained.newer) == (record, ())


def test_another_configuration_is_refused_with_its_keys_and_the_command_of_the_run() -> None:
    trained = Trained({"optimizer": {"lr": 0.1}, "seed": 3, "logger": {}}, None)
    same_run.refuse_another(RUN, {"optimizer": {"lr": 0.1}, "seed": 3, "logger": {"wandb": 1}}, trained)
    with pytest.raises(Refused, match=r"\(optimizer\.lr: 0\.1 -> 0\.2; seed: 3 -> 4\); .*train\.py resume=outputs/run"):
        same_run.refuse_another(RUN, {"optimizer": {"lr": 0.2}, "seed": 4}, trained)
    with pytest.raises(Refused, match="nothing in outputs/run tells how"):
        same_run.refuse_another(RUN, {}, Trained(None, {}))


def test_the_same_weights_under_another_name_are_no_other_beginning(tmp_path: Path) -> None:
    for name, number in (("first.pt", 0.0), ("second.pt", 1.0)):
        torch.save({"encoder.weight": torch.full((2,), number)}, tmp_path / name)
    digest = hashlib.sha256((tmp_path / "first.pt").read_bytes()).hexdigest()
    (tmp_path / "parent.json").write_text(json.dumps({"path": "/gone.pt", "sha256": digest}))
    os.link(tmp_path / "first.pt", tmp_path / "moved.pt")
    answers = [same_run.same_weights(tmp_path, told) for told in (
        str(tmp_path / "moved.pt"), str(tmp_path / "second.pt"), str(tmp_path / "none.pt"), None
    )]  # fmt: skip
    assert answers == [True, False, False, False]
    trained = Trained({"init_from": "/gone.pt", "seed": 1}, None)
    same_run.refuse_another(tmp_path, {"init_from": str(tmp_path / "moved.pt"), "seed": 1}, trained)
    for other in ({"init_from": str(tmp_path / "second.pt"), "seed": 1}, {"init_from": str(tmp_path / "moved.pt")}):
        with pytest.raises(Refused, match="init_from: " if "seed" in other else r"\(seed: 1 -> None\)"):
            same_run.refuse_another(tmp_path, other, trained)
    (tmp_path / "parent.json").unlink()
    assert not same_run.same_weights(tmp_path, str(tmp_path / "moved.pt"))


def test_an_edited_record_is_told_as_what_the_checkpoint_has_and_then_the_file(tmp_path: Path) -> None:
    trained = Trained({"seed": 3, "init_from": "a.pt", "logger": 1, "loss": {}}, None)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"seed": 4, "init_from": "b.pt", "logger": 2}))
    assert same_run.edited_since(tmp_path, trained) == "seed: 3 -> 4"
    assert same_run.edited_since(tmp_path, Trained(None, None)) == ""
    assert same_run.edited_since(tmp_path / "nothing", trained) == ""


def test_what_may_differ_is_told_and_whether_scores_are_then_others() -> None:
    trained = Trained({"inference": {"mask_ratio": None}, "checkpoint": {"every": 5}, "seed": 1}, None)
    scored = {"inference": {"mask_ratio": 0.5}, "checkpoint": {"every": 7}, "seed": 2}
    assert same_run.changed_settings(scored, trained) == "checkpoint.every: 5 -> 7; inference.mask_ratio: None -> 0.5"
    assert same_run.scores_differ(scored, trained)
    run_otherwise = {"inference": {"mask_ratio": None}, "checkpoint": {"every": 7}, "seed": 2}
    assert same_run.changed_settings(run_otherwise, trained) == "checkpoint.every: 5 -> 7"
    assert not same_run.scores_differ(run_otherwise, trained)
    assert same_run.changed_settings(scored, Trained(None, None)) == ""
    assert not same_run.scores_differ(scored, Trained(None, None))


class Photos(list):
    def contents(self) -> str:
        return f"contents of {len(self)}"


def test_the_facts_of_a_run_are_those_of_each_split_and_the_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/a")
    data: Any = SimpleNamespace(class_names=("sky", "wall"), train=Photos([1, 2, 3]), validation=[4])
    for root, there in (
        ("photos", str(tmp_path / "photos")), ("~/photos", "/home/a/photos"), ("s3://a/b", "s3://a/b"), (None, None)
    ):  # fmt: skip
        assert same_run.facts_of(OmegaConf.create({"data": {"root": root}}), data) == {
            "root": there, "classes": ["sky", "wall"], "train": {"images": 3, "contents": "contents of 3"},
            "validation": {"images": 1, "contents": "embedded"},
        }  # fmt: skip


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["sky", "wall", "tree"], None),
        ([], None),  # they name none now
        (["sky", "wall"], None),
        (["sky", "wall", "car"], "other names of 1 classes, or another order of them: class 2 was tree and is car now"),
        (
            ["sky", "tree", "wall"],
            "other names of 2 classes, or another order of them: class 1 was wall and is tree now",
        ),
    ],
)
def test_a_class_that_is_called_otherwise_is_refused(classes: list[str], said: str | None) -> None:
    if said is None:
        same_run.refuse_other_classes(RUN, BEFORE, {"classes": classes})
        same_run.refuse_other_classes(RUN, {}, {"classes": classes})
    else:
        with pytest.raises(Refused, match=said):
            same_run.refuse_other_classes(RUN, BEFORE, {"classes": classes})


def test_another_measured_range_is_refused_also_of_one_channel_or_none() -> None:
    same_run.refuse_another_range(RUN, BEFORE, {"range": [[0, 10], [0, 20]]})
    same_run.refuse_another_range(RUN, {}, {"range": [[0, 1]]})  # older runs tell none
    for other in ([[0, 10], [0, 21]], None):
        with pytest.raises(Refused, match=r"was trained with \[\[0, 10\], \[0, 20\]\] as black and white"):
            same_run.refuse_another_range(RUN, BEFORE, {"range": other})


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"root": "/b"}, "the same images in /b"),
    ({"train": {"images": 5, "contents": "z"}},
     "other training images: 4 images in /a, now 5 in /a; the schedule stays what it was, epochs are counted in "),
    ({"train": {"images": 4, "contents": "z"}, "root": "/b"},
     "other training images: 4 images in /a, now 4 others in /b; the"),
    ({"validation": {"images": 3, "contents": "z"}}, "other validation images: 2 in /a before, 3 in /a now"),
    ({"train": {"images": 5, "contents": "z"}, "validation": {"images": 3, "contents": "z"}},
     "other training images: 4 images in /a, now 5 in /a; the schedule stays what it was, epochs are counted in the "
     "new; other validation images: 2 in /a before, 3 in /a now"),
    ({"validation": {"images": 2, "contents": "z"}, "root": None}, "other validation images: 2 in /a before, 2 now"),
]  # fmt: skip


@pytest.mark.parametrize(("other", "said"), OTHERS)
def test_other_training_images_are_refused_unless_that_was_typed_and_other_validation_images_are_said(
    other: dict[str, Any], said: str
) -> None:
    now = BEFORE | other
    found = same_run.refuse_other_images(RUN, BEFORE, now, allowed=True)
    assert found.startswith(said)
    assert bool(found) == bool(said)
    assert ("the same images" in found) == ("the same images" in said)
    if "train" in other:
        with pytest.raises(Refused, match=r"outputs/run was trained on 4 images in /a, now .*resume_data=changed"):
            same_run.refuse_other_images(RUN, BEFORE, now, allowed=False)
    else:
        assert same_run.refuse_other_images(RUN, BEFORE, now, allowed=False) == found


def test_of_what_a_record_does_not_tell_nothing_is_compared() -> None:
    without = [{key: value for key, value in BEFORE.items() if key != left_out} for left_out in ("train", "root")]
    for record in (*without, BEFORE | {"train": {"images": None, "contents": "x"}}, BEFORE | {"train": {"images": 4}}):
        now = BEFORE | {"train": {"images": 4, "contents": "x"}}
        assert same_run.refuse_other_images(RUN, record, now, allowed=False) == ""
    both = BEFORE | {"train": {"images": 9, "contents": "z"}, "validation": {"images": 9, "contents": "z"}}
    assert [same_run.differ(BEFORE, both, split) for split in ("train", "validation")] == [True, True]
    assert same_run.differ({}, both, "train") is False
    record = BEFORE | {"train": {"images": None, "contents": "x"}}
    with pytest.raises(Refused, match="was trained on other images in /a, now 9 in /a"):
        same_run.refuse_other_images(RUN, record, both, allowed=False)

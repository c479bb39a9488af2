"""What a run looks at before anything large is built: its first sample, and the files of its validation set."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from mae_hydra.errors import UserError
from mae_hydra.experiment import first_look


class Spoiled:
    """Samples of their numbers; those of `bad` cannot be read."""

    def __init__(self, *bad: int) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> int:
        if index in self.bad:
            raise UserError(f"sample {index} is damaged")
        return index


@pytest.mark.parametrize(
    ("bad", "share", "found"), [((), 0.0, 0), ((0,), 0.0, None), ((0, 3, 1), 0.1, 4), (range(5), 0.1, None)]
)
def test_what_takes_the_place_of_a_damaged_first_sample_may_be_damaged_too(
    monkeypatch: pytest.MonkeyPatch, bad: tuple[int, ...], share: float, found: int | None
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(first_look, "replacements", lambda *place: asked.append(place) or iter([3, 1, 4, 2]))
    data: Any = SimpleNamespace(train=Spoiled(*bad), max_bad_share=share)
    if found is None:
        with pytest.raises(UserError, match="sample 0 is damaged"):
            first_look._first_readable(data, 7)
    else:
        assert first_look._first_readable(data, 7) == found
    assert asked == [(7, 0, 0, 5)] * (bool(bad) and share > 0)


def looked_at(task: str = "segment", size: tuple[int, int] = (4, 6), labels: bool = True, **told: Any) -> Any:
    """Look at a data set of one sample, a picture of 4x6 pixels and its class map; `told`: of the data."""
    label = torch.zeros(4, 6) if labels else 3
    train = [(torch.arange(72.0).view(3, 4, 6), label)]
    data: Any = SimpleNamespace(**{"train": train, "target": "map", "image_size": size, "max_bad_share": 0.0} | told)
    config = OmegaConf.create({"task": task, "name": "mine", "seed": 3, "augment": {"smaller": told.get("smaller")}})
    augment: Any = lambda sample, random: sample  # noqa: E731
    return first_look.check_sample_fits_task(config, data, augment)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"target": "class"}, r"model mine needs label maps, and .* use data=scenes or data=ade20k, or pre-train"),
        ({"target": "none"}, "model mine needs label maps"),
        ({"task": "classify"}, r"model mine needs a class for every image, and .* use data=scene_classes or data=im"),
        ({"train": []}, "nothing to train on"),
        ({"smaller": [2]}, r"augment\.smaller is for pre-training a MAE"),
        ({"task": "classify", "target": "class", "smaller": [2]}, r"augment\.smaller is for pre-training a MAE"),
        ({"labels": False}, "which this augmentation drops"),
        ({"size": (4, 8)}, r"augment\.size must be data\.image_size \(4x8\), got 4x6"),
        ({"size": (8, 6)}, r"\(8x6\), got 4x6"),
        ({"size": (6, 4)}, r"\(6x4\), got 4x6"),
    ],
)
def test_what_does_not_fit_the_task_is_said_of_the_first_sample(told: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        looked_at(**told)


def test_the_first_sample_stands_twice_in_a_batch() -> None:
    batch = looked_at()
    assert batch.images.shape == (2, 3, 4, 6)
    assert torch.equal(batch.images[0], batch.images[1])
    assert looked_at("classify", labels=False, target="class").labels.tolist() == [3, 3]
    for target in ("none", "map", "class"):  # pre-training takes any
        assert len(looked_at("pretrain", target=target, smaller=[2]).images) == 2


@pytest.mark.parametrize(
    ("seen", "target", "said"),
    [((3, 5), "map", "3 of 5"), ((5, 5), "map", ""), ((3, 5), "class", ""), (None, "map", "")],
)
def test_class_maps_that_time_did_not_allow_to_look_at_are_counted(
    seen: tuple[int, int] | None, target: str, said: str
) -> None:
    data: Any = SimpleNamespace(target=target)
    notes = first_look.unseen_note(None if seen is None else first_look.Seen((), *seen), data)
    assert [said in note for note in notes] == [True] * bool(said)


def test_a_validation_file_that_cannot_be_evaluated_is_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def damaged(images: Any, memory: Path, advance: Any) -> Any:
        asked.append((images, memory))
        raise UserError("b.png is damaged")

    data: Any = SimpleNamespace(validation=[1, 2])
    assert first_look.look_at_validation(data, str(tmp_path)) is None  # of what only pixels tell
    monkeypatch.setattr(first_look, "look_ahead", damaged)
    with pytest.raises(UserError, match=r"b\.png is damaged"):
        first_look.look_at_validation(data, str(tmp_path))
    assert asked == [([1, 2], tmp_path / ".looked_at")]
    monkeypatch.setattr(first_look, "is_main", lambda: False)  # the others look at none and end alike
    monkeypatch.setattr(first_look, "broadcast_object", lambda own: (None, "b.png is damaged"))
    with pytest.raises(UserError, match=r"b\.png is damaged"):
        first_look.look_at_validation(data, str(tmp_path))
    seen = first_look.Seen((), 1, 2)
    monkeypatch.setattr(first_look, "broadcast_object", lambda own: (seen, ""))
    assert first_look.look_at_validation(data, str(tmp_path)) is seen
    assert len(asked) == 1


@pytest.mark.parametrize("person", [True, False])
def test_how_far_the_look_has_come_is_drawn_where_a_person_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, person: bool
) -> None:
    drawn: list[Any] = []

    class Bar(first_look.Progress):
        def __init__(self, *columns: Any, **more: Any) -> None:
            drawn.append(more["disable"])
            super().__init__(*columns, transient=True, disable=True)

        def update(self, task: Any, **told: Any) -> None:
            drawn.append(told)

    def look(images: Any, memory: Path, advance: Any) -> Any:
        advance(3, 7, "class maps")
        return first_look.Seen((), 1, 2)

    monkeypatch.setattr(first_look, "Progress", Bar)
    monkeypatch.setattr(first_look, "look_ahead", look)
    monkeypatch.setattr(first_look, "watched", lambda: person)
    data: Any = SimpleNamespace(validation=[1, 2])
    assert first_look.look_at_validation(data, str(tmp_path)) == first_look.Seen((), 1, 2)
    assert drawn == [not person, {"completed": 3, "total": 7, "description": "class maps"}]

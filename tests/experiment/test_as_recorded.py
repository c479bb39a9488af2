"""What a run goes on with, key by key: its record, but what was typed now and what is of this start and machine."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from mae_hydra.experiment import going_on
from mae_hydra.experiment.going_on import as_recorded
from mae_hydra.experiment.same_run import what_was_trained

RECORD: dict[str, Any] = {
    "seed": 1, "init_from": "a.pt", "paths": {"run_dir": "/then", "output_root": "/then"}, "resume": "auto",
    "resume_data": None, "fail_fast": False, "optimizer": {"lr": 0.1, "betas": [0.9, 0.95]},
    "data": {"_target_": "d.folder", "root": "/then", "cache": "/then/cache", "num_workers": 2},
    "evaluation": {"validation": {"every": 5}}, "encoder": {}, "loss": {}, "callbacks": {},
}  # fmt: skip


def going_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: Any, without: Any) -> tuple[Any, str]:
    """`now`: what today's option files and the whole command line compose; `without`: without the new words."""
    (tmp_path / "checkpoints").mkdir()
    torch.save({"config": RECORD, "meta": {}}, tmp_path / "checkpoints/last.pt")
    monkeypatch.setattr(going_on, "composed", lambda words: without)
    config, said = as_recorded(OmegaConf.create(now), tmp_path, ["the words"], what_was_trained(tmp_path))
    return OmegaConf.to_container(config), said


def changed(**parts: Any) -> dict[str, Any]:
    made = copy.deepcopy(RECORD)
    for key, value in parts.items():
        made[key] = made[key] | value if isinstance(made.get(key), dict) else value
    return made


def test_what_is_of_this_start_and_machine_is_todays_and_all_else_is_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {
        "paths": {"run_dir": "/now", "output_root": "/now"}, "resume": "/now", "resume_data": "changed",
        "fail_fast": True, "data": {"root": "/now", "cache": "/now/cache"},
    }  # fmt: skip
    today = changed(**here, optimizer={"lr": 0.3}) | {"newer": {"a": 1}}
    found, said = going_on_with(tmp_path, monkeypatch, today, today)
    assert found == changed(**here) | {"newer": {"a": 1}}
    assert said == "optimizer.lr 0.1, not 0.3"


def test_what_todays_option_files_lack_is_not_taken_from_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = changed(seed=2)
    del today["data"]["cache"], today["fail_fast"], today["optimizer"]["betas"]
    assert going_on_with(tmp_path, monkeypatch, today, today)[0] == RECORD


def test_what_was_typed_now_counts_with_all_that_follows_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = changed(seed=7, optimizer={"lr": 0.3})
    now = changed(seed=7, optimizer={"lr": 0.3, "betas": [0.8, 0.9]}, evaluation={"probe": {"k": 3}})
    now["data"] = now["data"] | {"num_workers": 4}
    del now["loss"]
    found, said = going_on_with(tmp_path, monkeypatch, now, without)
    expected = changed(optimizer={"betas": [0.8, 0.9]}, data={"num_workers": 4}, evaluation={"probe": {"k": 3}})
    del expected["loss"]
    assert found == expected
    assert said == "optimizer.lr 0.1, not 0.3; seed 1, not 7"


def test_the_place_of_another_data_set_is_not_that_of_todays_option_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = changed(data={"_target_": "d.imagenet", "root": "/imagenet"})
    del today["data"]["cache"]
    found, said = going_on_with(tmp_path, monkeypatch, today, today)
    assert found == RECORD
    assert said == (
        "data._target_ d.folder, not d.imagenet; data.cache /then/cache, not absent; data.root /then, not /imagenet"
    )


def test_weights_that_have_moved_are_those_of_the_record_where_they_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(going_on, "same_weights", lambda run_dir, path: path == "moved.pt")
    for number, (path, kept) in enumerate((("moved.pt", "moved.pt"), ("other.pt", "a.pt"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        today = changed(init_from=path, seed=2)
        assert going_on_with(folder, monkeypatch, today, today)[0] == changed(init_from=kept)


def test_where_todays_option_files_make_nothing_of_the_old_words_all_counts_as_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = changed(seed=7)
    assert going_on_with(tmp_path, monkeypatch, now, changed(seed="${nowhere}")) == (now, "")


def test_a_long_list_of_differences_is_cut_and_says_so() -> None:
    for count in (8, 9):
        ours = {f"key{number}": number for number in range(count)}
        said = going_on._told(ours, {key: value + 10 for key, value in ours.items()})
        assert said.split("; ") == [f"key{n} {n}, not {n + 10}" for n in range(7)] + [
            "key7 7, not 17" + " …" * (count > 8)
        ]


def test_a_directory_without_a_record_goes_on_with_what_is_composed(tmp_path: Path) -> None:
    config = OmegaConf.create({"seed": 3})
    assert as_recorded(config, tmp_path, [], what_was_trained(tmp_path)) == (config, "")


def test_a_key_that_is_null_is_told_from_one_that_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of today's option files, of the record, and of what was typed now."""
    without = changed()
    del without["optimizer"]["betas"]
    now = changed(optimizer={"betas": None}, evaluation={"probe": None})
    found, said = going_on_with(tmp_path, monkeypatch, now, without)
    assert found == now
    assert said == ""
    assert going_on._told({"a": None, "b": 1}, {"b": 1, "c": None}) == "a null, not absent; c absent, not null"
    assert going_on._told({"a": False, "b": 0}, {"b": False}) == "a false, not absent"

"""What may change when a run goes on and what may not: its configuration, its images, its place, its own words."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import TINY_MAE
from forked import start
from PIL import Image

from mae_hydra.configuration.command_words import word
from mae_hydra.experiment import holder
from mae_hydra.experiment.status import read_status, write_json

OF_PHOTOS = [word for word in TINY_MAE if not word.startswith(("data.num_train", "data.num_validation"))]
OF_PHOTOS += ["data=folder", "data.root=photos", "data.image_size=64", "data.validation_fraction=0.2"]
EPOCHS = ["schedule.unit=epoch", "schedule.total=2", "schedule.warmup=1", "engine.log_every=1"]
WORDS = [*OF_PHOTOS, *EPOCHS, "hydra.run.dir=outputs/run", "checkpoint.keep_last=9", "checkpoint.every=2"]


def photos(folder: Path, numbers: range, seed: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        pixels = np.random.default_rng([seed, number]).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run of eight steps on ten photos, eight of which are trained on; made once."""
    import os
    import sys

    from mae_hydra.launching.launch import launch

    root = tmp_path_factory.mktemp("finished")
    photos(root / "photos", range(10))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(sys, "argv", ["train.py"])
        patch.setitem(os.environ, "HYDRA_FULL_ERROR", "1")
        assert launch([*WORDS, "paths.output_root=outputs"]) == 0
    return root


@pytest.fixture
def stopped(finished: Path, tmp_path: Path) -> Path:
    """The same, killed after four of its eight steps, in a place of its own (which is the current folder)."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    run = tmp_path / "outputs/run"
    for path in (run / "checkpoints").iterdir():
        if not path.name.startswith("step-") or int(path.stem.removeprefix("step-")) > 4:
            path.unlink()
    shutil.copy(run / "checkpoints/step-00000004.pt", run / "checkpoints/last.pt")
    (run / "results.json").unlink()
    write_json(run / "status.json", json.loads((run / "status.json").read_text()) | {"state": "running", "value": None})
    return run


def weights(run: Path) -> dict:
    return torch.load(run / "checkpoints/last.pt", weights_only=True)["model"]


def steps(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def rates(run: Path) -> list[float]:
    return [json.loads(line)["train/lr"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def same(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_resume_alone_ends_like_the_unbroken_run_wherever_the_directory_lies(train, stopped, finished, capfd):
    moved = stopped.parents[1] / "moved here/it's"
    moved.parent.mkdir()
    stopped.rename(moved)
    assert train("resume='moved here/it\\'s'") == 0
    said = "".join(capfd.readouterr())
    assert "outputs/run" not in said
    assert str(finished) not in said
    assert same(moved, finished / "outputs/run")
    assert (read_status(moved)["state"], read_status(moved)["attempt"]) == ("completed", 2)
    assert "outputs/run" not in (moved / "config.yaml").read_text()
    assert not [word for word in yaml.safe_load((moved / "overrides.yaml").read_text()) if word.startswith("resume")]
    assert [json.loads(line)["step"] for line in (moved / "starts.jsonl").read_text().splitlines()] == [0, 4]


def test_a_run_killed_before_its_first_checkpoint_starts_over_in_place(train, stopped, finished):
    shutil.rmtree(stopped / "checkpoints")
    assert train("resume=outputs/run") == 0
    assert same(stopped, finished / "outputs/run")


@pytest.mark.parametrize("gone", [["status.json"], ["config.yaml"], ["status.json", "config.yaml", "overrides.yaml"]])
def test_another_configuration_is_refused_also_where_the_status_is_gone(train, stopped, capfd, gone):
    for name in gone:
        (stopped / name).unlink()
    before = weights(stopped)
    assert train(*WORDS, "optimizer.lr=0.5") == 1
    assert "holds a run of another configuration (optimizer.lr: 0.003 -> 0.5)" in capfd.readouterr().err
    assert all(torch.equal(before[name], value) for name, value in weights(stopped).items())


def without(run: Path, *beginnings: str) -> None:
    """Take words from the run's record, as if today's option files had other values than when it was trained."""
    words = yaml.safe_load((run / "overrides.yaml").read_text())
    (run / "overrides.yaml").write_text(yaml.safe_dump([each for each in words if not each.startswith(beginnings)]))


def test_a_run_goes_on_with_its_own_configuration_whatever_todays_option_files_say(train, stopped, finished, capfd):
    without(stopped, "backbone.depth", "schedule.total")
    assert train("resume=outputs/run") == 0
    said = capfd.readouterr().out
    assert "goes on with its own configuration, which today's option files have otherwise: " in said
    for key in ("backbone.depth 2, not ", "schedule.total 2, not "):
        assert key in said
    assert same(stopped, finished / "outputs/run")
    one, other = (yaml.safe_load((run / "config.yaml").read_text()) for run in (stopped, finished / "outputs/run"))
    of_each = {"resume": "outputs/run", "paths": one["paths"], "data": one["data"]}
    assert one == other | of_each
    assert one["data"] == other["data"] | {"root": one["data"]["root"]}
    assert train("resume=outputs/run") == 0
    assert "already complete" in capfd.readouterr().out


def test_a_run_goes_on_where_its_words_are_lost(train, stopped, finished):
    (stopped / "overrides.yaml").unlink()
    assert train("resume=outputs/run") == 0
    assert same(stopped, finished / "outputs/run")


def test_a_word_on_top_and_what_follows_it_win_over_the_recorded_values(train, stopped, capfd):
    without(stopped, "backbone.depth", "data.num_workers", "inference")
    assert train("resume=outputs/run", "data.num_workers=1", "evaluation=none", "tags=[again]") == 0
    said = capfd.readouterr().out
    assert "backbone.depth 2, not " in said
    config = yaml.safe_load((stopped / "config.yaml").read_text())
    assert (config["data"]["num_workers"], config["tags"]) == (1, ["again"])
    assert "_target_" not in config["evaluation"]["validation"]
    assert train("resume=outputs/run", "optimizer.lr=0.5") == 1
    assert "another configuration (optimizer.lr: 0.003 -> 0.5)" in capfd.readouterr().err


@pytest.mark.parametrize("words", [["resume=outputs/run"], WORDS], ids=["resumed", "typed again"])
def test_a_run_goes_on_with_an_argument_that_is_newer_than_it(train, stopped, finished, capfd, words):
    for path in (stopped / "checkpoints").iterdir():
        content = torch.load(path, weights_only=True)
        del content["config"]["model"]["masking"]
        torch.save(content, path)
    (stopped / "config.yaml").unlink()
    assert train(*words, "model.masking=grid") == 1
    assert "model.masking: random -> grid" in capfd.readouterr().err
    assert train(*words) == 0
    assert "model.masking is newer than this run: random, as today's option files have it" in capfd.readouterr().out
    assert same(stopped, finished / "outputs/run")


def test_an_edited_config_yaml_is_said_and_does_not_count(train, stopped, finished, capfd):
    config = yaml.safe_load((stopped / "config.yaml").read_text())
    config["optimizer"]["lr"] = 0.5
    (stopped / "config.yaml").write_text(yaml.safe_dump(config))
    assert train("resume=outputs/run") == 0
    assert "config.yaml is not what was trained by, and does not count (optimizer.lr: 0.003 -> 0.5)" in (
        capfd.readouterr().out
    )
    assert same(stopped, finished / "outputs/run")


def test_the_way_out_of_a_refusal_works_as_it_is_typed(train, stopped, finished, capfd):
    run = stopped.rename(stopped.with_name("it's (mine), a=b"))
    words = [each for each in WORDS if not each.startswith("hydra.run.dir")]
    assert train(*words, word("hydra.run.dir", run), "optimizer.lr=0.5") == 1
    command = capfd.readouterr().err.split("go on with its own: ")[1].rpartition(", or start")[0]
    python, script, *typed = shlex.split(command)
    assert (python, script) == ("python", "train.py")
    assert train(*typed) == 0
    assert same(run, finished / "outputs/run")


def test_a_broken_status_is_no_reason_to_begin_anew(train, stopped, finished):
    (stopped / "status.json").write_bytes(b"\x00\xff{[")
    assert train("resume=outputs/run") == 0
    assert same(stopped, finished / "outputs/run")


def test_photos_that_were_added_are_refused_with_both_counts(train, stopped, capfd):
    photos(Path("photos"), range(10, 40))
    assert train("resume=outputs/run") == 1
    said = capfd.readouterr().err
    assert "outputs/run was trained on 8 images in " in said
    assert f"photos, now 32 in {Path('photos').absolute()}" in said
    assert "resume_data=changed" in said
    assert len(said.strip().splitlines()) == 1


REFUSED = {
    "other photos": ["data.root=others"],
    "no photos": ["data.root=nowhere"],
    "another configuration": ["optimizer.lr=0.5"],
    "a key that is none": ["data.roots=photos"],
    "no value for it": ["data.num_workers=-1"],
    "weights that are none": ["init_from=nowhere.pt"],
    "an evaluation of another task": ["evaluation=segment"],
    "a stage that is none": ["then.x=5"],
}


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("words", REFUSED.values(), ids=REFUSED)
def test_a_refused_start_leaves_the_run_as_it_was(train, stopped, capfd, request, words, processes):
    """So that the next one reads nothing of what was refused; train.log says what was tried."""
    if processes > 1 and words[0].startswith(("optimizer", "data.roots", "init_from", "then")):
        pytest.skip("refused before there are several processes")
    if processes > 1:
        request.getfixturevalue("forked_children")
    photos(Path("others"), range(10), seed=1)
    before = content_of(stopped)
    for first in (["resume=outputs/run"], [each for each in WORDS if not each.startswith(words[0].partition("=")[0])]):
        assert train(*first, *words, *([f"engine.devices={processes}"] if processes > 1 else [])) == 1
        assert capfd.readouterr().err.startswith("error: ")
        assert content_of(stopped) == before


def content_of(run: Path) -> dict[str, bytes]:
    own = ("train.log", ".lock", ".heartbeat")
    files = (path for path in run.rglob("*") if path.is_file() and not path.name.startswith(own))
    return {str(path): path.read_bytes() for path in files}


def test_a_refused_start_of_a_run_without_a_checkpoint_is_not_read_by_the_next(train, stopped, finished):
    shutil.rmtree(stopped / "checkpoints")
    before = content_of(stopped)
    assert train("resume=outputs/run", "data.root=nowhere") == 1
    assert content_of(stopped) == before
    assert train("resume=outputs/run") == 0
    assert same(stopped, finished / "outputs/run")


def test_as_many_other_photos_are_refused(train, stopped, capfd):
    photos(Path("others"), range(10), seed=1)
    assert train("resume=outputs/run", "data.root=others") == 1
    assert f"was trained on 8 images in {stopped.parents[1]}" not in (said := capfd.readouterr().err)
    assert f", now 8 others in {Path('others').absolute()}" in said


def test_changed_photos_are_gone_on_with_knowingly_and_the_schedule_stays(train, stopped, finished, capfd):
    photos(Path("photos"), range(10, 40))
    assert train("resume=outputs/run", "resume_data=changed") == 0
    said = capfd.readouterr().out
    assert "8 images in" in said
    assert "the schedule stays what it was" in said
    assert steps(stopped) == list(range(1, 9))  # not the 32 that two epochs would now have
    assert rates(stopped) == rates(finished / "outputs/run")
    told = json.loads((stopped / "data.json").read_text())
    assert (told["train"]["images"], told["steps_per_epoch"]) == (32, 4.0)
    assert not same(stopped, finished / "outputs/run")


def test_the_same_photos_elsewhere_are_the_same_run(train, stopped, finished, capfd):
    shutil.copytree("photos", "copied")
    shutil.rmtree("photos")
    assert train("resume=outputs/run", "data.root=copied") == 0
    assert f"the same images in {Path('copied').absolute()}" in capfd.readouterr().out
    assert same(stopped, finished / "outputs/run")


def test_what_does_not_touch_training_may_change_and_is_said(train, stopped, finished, capfd):
    changed = ["data.num_workers=1", "evaluation.validation.num_pictures=2", "checkpoint.keep_last=3"]
    assert train("resume=outputs/run", *changed) == 0
    said = capfd.readouterr().out
    assert "checkpoint.keep_last: 9 -> 3; data.num_workers: 0 -> 1; evaluation.validation.num_pictures: 1 -> 2" in said
    assert "best.pt" not in said
    assert same(stopped, finished / "outputs/run")


def test_scores_of_something_else_choose_the_best_anew(train, stopped, finished, capfd):
    path = stopped / "checkpoints/last.pt"
    content = torch.load(path, weights_only=True)
    torch.save(content | {"best": {"value": 0.0, "step": 2}}, path)  # a loss that no other will be below
    assert train("resume=outputs/run", "inference.mask_ratio=0.5") == 0
    said = capfd.readouterr().out
    assert "inference.mask_ratio: None -> 0.5; best.pt is chosen anew" in said
    assert torch.load(stopped / "checkpoints/last.pt", weights_only=True)["best"]["step"] > 4
    assert same(stopped, finished / "outputs/run")


def test_a_complete_run_stays_complete_when_only_pictures_are_counted_otherwise(train, finished, capfd, monkeypatch):
    monkeypatch.chdir(finished)
    assert train(*WORDS, "evaluation.validation.num_pictures=2") == 0
    assert "already complete" in (said := capfd.readouterr().out)
    assert "evaluation.validation.num_pictures: 1 -> 2" in said
    assert train("resume=outputs/run", "schedule.total=3") == 1
    assert "schedule.total: 2 -> 3" in capfd.readouterr().err


def test_a_directory_in_which_another_process_trains_is_left_alone(train, stopped, capfd, monkeypatch):
    monkeypatch.setattr(holder, "LOCK_PATIENCE", 0.1)
    before = {path: path.read_bytes() for path in stopped.rglob("*.json*")}
    with holder.holding(stopped):
        assert read_status(stopped)["state"] == "running"
        assert train("resume=outputs/run") == 1
    assert "is being trained by process" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in stopped.rglob("*.json*")} == before
    assert not (stopped / "error.txt").exists()


def test_what_a_directory_would_have_built_is_refused_before_it_is_imported(train, stopped, capfd, tmp_path):
    (tmp_path / "evilmod.py").write_text("open('ran', 'w').close()\n")
    words = yaml.safe_load((stopped / "overrides.yaml").read_text())
    (stopped / "overrides.yaml").write_text(yaml.safe_dump([*words, "inference._target_=evilmod.x"]))
    assert train("resume=outputs/run") == 1
    assert "outputs/run: inference._target_ = evilmod.x is not built" in capfd.readouterr().err
    assert not Path("ran").exists()


@pytest.mark.slow
def test_of_two_that_are_started_in_the_same_moment_one_trains(tmp_path):
    words = [*TINY_MAE, "schedule.total=1000", "evaluation=none", "hydra.run.dir=outputs/run"]
    both = [start(tmp_path, *words) for _ in range(2)]
    said = {process.communicate(timeout=120)[1]: process.returncode for process in both}
    assert sorted(said.values()) == [0, 1]
    [refused] = [text for text, code in said.items() if code == 1]
    assert "outputs/run is being trained by process" in refused
    status = read_status(tmp_path / "outputs/run")
    assert (status["state"], status["attempt"]) == ("completed", 1)
    assert steps(tmp_path / "outputs/run") == list(range(1, 1001))


@pytest.mark.slow
@pytest.mark.usefixtures("forked_children")
def test_what_follows_a_run_goes_on_after_the_run_was_renamed(train, capfd):
    words = [word for word in TINY_MAE if not word.startswith(("backbone.", "head."))]
    small = ["backbone.embed_dim=32", "backbone.num_heads=2", "backbone.depth=4"]
    tiny = [*words, *small, "backbone.out_indices=[3]", "head.embed_dim=16", "head.depth=1", "head.num_heads=2"]
    stage = [*small, "model=upernet_vitt", "backbone.out_indices=[0,1,2,3]", "head.channels=16", "data.num_train=16"]
    stage += ["data.num_validation=4", "data.num_workers=0"]
    listed = ",".join(f'"{word}"' for word in stage)
    assert train(*tiny, f"+then.upernet=[{listed}]", "hydra.run.dir=outputs/first") == 0
    Path("outputs/first").rename("outputs/second")
    run = Path("outputs/second")
    stage_of = run / "upernet"
    for path in (stage_of / "checkpoints").iterdir():
        if path.name != "step-00000002.pt":
            path.unlink()
    write_json(stage_of / "status.json", json.loads((stage_of / "status.json").read_text()) | {"state": "running"})
    capfd.readouterr()
    assert train("resume=outputs/second") == 0
    said = "".join(capfd.readouterr())
    assert "from step 2" in said
    assert "outputs/first" not in said
    config = yaml.safe_load((stage_of / "config.yaml").read_text())
    assert config["init_from"] == str(run.absolute())
    assert train("resume=outputs/second/upernet") == 0  # by itself it is a run as any other
    assert "already complete" in capfd.readouterr().out


def test_one_job_of_a_sweep_goes_on_by_itself(train, tmp_path, capfd):
    one_step = [*TINY_MAE, "schedule.total=1", "schedule.warmup=0"]
    assert train("-m", "+sweep=mask_ratio", "model.mask_ratio=0.5,0.75", *one_step) == 0
    [job] = tmp_path.glob("outputs/sweeps/mask_ratio/mask_ratio-0.5*")
    shutil.rmtree(job / "checkpoints")
    (job / "status.json").unlink()
    assert train(f"resume={job}") == 0
    assert read_status(job)["state"] == "completed"
    assert yaml.safe_load((job / "config.yaml").read_text())["model"]["mask_ratio"] == 0.5

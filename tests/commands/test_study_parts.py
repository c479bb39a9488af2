"""The parts of a study: how its sweeps end, which pre-training it begins from, and the words of each start."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from mae_hydra.commands import study
from mae_hydra.commands.study import cost, words
from mae_hydra.configuration.tree import config_dir
from mae_hydra.errors import UserError
from mae_hydra.launching import stages


@pytest.mark.parametrize(("code", "failed"), [(0, False), (1, True)])
def test_a_sweep_of_which_a_job_failed_lets_the_study_go_on(
    monkeypatch: pytest.MonkeyPatch, code: int, failed: bool
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(stages, "run_apart", lambda command: (commands.append(command[1:]), (code, ""))[1])
    assert study._failed(["x=1"]) is failed
    assert commands == [["-m", "mae_hydra", "train", "-m", "x=1"]]


@pytest.mark.parametrize(
    ("code", "error"), [(75, KeyboardInterrupt), (130, KeyboardInterrupt), (2, UserError), (-9, UserError)]
)
def test_a_sweep_that_was_stopped_or_could_not_begin_ends_the_study(
    monkeypatch: pytest.MonkeyPatch, code: int, error: type[BaseException]
) -> None:
    monkeypatch.setattr(stages, "run_apart", lambda command: (code, ""))
    with pytest.raises(error):
        study._failed(["x=1"])


def test_a_study_begins_from_the_one_pre_training_that_is_complete(tmp_path: Path) -> None:
    def run(name: str, state: str) -> None:
        (tmp_path / name).mkdir(parents=True)
        status = {"state": state, "value": 1.0, "start": 1.0, "end": 2.0, "overrides": []}
        (tmp_path / name / "status.json").write_text(json.dumps(status))

    run("a", "failed")
    run("b", "interrupted")
    with pytest.raises(UserError, match="has not ended; the same command goes on once it has"):
        study._complete(tmp_path)
    run("c", "completed")
    assert study._complete(tmp_path) == tmp_path / "c"
    run("d", "completed")
    with pytest.raises(UserError, match="holds 2 complete pre-trainings, not one"):
        study._complete(tmp_path)


def test_shares_and_seeds_are_each_told_once_in_their_order_and_within_their_bounds() -> None:
    assert words.numbers("--fractions", "1,0.1,1", float) == [0.1, 1.0]
    assert words.numbers("--seeds", "3,0,-1", int) == [-1, 0, 3]
    for typed in ("0,1", "1.1", "0.5,-0.1"):
        with pytest.raises(UserError, match=r"--fractions takes shares in \(0, 1\]"):
            words.numbers("--fractions", typed, float)
    with pytest.raises(UserError, match=r"--seeds takes numbers with commas between them, got '1\.5'"):
        words.numbers("--seeds", "1.5", int)
    assert words.swept([0.01, 1.0], [0, 2]) == ["data.label_fraction=0.01,1", "seed=0,2"]


@pytest.mark.parametrize(
    "word",
    [
        "seed=1", "data.label_fraction=0.5", "data.label_seed=1", "init_from=x", "resume=x", "hydra.sweep.dir=x",
        "hydra.run.dir=x", "hydra/sweeper=optuna", "+sweep=lr", "then.x=1", "optimizer.lr=1,2",
    ],
)  # fmt: skip
def test_what_a_study_says_itself_is_refused_among_its_words(word: str) -> None:
    with pytest.raises(UserError, match="a study"):
        words.refuse(["model=upernet_vitt", word])
    words.refuse(["seed=1", "init_from=x", "seeded=1"], allowed=("seed", "init_from"))


CONFIG: Any = SimpleNamespace(optimizer={"layer_decay": 0.75})


def test_every_start_has_a_name_of_its_own_and_its_weights() -> None:
    given = ["released=a b.pth", "other=hf-hub:x/y"]
    assert words.arms_of(None, CONFIG, own=True, given=given) == {
        "scratch": ["optimizer.layer_decay=1.0"], "mae": [], "released": ["init_from='a b.pth'"],
        "other": ["init_from='hf-hub:x/y'"],
    }  # fmt: skip
    plain: Any = SimpleNamespace(optimizer={})
    assert words.arms_of(None, plain, own=True, given=[])["scratch"] == []
    assert words.arms_of("a=1 'b=c d'", CONFIG, own=True, given=[])["scratch"] == ["a=1", "b=c d"]
    taken = ("mae", "report", "scratch", "pretrain", "study.json", "results.json", "results.csv", "results.md")
    for bad in (["x=a", "x=b"], *([f"{name}=a"] for name in taken), ["x="], ["x"], ["a/b=c"]):
        with pytest.raises(UserError, match="--from takes weights and a name for them"):
            words.arms_of(None, CONFIG, own=False, given=bad)
    with pytest.raises(UserError, match="there is nothing to compare with"):
        words.arms_of(None, CONFIG, own=False, given=[])


def test_a_study_goes_on_with_more_starts_and_with_none_that_begins_otherwise(tmp_path: Path) -> None:
    record = {
        "words": ["model=a", "paths.output_root=x"],
        "pretrain": ["model=m"],
        "arms": {"scratch": [], "old": ["init_from=a"]},
    }
    assert words.with_earlier(tmp_path, record) == record
    (tmp_path / "study.json").write_text(json.dumps(record))
    new = {"words": ["model=a", "paths.output_root=y"], "pretrain": [], "arms": {"scratch": [], "new": ["init_from=b"]}}
    assert words.with_earlier(tmp_path, new) == {
        "words": ["model=a", "paths.output_root=y"], "pretrain": ["model=m"],
        "arms": {"scratch": [], "old": ["init_from=a"], "new": ["init_from=b"]},
    }  # fmt: skip
    for change, what in (({"words": ["model=b"]}, "the labeled runs"), ({"pretrain": ["model=n"]}, "the pre-training"),
                         ({"arms": {"old": ["init_from=c"]}}, "the start old")):  # fmt: skip
        with pytest.raises(UserError, match=f"is a study with other words for {what}"):
            words.with_earlier(tmp_path, new | change)


def test_only_what_is_left_of_a_study_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: Any = SimpleNamespace(images=(400, 50), steps=100, global_batch=8, total_flops=1e12, name="m")
    made.evaluation_share = 0.0
    config: Any = SimpleNamespace(name="n", checkpoint=SimpleNamespace(monitor="val/x"))
    launched = ["hydra/launcher=slurm"]
    for done, flops in ((False, "3e+12"), (True, "2e+12")):
        monkeypatch.setattr(cost, "_completed", lambda sweep, done=done: [None] * (done and sweep.name == "pretrain"))
        cost.say_cost(tmp_path, ["scratch"], [1.0, 0.001], [0], (launched, made), ([], made), config)
        said = capsys.readouterr().out
        assert f"{flops} operations" in said
        assert "before them m without labels: 100 steps of 8 of 400 images" in said
        assert "800 times all of 1, 2 times all of 400" in said  # of the fewest at least one image
    asked: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(cost, "_time", lambda left, flops: asked.append(left))
        other = SimpleNamespace(**vars(made) | {"name": "other"})
        cost.say_cost(tmp_path, ["scratch"], [1.0], [0, 1], (["a"], made), (["b"], other), config)
    assert asked == [[(["a"], made, 2), (["b"], other, 0)]]  # which is complete by now
    composed: list[Any] = []
    monkeypatch.setattr(cost, "composed", lambda words: composed.append(words) or SimpleNamespace(engine=None))
    settings = SimpleNamespace(torch_device=SimpleNamespace(type="cpu"), apply=lambda: None)
    monkeypatch.setattr(cost, "build", lambda node, key: settings)
    monkeypatch.setattr(cost, "training_step", lambda config, settings: (None,))
    monkeypatch.setattr(cost, "alternate", lambda *given, **more: {"step": SimpleNamespace(seconds=[2.0, 1.0])})
    one: Any = SimpleNamespace(flops_per_image=1.0, global_batch=2, devices=1, steps=10, evaluation_share=0.0)
    assert cost._seconds([(["a"], one, 0), (["b"], one, 2), (["c"], one, 1)]) == 3 * (12 + 10)  # a step's least time
    assert composed == [["b"], ["c"]]


@pytest.mark.parametrize(
    ("typed", "own", "found"),
    [
        (["model=a", "data=d", "backbone.depth=3"], "", ["model=mae_vits", "data=d", "backbone.depth=3", "seed=0"]),
        (["data=d", "data.root=x"], "data.root=y a=1", ["model=mae_vits", "data=d", "data.root=y", "a=1", "seed=0"]),
        (["data=d"], "model=mine seed=4", ["data=d", "model=mine", "seed=4"]),
        (["data=d"], "+experiment=mine", ["data=d", "+experiment=mine", "seed=0"]),
        (["+experiment=e"], "data=other", ["model=mae_vits", "data=other", "seed=0"]),
        (["+experiment=e", "data=d"], "", ["model=mae_vits", "data=d", "seed=0"]),
    ],
)
def test_the_own_mae_has_the_encoder_the_data_and_the_machine_of_the_labeled_runs(
    monkeypatch: pytest.MonkeyPatch, typed: list[str], own: str, found: list[str]
) -> None:
    def composed(words: list[str]) -> Any:
        data = "other" if "data=other" in words or not any(word.startswith("data=") for word in words) else "d"
        return OmegaConf.create({"task": "pretrain", "data": {"_target_": data, "root": "x"}})

    monkeypatch.setattr(words, "composed", composed)
    backbone = {"_target_": "mae_hydra.models.VisionTransformer", "embed_dim": 384}
    free = ("train_limit", "batch_size", "label_fraction", "label_seed", "image_size", "max_bad_share", "mean", "std",
            "window", "num_workers", "cache")  # which say nothing of the images themselves  # fmt: skip
    data = {"_target_": "d", "root": "x"} | dict.fromkeys(free, 1)
    config = OmegaConf.create({"backbone": backbone, "data": data})
    assert words.pretraining(typed, own, config, {}) == found
    if typed == ["+experiment=e"]:
        with pytest.raises(UserError, match="an experiment chose the data of the labeled runs"):
            words.pretraining(typed, "", config, {})
    for encoder in ({"embed_dim": 385}, {"_target_": "mylab.Encoder"}):  # of a size or a kind that has none
        other = OmegaConf.create({"backbone": backbone | encoder, "data": config.data})
        if "model=mae_vits" in found:
            with pytest.raises(UserError, match="no MAE is known for this encoder"):
                words.pretraining(typed, own, other, {})
        else:
            assert words.pretraining(typed, own, other, {}) == found


def test_the_own_mae_is_of_the_size_of_the_encoder() -> None:
    """By the option files: model=mae_vitl has the encoder of backbone=vit_large."""
    sizes = {"vitt": "tiny", "vits": "small", "vitb": "base", "vitl": "large", "vith": "huge"}
    files = {size: (config_dir() / f"backbone/vit_{name}.yaml").read_text() for size, name in sizes.items()}
    assert {yaml.safe_load(text)["embed_dim"]: size for size, text in files.items()} == words.WIDTHS
    for size, name in sizes.items():
        model = (config_dir() / f"model/mae_{size}.yaml").read_text()
        assert f"backbone: vit_{name}" in model

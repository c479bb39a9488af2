"""`mae-hydra study`: which sweeps it starts, what they share, and that one which was killed goes on."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from conftest import TINY_UPERNET
from forked import Forked
from written_pictures import shows_something

from mae_hydra.benchmark import plan as plan_module
from mae_hydra.commands import main
from mae_hydra.commands.study import cost, words
from mae_hydra.configuration.compose import compose_config
from mae_hydra.errors import UserError
from mae_hydra.experiment.many.label_study import read_study
from mae_hydra.experiment.read_runs import read_sweep
from mae_hydra.launching import stages

PLANNED: dict[str, Any] = {
    "name": "planned", "images": (480, 8), "assumed_images": False, "steps": 30, "warmup_steps": 3, "global_batch": 16,
    "total_flops": 1e12, "evaluation_share": 0.0,
}  # fmt: skip


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The words of the sweeps that a study starts here; each leaves runs behind, the more labels the better."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan_module, "plan", lambda *_, **__: SimpleNamespace(**PLANNED))
    monkeypatch.setattr(cost, "_seconds", lambda left: 60.0)
    found: list[list[str]] = []

    def run_apart(command: list[str]) -> tuple[int, None]:
        found.append(command[5:])
        typed = dict(each.split("=", 1) for each in command[5:])
        shares, seeds = (typed.get(key, "1").split(",") for key in ("data.label_fraction", "seed"))
        for share in shares:
            for seed in seeds:
                value = 10.0 + 10 * float(share) + ("init_from" in typed)
                leave_run(Path(typed["hydra.sweep.dir"]) / f"job-{share}-{seed}", float(share), int(seed), value)
        return 0, None

    monkeypatch.setattr(stages, "run_apart", run_apart)
    return found


def leave_run(directory: Path, share: float, seed: int, value: float) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    status = {"state": "completed", "value": value, "start": 1.0, "end": 2.0, "error": None, "overrides": []}
    (directory / "status.json").write_text(json.dumps(status))
    config = {"seed": seed, "data": {"label_fraction": share}, "checkpoint": {"monitor": "val/mIoU", "mode": "max"}}
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    (directory / "data.json").write_text(json.dumps({"train": {"images": round(480 * share)}}))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A study without its page, which takes longer than all else where nothing is trained."""
    monkeypatch.setattr("mae_hydra.report.write_report", lambda out: out)


def test_its_sweeps_differ_by_the_start_alone(started, capsys):
    typed = ["model=upernet_vitt", "data=scenes", "data.num_train=64", "data.train_limit=48", "data.batch_size=4"]
    typed += ["hydra/launcher=gpus", "head.channels=16", "engine.precision=fp32", "logger=tensorboard"]
    typed += ["schedule.unit=epoch", "schedule.total=9", "schedule.warmup=1"]
    assert main(["study", *typed, "--out", "s", "--seeds", "0,1", "--from", "released=w.pth"]) == 0
    pretrain, *arms = started
    assert pretrain == [
        "model=mae_vitt", "data=scenes", "data.num_train=64", "hydra/launcher=gpus", "engine.precision=fp32",
        "logger=tensorboard", "seed=0", "hydra.sweep.dir=s/pretrain",
    ]  # fmt: skip
    steps = ["schedule.unit=step", "schedule.total=30", "schedule.warmup=3"]  # as many with few labels
    common = ["+sweep=study", *typed, *steps, "data.label_fraction=0.01,0.03,0.1,0.3,1", "seed=0,1"]
    assert arms == [
        [*common, "optimizer.layer_decay=1.0", "hydra.sweep.dir=s/scratch"],
        [*common, "init_from=s/pretrain/job-1-0", "hydra.sweep.dir=s/mae"],
        [*common, "init_from=w.pth", "hydra.sweep.dir=s/released"],
    ]
    said = capsys.readouterr().out
    assert "scratch, mae, released x 1, 3, 10, 30, 100 % of 480 labeled images x seeds (2) = 30 runs" in said
    assert "of 30 steps of 16 images each, whatever the labels: 96 times all of 5, 1 times all of 480" in said
    assert re.search(r"3\.1e\+13 operations: \S+ hours of a", said)  # of 31 runs, elsewhere
    assert "label factor of own MAE at 5 images: 10 [10, 10]" in said
    assert [shows_something(Path("s/report") / name) for name in ("labels.png", "labels.svg")] == [True, True]
    assert "label factor" in Path("s/report/index.html").read_text()
    assert len(json.loads(Path("s/results.json").read_text())) > 0
    told = Path("s/results.csv").read_text().splitlines(), Path("s/results.md").read_text().splitlines()
    assert [len(lines) > 2 for lines in told] == [True, True]
    single = [each.replace("0.01,0.03,0.1,0.3,1", "0.1").replace("=0,1", "=1") for each in common]
    config = compose_config([each for each in single if not each.startswith("hydra")])
    assert (config.data.label_fraction, config.data.label_seed, config.group) == (0.1, 1, "study")


@pytest.mark.usefixtures("undrawn")
def test_without_words_it_is_of_embedded_scenes_and_quick_is_shorter(started, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["/bin/mae-hydra", "study", "a b"])
    assert main(["study", "--quick"]) == 0
    folder = "hydra.sweep.dir=outputs/studies/demo_study_quick"
    pretrain = ["model=mae_vitt", "schedule.unit=step", "schedule.total=200", "schedule.warmup=20", "seed=0"]
    labeled = ["model=upernet_vitt", "+experiment=demo_study", "schedule.unit=step", "schedule.total=60",
               "schedule.warmup=6"]  # fmt: skip
    common = ["+sweep=study", *labeled, "data.label_fraction=0.01,0.1,1", "seed=0"]
    assert started == [
        [*pretrain, f"{folder}/pretrain"],
        [*common, "optimizer.layer_decay=1.0", f"{folder}/scratch"],
        [*common, "init_from=outputs/studies/demo_study_quick/pretrain/job-1-0", f"{folder}/mae"],
    ]
    record = json.loads(Path("outputs/studies/demo_study_quick/study.json").read_text())
    assert (record["out"], record["words"], record["pretrain"]) == (
        "outputs/studies/demo_study_quick", labeled, pretrain
    )  # fmt: skip
    assert record["arms"] == {"scratch": ["optimizer.layer_decay=1.0"], "mae": []}
    assert record["command"] == "mae-hydra study 'a b'"
    said = capsys.readouterr().out
    for place, (start, arm) in enumerate((("from scratch", "scratch"), ("from the own MAE", "mae")), 1):
        assert f"\n[{place}/2] {start} -> outputs/studies/demo_study_quick/{arm}\n" in said
    assert said.count("\n      python train.py -m ") == 3
    started.clear()
    assert main(["study", "--quick", "schedule.total=7", "head.channels=16", "paths.output_root=there"]) == 0
    assert started[1][-1] == "hydra.sweep.dir=there/studies/demo_study_quick/scratch"
    assert "paths.output_root=there" in started[0]
    assert [each for each in started[1] if "schedule" in each or "head" in each] == [  # what is typed comes last
        "schedule.total=7", "head.channels=16", "schedule.unit=step", "schedule.warmup=6"
    ]  # fmt: skip
    assert started[1].index("+experiment=demo_study") < started[1].index("schedule.total=7")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("failing", "code", "ran"), [("pretrain", 1, 1), ("scratch", 1, 3), ("mae", 1, 3), ("", 0, 3)])
def test_a_sweep_that_failed_fails_the_study_and_without_its_pre_training_nothing_else_begins(
    started, monkeypatch, capsys, failing, code, ran
):
    run = stages.run_apart
    monkeypatch.setattr(
        stages, "run_apart", lambda command: (int(command[-1] == f"hydra.sweep.dir=s/{failing}"), run(command)[1])
    )
    assert main(["study", "--quick", "--out", "s"]) == code
    assert len(started) == ran
    assert ("the pre-training failed, see s/pretrain; the same command goes on" in capsys.readouterr().err) is (ran < 3)


def test_a_study_of_images_that_are_not_here_is_refused(started, monkeypatch, capsys):
    away = SimpleNamespace(**PLANNED | {"assumed_images": True})
    monkeypatch.setattr(plan_module, "plan", lambda *_, **__: away)
    assert main(["study", "model=upernet_vitt", "data=ade20k", "data.root=nowhere"]) == 1
    assert "a study needs the labeled images, and data.root=nowhere is not there" in capsys.readouterr().err
    assert not started


@pytest.mark.parametrize(
    ("doubt", "caution", "unfinished", "last"),
    [
        ("a doubt", "a caution", ["scratch/a: dead", "mae/b: failed"], ["a doubt", "2 runs are missing; the same"]),
        ("", "a caution", [], ["a caution"]),
        ("", "", ["scratch/a: dead"], ["1 run is missing; the same"]),
        ("", "", [], []),
    ],
)
def test_what_a_study_found_ends_with_what_speaks_against_it(
    monkeypatch, capsys, tmp_path, doubt, caution, unfinished, last
):
    from mae_hydra.commands import study

    found = SimpleNamespace(metric="val/mIoU", doubt=doubt, caution=caution, unfinished=unfinished)
    monkeypatch.setattr("mae_hydra.experiment.many.label_study.read_study", lambda out: found)
    monkeypatch.setattr("mae_hydra.report.write_report", lambda out: "the/page")
    rows = [["scratch", "1 %", "5", "10", "3", ""], ["mae", "1 %", "5", "20", "3", "7"]]
    monkeypatch.setattr("mae_hydra.report.study_page.cells", lambda told: rows)
    monkeypatch.setattr("mae_hydra.report.study_page.headlines", lambda told: {"one": "two", "three": "four " * 20})
    monkeypatch.setenv("COLUMNS", "70")  # a headline is a line, whatever its length
    study._show(tmp_path)
    said = capsys.readouterr().out.splitlines()
    place = said.index("one: two")
    assert said[place + 1].rstrip() == f"three: {'four ' * 20}".rstrip()
    for line, told in zip(said[place + 2 :], [*last, "the curves: the/page"], strict=True):
        assert line.startswith(told)
    shown = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said if line.startswith("│")]
    assert shown == rows


def test_a_study_is_of_runs_with_labels_that_nothing_follows(monkeypatch):
    config = SimpleNamespace(name="n", task="segment", then=[])
    composed: list = []
    monkeypatch.setattr(words, "composed", lambda typed: composed.append(typed) or config)
    assert words.composed_labeled(["a=1"]) is config
    assert composed == [["+sweep=study", "a=1"]]
    config.task = "classify"
    assert words.composed_labeled([]) is config
    config.then = ["upernet", "probe"]
    with pytest.raises(UserError, match=r"a study judges its own runs, and upernet, probe would follow each of them"):
        words.composed_labeled([])
    config.task = "pretrain"
    with pytest.raises(UserError, match="a study is about labels, and n learns without any"):
        words.composed_labeled([])


@pytest.mark.usefixtures("undrawn")
def test_it_goes_on_with_more_seeds_but_not_with_other_words(started, capsys):
    assert main(["study", "--out", "s", "--seeds", "0"]) == 0
    assert main(["study", "--out", "s", "--seeds", "0,1", "logger=tensorboard"]) == 0
    said = capsys.readouterr().out
    assert "10 of the runs are complete, and are not repeated" in said
    assert "\n1e+13 operations" in said  # of ten that are left, and of no pre-training
    assert main(["study", "--out", "s", "head.channels=16"]) == 1
    assert "is a study with other words for the labeled runs" in capsys.readouterr().err
    assert len(started) == 6


@pytest.mark.usefixtures("undrawn")
def test_a_start_keeps_its_weights_and_its_curve(started, tmp_path, capsys):
    """Runs of both would lie in one folder, and of each seed the better one would count."""
    quick = ["study", "--quick", "--no-pretrain", "--from"]
    assert main([*quick, "released=a.pth", "--out", "s"]) == 0
    assert "\n[2/2] from released -> s/released\n" in capsys.readouterr().out
    assert main([*quick, "released=b.pth", "--out", "s"]) == 1
    assert "other words for the start released (init_from=a.pth, now init_from=b.pth)" in capsys.readouterr().err
    assert main(["study", "--quick", "--scratch", "optimizer.lr=1e-3", "--out", "s"]) == 1
    assert "other words for the start scratch" in capsys.readouterr().err
    assert main(["study", "--quick", "--out", str(tmp_path / "s")]) == 0
    assert list(read_study(Path("s")).arms) == ["scratch", "released", "mae"]
    assert started[-1][-2:] == ["init_from=s/pretrain/job-1-0", "hydra.sweep.dir=s/mae"]  # as it was typed first


@pytest.mark.usefixtures("undrawn")
def test_what_is_left_counts_the_shares_and_seeds_that_are_asked_for(started, capsys):
    quick = ["study", "--quick", "--no-pretrain", "--from", "a=a.pth", "--out", "s"]
    assert main([*quick, "--seeds", "0"]) == main([*quick, "--seeds", "1,2", "--plan"]) == 0
    assert "of the runs are complete" not in capsys.readouterr().out


def test_to_plan_starts_nothing(started, capsys):
    assert main(["study", "--plan"]) == 0
    assert "30 runs" in (said := capsys.readouterr().out)
    assert "about 60 s here" in said
    assert not started
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["seed=1"], "a study says this itself; use --seeds"),
        (["init_from=x.pth"], "use --from"),
        (["data.label_fraction=0.1"], "use --fractions"),
        (["data.label_seed=1"], "use --seeds"),
        (["resume=must"], "use the same command, which goes on"),
        (["data.batch_size=4,8"], "a study sweeps over labels and seeds alone; give one value"),
        (["model=mae_vitt"], "a study is about labels, and mae_vitt learns without any"),
        (["--fractions", "0,1"], "--fractions takes shares in (0, 1], got 0,1"),
        (["--seeds", "a"], "--seeds takes numbers with commas between them, got 'a'"),
        (["--no-pretrain"], "there is nothing to compare with training from scratch"),
        (["--from", "mae=x.pth"], "--from takes weights and a name for them"),
        (["--from", "../x=x.pth"], "--from takes weights and a name for them"),
        (["--pretrain", "model=upernet_vitt"], "--pretrain names no pre-training (its task is segment)"),
        (["model=upernet_vitt", "backbone.embed_dim=96"], "no MAE is known for this encoder"),
        (["--no-pretrain", "--pretrain", "model=mae_vits", "--from", "a=x.pth"], "which --no-pretrain leaves out"),
        (["--scratch", "optimizer.lr=1e-4,1e-3"], "a study sweeps over labels and seeds alone; give one value"),
        (["--scratch", "init_from=x.pth"], "use --from"),
        (["--scratch", "a='b"], "--scratch takes words as train.py does"),
        (["--pretrain", "schedule.total=10,20"], "a study sweeps over labels and seeds alone; give one value"),
        (["--from", "results.json=x.pth"], "--from takes weights and a name for them"),
        (["hydra/sweeper=optuna"], "a study says this itself"),
        (["+experiment=upernet_vitb_ade20k", "paths.data_root=x"], "an experiment chose the data of the labeled runs"),
    ],
)
def test_what_cannot_be_is_one_sentence_before_anything_starts(started, typed, said, capsys):
    assert main(["study", *typed]) == 1
    assert said in capsys.readouterr().err
    assert not started


def test_the_time_is_that_of_all_steps_and_of_their_evaluations(monkeypatch):
    times = iter([0.0, 9.0, 14.0, 20.0, 24.0, 30.0, 36.0])  # after the first one, steps take 5, 4 and 6 s
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    monkeypatch.setattr(cost, "composed", lambda words: SimpleNamespace(engine=None))
    settings = SimpleNamespace(torch_device=torch.device("cpu"), apply=lambda: None)
    monkeypatch.setattr(cost, "build", lambda node, key: settings)
    monkeypatch.setattr(cost, "training_step", lambda config, settings: (lambda: None,))
    made: Any = SimpleNamespace(flops_per_image=1.0, global_batch=2, devices=2, steps=100, evaluation_share=0.5)
    assert cost._seconds([([], made, 3)]) == 3 * (12 + 100 * 4 / 2 * 1.5)
    made.flops_per_image = 1e12
    assert cost._seconds([([], made, 3)]) is None
    hours = 2 * 3600 * cost.GPU.low * 1e12 * 0.4
    assert (
        cost._time([(["hydra/launcher=slurm"], made, 1)], hours) == f"2 hours of a {cost.GPU.name} at 40 % of its peak"
    )
    assert words.numbers("--seeds", "2,0,2", int) == [0, 2]


@pytest.mark.parametrize(("load", "busy"), [(4.0, False), (5.9, False), (6.1, True)])
def test_that_others_use_the_machine_is_said_by_its_processors(monkeypatch, load, busy):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 9.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(cost, "_seconds", lambda left: 60.0)
    said = "about 60 s here, one run after the other and without waiting for data"
    assert cost._time([([], PLANNED, 0)], 1e12) == said + (", as busy as the machine is now" if busy else "")


def test_a_study_that_was_moved_is_where_it_is_now(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("s", "moved"):
        Path(folder).mkdir()
        Path(folder, "study.json").write_text('{"out": "s", "arms": {}}')
    places = [Path("s"), tmp_path / "s", Path("moved"), Path("new")]
    assert list(map(words.as_before, places)) == [Path("s"), Path("s"), Path("moved"), Path("new")]


def test_what_an_experiment_says_of_the_data_alone_is_refused_unless_it_is_typed():
    typed = ["model=upernet_vitt", "data=scenes"]
    config = compose_config([*typed, "data.num_train=7", "data.batch_size=3", "data.num_workers=1"])  # by an experiment
    with pytest.raises(UserError, match=r"differ in data\.num_train, which an experiment or option says of the former"):
        words.pretraining(typed, "", config, {})
    own = words.pretraining(typed, "data.num_train=7", config, {})
    assert own == ["model=mae_vitt", "data=scenes", "data.num_train=7", "seed=0"]
    assert "data=scenes" in words.pretraining(typed, "data=scenes", config, {})
    own = words.pretraining(
        typed, "data.num_train=7 init_from=x seed=3 schedule.total=5", config, {"schedule.total": "9"}
    )
    assert own[2:] == [
        "data.num_train=7",
        "init_from=x",
        "seed=3",
        "schedule.total=5",
    ]  # each is the pre-training's own


def test_the_runs_are_told_with_how_often_they_see_each_image(tmp_path, capsys, monkeypatch):
    made: Any = SimpleNamespace(
        images=(400, 50), steps=100, global_batch=8, total_flops=1e12, evaluation_share=0.5, name="m"
    )
    config = compose_config(["model=upernet_vitt"])
    launched = ["hydra/launcher=slurm"]
    done = [(0.01, 1), (0.01, 7), (0.5, 1)]  # share and seed; the first is among those that are asked for
    runs = [SimpleNamespace(config={"data": {"label_fraction": share}, "seed": seed}) for share, seed in done]
    monkeypatch.setattr(cost, "_completed", lambda sweep: runs if sweep.name == "mae" else [])
    cost.say_cost(tmp_path, ["scratch", "mae"], [0.01, 1.0], [0, 1, 2], (launched, made), ([], None), config)
    said = capsys.readouterr().out
    assert "1, 100 % of 400 labeled images x seeds (3) = 12 runs" in said
    assert "of 100 steps of 8 images each, whatever the labels: 200 times all of 4, 2 times all of 400" in said
    assert "\n1 of the runs are complete" in said
    assert "1.65e+13 operations" in said  # 11 runs of 1e12 and half as much for evaluations


def test_epochs_become_steps_so_that_few_labels_train_as_long():
    made: Any = SimpleNamespace(steps=500, warmup_steps=25)
    typed = ["model=classifier_vitt", "data=scene_classes"]
    by_epochs, by_steps = (compose_config([*typed, *more]) for more in (["schedule=cosine_100e"], []))
    assert words.equal_steps(by_epochs, made) == ["schedule.unit=step", "schedule.total=500", "schedule.warmup=25"]
    assert words.equal_steps(by_steps, made) == []
    own: Any = SimpleNamespace(schedule={"_target_": "mylab.schedule", "total": 5})  # whose keys nobody knows
    assert words.equal_steps(own, made) == []


@pytest.mark.slow
def test_a_study_that_was_killed_goes_on_and_trains_nothing_twice(tmp_path):
    """Of smallest models, from the pre-training to the page; killed while its first sweep runs."""
    typed = [
        "model=upernet_vitt",
        *TINY_UPERNET,
        "schedule.total=40",
        "--fractions",
        "0.5,1",
        "--seeds",
        "0",
        "--out",
        "s",
    ]
    typed += ["--pretrain", "model=mae_vitt head.embed_dim=16 head.depth=1 head.num_heads=2"]
    killed = Forked(["-m", "mae_hydra", "study", *typed], tmp_path)
    wait_for(lambda: list(tmp_path.glob("s/scratch/*/metrics.jsonl")))
    os.kill(killed.pid, signal.SIGKILL)
    wait_for(lambda: all(run.state != "running" for run in read_sweep(tmp_path / "s/scratch")))
    again = Forked(["-m", "mae_hydra", "study", *typed], tmp_path)
    said, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors
    assert "label factor of own MAE at 8 images" in said
    study = read_study(tmp_path / "s")
    found = [(arm, point.images) for arm, points in study.arms.items() for point in points]
    assert found == [("scratch", 8), ("scratch", 16), ("mae", 8), ("mae", 16)]
    (pretrained,) = read_sweep(tmp_path / "s/pretrain")
    assert pretrained.status["attempt"] == 1
    mae = read_sweep(tmp_path / "s/mae")
    assert {run.config["init_from"] for run in mae} == {f"s/pretrain/{pretrained.name}"}
    for arm in ("scratch", "mae"):  # every step once, in every run
        for run in read_sweep(tmp_path / "s" / arm):
            steps = [row["step"] for row in run.rows() if "train/loss" in row]
            assert (steps, run.status["state"]) == (sorted(set(steps)), "completed")


def wait_for(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 240
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)

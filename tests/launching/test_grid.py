"""A grid takes values together where it is told to, and looks at its jobs before the first of them starts."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mae_hydra.launching import launch, look_ahead, stages
from mae_hydra.launching.grid import Grid
from mae_hydra.launching.launch import launch as start


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The words of the jobs that were started, sorted; none of them is trained."""
    from hydra.core.hydra_config import HydraConfig

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    jobs: list[list[str]] = []
    monkeypatch.setattr(launch, "_job", lambda config: jobs.append(sorted(HydraConfig.get().overrides.task)))
    return jobs


ZIPPED = ["-m", "seed=0,1", "optimizer.lr=0.1,0.2", "model.mask_ratio=0.5,0.75"]


def test_zipped_values_are_taken_together_and_crossed_with_the_others(started, monkeypatch):
    monkeypatch.setattr("mae_hydra.launching.grid.check_jobs", lambda *_: None)
    assert start([*ZIPPED, "+sweep.zip=[optimizer.lr,model.mask_ratio]"]) == 0
    swept = [tuple(word for word in job if not word.startswith("+")) for job in started]
    pairs = [("model.mask_ratio=0.5", "optimizer.lr=0.1"), ("model.mask_ratio=0.75", "optimizer.lr=0.2")]
    assert swept == [(*pair, f"seed={seed}") for seed in (0, 1) for pair in pairs]


def test_a_key_that_is_added_is_zipped_by_its_name(started, monkeypatch):
    monkeypatch.setattr("mae_hydra.launching.grid.check_jobs", lambda *_: None)
    words = ["seed=1,0", "+model.more=5,6", "optimizer.lr=0.1,0.2", "+sweep.zip=[model.more,optimizer.lr,seed]"]
    assert start(["-m", *words]) == 0
    assert started == [
        ["+model.more=5", "optimizer.lr=0.1", "seed=1"], ["+model.more=6", "optimizer.lr=0.2", "seed=0"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.lr=1,2,3", "+sweep.zip=[seed,optimizer.lr]"], "equally many: seed has 2, optimizer.lr has 3"),
        (["+sweep.zip=[seed,optimizer.beta]"], "must name two keys or more that have several values; those are: seed"),
        (["+sweep.zip=[seed]"], "must name two keys"),
        (["+sweep.zip=seed"], "must name two keys"),
    ],
)
def test_what_cannot_be_taken_together_is_refused_before_a_job_starts(started, capsys, words, said):
    assert start(["-m", "seed=0,1", *words]) == 1
    assert said in capsys.readouterr().err
    assert started == []


def test_a_value_that_fits_no_job_is_said_before_the_first_one_starts(started, capsys):
    assert start(["-m", "model.mask_ratio=0.5,half", "seed=0,1"]) == 1
    said = capsys.readouterr().err
    assert "model.mask_ratio" in said
    assert "(in the job model.mask_ratio=half seed=0); no job was started" in said
    assert start(["-m", "model.mask_ratio=half"]) == 1
    assert "(in the job " not in capsys.readouterr().err  # there is no other
    assert start(["-m", "model.mask_ratio=0.5,half", "hydra.sweeper.max_batch_size=1"]) == 1  # in the second batch
    assert "(in the job model.mask_ratio=half); no job was started" in capsys.readouterr().err
    assert start(["-m", "seed=0,1", "+then.u=['model=upernet_vitt','head.chanels=16']"]) == 1
    assert "then.u: unknown key 'head.chanels'; did you mean 'head.channels'?" in capsys.readouterr().err
    assert start(["-m", "seed=0,1", "+model.mask_ration=0.5"]) == 1
    assert "mask_ration" in capsys.readouterr().err
    assert started == []


def test_a_whole_part_is_looked_at_as_a_job_takes_it_and_stages_are_looked_at_too(started, capsys):
    assert start(["-m", "seed=0", "optimizer={_target_: torch.optim.SGD, _partial_: true, lr: 0.1}"]) == 0
    assert len(started) == 1
    assert start(["-m", "seed=0,1", '+then.probe=["--help"]']) == 1
    said = capsys.readouterr().err
    assert "then.probe holds overrides of the configuration alone" in said
    assert "(in the job " in said
    assert len(started) == 1


def test_a_grid_whose_losses_do_not_compare_says_so_before_it_starts(started, capsys):
    words = ["-m", "model=mae_vitt", "model.mask_ratio=0.5,0.75"]
    assert start(words) == 0
    assert "note: val/loss is measured at each job's own model.mask_ratio" in capsys.readouterr().err
    assert start([*words, "inference.mask_ratio=0.75"]) == 0
    assert "note:" not in capsys.readouterr().err


def test_of_many_jobs_those_are_looked_at_that_bring_a_new_word(monkeypatch):
    looked: list[list[str]] = []
    monkeypatch.setattr(look_ahead, "_check", lambda context, master, words, jobs: looked.append(words) or {})
    monkeypatch.setattr(look_ahead, "MOST", 12)
    jobs = [[f"a={a}", f"b={b}", f"c={c}"] for a in range(10) for b in range(10) for c in range(10)]
    look_ahead.check_jobs(object(), object(), jobs)  # type: ignore[arg-type]
    assert {word for words in looked for word in words} == {f"{key}={n}" for key in "abc" for n in range(10)}
    assert len(looked) == 28
    looked.clear()
    look_ahead.check_jobs(object(), object(), jobs[:12])  # type: ignore[arg-type]
    assert len(looked) == 12


def test_what_follows_a_job_is_looked_at_with_the_words_of_that_job(monkeypatch, tmp_path):
    config = OmegaConf.create({"hydra": {"job": 1}, "then": {"u": ["model=u"]}, "seed": 1})
    told: list[object] = []
    monkeypatch.setattr(look_ahead, "composed", lambda *given: (config, tmp_path))
    monkeypatch.setattr(look_ahead, "take_whole_nodes", lambda *given: told.append(given))
    monkeypatch.setattr(look_ahead, "check", told.append)
    monkeypatch.setattr(stages, "check_stages", lambda *given: told.append(given))
    job = look_ahead._check(None, None, ["seed=1"], 1)  # type: ignore[arg-type]
    assert job == {"then": {"u": ["model=u"]}, "seed": 1}
    assert told == [(job, ["seed=1"]), job, ({"u": ["model=u"]}, ["seed=1"], tmp_path)]
    assert "hydra" in config  # which belongs to the job itself


def test_jobs_are_handed_to_the_launcher_in_batches_of_the_size_that_was_asked_for():
    grid = Grid(max_batch_size=2, params=None)
    overrides = OverridesParser.create().parse_overrides(["seed=0,1,2", "lr=5"])
    jobs = [[f"seed={n}", "lr=5"] for n in range(3)]
    for size, batches in ((2, [jobs[:2], jobs[2:]]), (None, [jobs])):
        assert [list(map(list, batch)) for batch in grid.split_arguments(overrides, size)] == batches

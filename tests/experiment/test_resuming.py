"""`resume=<run directory>` is the run's own command line; and what stands in a file makes nobody do anything."""

import json
import os
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mae_hydra.configuration.command_words import values, word
from mae_hydra.configuration.option_files import option
from mae_hydra.errors import UserError
from mae_hydra.experiment import resuming
from mae_hydra.experiment.resuming import expanded, lasting, moved, refuse_foreign, to_go_on
from mae_hydra.launching.launch import launch
from mae_hydra.recorded.options import composed


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What a run leaves of its command line."""
    directory = tmp_path / "outputs/run"
    directory.mkdir(parents=True)
    record(directory, "model=mae_vitt", "data.num_workers=2", "optimizer.lr=0.1")
    return directory


def record(directory: Path, *words: str, command: tuple[str, ...] = (), before: Path | None = None) -> None:
    (directory / "overrides.yaml").write_text(yaml.safe_dump(list(words)))
    told = {"command": ["python", "train.py", *command], "folder": str(directory.parent.parent)}
    (directory / "environment.json").write_text(json.dumps(told))
    (directory / "config.yaml").write_text(yaml.safe_dump({"paths": {"run_dir": str(before or directory)}}))


def test_the_directory_alone_is_enough(run):
    assert expanded([f"resume={run}"]) == [
        "model=mae_vitt", "data.num_workers=2", "optimizer.lr=0.1", f"resume={run}",
    ]  # fmt: skip


def test_words_of_ones_own_go_on_top(run):
    assert expanded([f"resume={run}", "data.num_workers=0", "tags=[a]"]) == [
        "model=mae_vitt", "optimizer.lr=0.1", f"resume={run}", "data.num_workers=0", "tags=[a]",
    ]  # fmt: skip


def test_a_group_that_is_chosen_anew_takes_the_words_for_it_along(run):
    record(run, "evaluation=pretrain", "evaluation.validation.every=7", "logger=wandb", "logger.wandb.project=p")
    assert expanded([f"resume={run}", "evaluation=none"]) == [
        "logger=wandb", "logger.wandb.project=p", f"resume={run}", "evaluation=none",
    ]  # fmt: skip
    assert "logger.wandb.project=p" in expanded([f"resume={run}", "logger=wandb"])  # the same choice again
    record(run, "optimizer.groups.a.lr=1", "optimizer.grouped=2")
    assert expanded([f"resume={run}", "optimizer.groups.a={}"])[0] == "optimizer.grouped=2"  # however deep it lies
    record(run, "then.optimizer.lr=1", "optimizer.lr=2")
    assert expanded([f"resume={run}", "optimizer=sgd"])[0] == "then.optimizer.lr=1"  # which lies in another group


@pytest.mark.parametrize("words", [["resume=auto"], ["resume=never"], ["resume=null"], ["resume=nowhere"], ["seed=1"]])
def test_without_a_directory_a_command_line_stays_as_it_is(run, words):
    assert expanded(words) == words
    assert resuming.source is None


@pytest.mark.parametrize(
    ("made", "answer"),
    [
        ("photo.jpg", "no checkpoints/last.pt there; give the directory of an interrupted run"),
        ("config.yaml", "no checkpoints/last.pt there"),
        ("one/status.json two/status.json", "holds runs and is none; resume one of them, resume={0}/two, say"),
        ("one/status.json", "holds runs and is none; resume one of them, resume={0}/one, say"),
        ("multirun.yaml", "its command goes on with it (python train.py -m … hydra.sweep.dir={0}); or resume one of "),
    ],
)
def test_a_folder_that_is_no_run_stays_as_it_is(tmp_path, capsys, monkeypatch, made, answer):
    folder = tmp_path / "folder"
    for name in made.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    before = sorted(folder.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert launch([f"resume={folder}"]) == 1
    assert answer.format(folder) in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("name", ["status.json", "overrides.yaml", "checkpoints"])
def test_a_folder_with_one_of_these_is_a_run(tmp_path, name):
    folder = tmp_path / "folder"
    folder.mkdir()
    if name == "checkpoints":
        (folder / name).mkdir()
    else:
        (folder / name).write_text("[seed=1]" if name == "overrides.yaml" else "{}")
    assert expanded([f"resume={folder}"]) == ["seed=1"] * (name == "overrides.yaml") + [f"resume={folder}"]


def test_how_to_begin_is_no_folder_of_that_name(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("auto", "never", "other"):
        (tmp_path / name).mkdir()
        assert resuming.directory_of([f"resume={name}"]) == (Path("other") if name == "other" else None)


def test_a_sweep_takes_no_words_of_a_run(run):
    for several in ("-m", "--multirun"):
        words = [several, "seed=1,2", f"resume={run}"]
        assert expanded(words) == words


def test_how_to_begin_is_not_recorded_and_not_taken(run):
    assert lasting(["resume=outputs/a", "resume_data=changed", "seed=1"]) == ["seed=1"]
    record(run, "resume=/old/place", "resume_data=changed", "seed=1")
    assert expanded([f"resume={run}"]) == ["seed=1", f"resume={run}"]


def test_the_last_directory_that_was_typed_counts(run, tmp_path):
    other = tmp_path / "outputs/other"
    other.mkdir()
    record(other, "seed=3")
    words = [f"resume={run}", f"resume={other}"]
    assert expanded(words)[0] == "seed=3"
    assert resuming.directory_of(words) == resuming.source == other
    (tmp_path / "a file").touch()
    for last in ("resume=[", f"resume='{tmp_path}/a file'", f"resume=[{other}]", "resume=auto"):
        assert resuming.directory_of([f"resume={run}", last]) is None


def test_a_word_below_a_key_is_typed_for_it(run):
    expanded([f"resume={run}", "then.probe=[a]", "seed=1"])
    assert [resuming.typed_for(key) for key in ("then", "then.probe", "seed", "the", "model")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_what_follows_a_run_that_is_gone_on_with_is_told_which_words_were_typed(run, tmp_path, monkeypatch):
    assert resuming.handed_on(["seed=1"]) == {}
    record(run, "model=mae_vitt")
    expanded([f"resume={run}", "logger=wandb", "--config-dir", str(tmp_path), "notes=x"])
    mark = resuming.handed_on(["logger=wandb", "model=u"])
    told = json.loads(mark[resuming.FOLLOWING])
    assert told["source"] == str(run.absolute())
    assert told["typed"] == ["logger=wandb", "--config-dir"]
    monkeypatch.chdir(tmp_path)
    expanded(["resume=outputs/run"])  # what follows may start elsewhere
    assert json.loads(resuming.handed_on([])[resuming.FOLLOWING]) == {"source": str(run), "typed": []}


def test_what_follows_a_run_judges_option_files_that_nobody_has_typed_as_the_run_did(monkeypatch):
    asked = []
    monkeypatch.setattr(resuming, "refuse_acting", lambda *told: asked.append(told))
    for typed, words in (
        (["logger=wandb"], ["seed=1", "--config-dir", "own"]), (["seed=1"], ["hydra.searchpath=[own]"]),
        (["--config-dir=own"], ["--config-dir=own"]), (["seed=1"], ["seed=1"]),
    ):  # fmt: skip
        monkeypatch.setenv(resuming.FOLLOWING, json.dumps({"source": "/a/run", "typed": typed}))
        assert expanded(words) == words
        assert (resuming.source, resuming.typed) == (Path("/a/run"), tuple(typed))
        assert resuming.FOLLOWING not in os.environ  # of this process alone
    assert asked == [
        (["seed=1", "--config-dir", "own"], ("logger=wandb",), Path("/a/run")),
        (["hydra.searchpath=[own]"], ("seed=1",), Path("/a/run")),
    ]  # fmt: skip
    expanded(["seed=1"])
    assert (resuming.source, resuming.typed) == (None, ("seed=1",))


def test_without_what_was_typed_now_the_words_are_those_of_the_run_that_a_file_may_say(run, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    record(run, "seed=1", "data.root=photos", "notes=${oc.env:HOME}", "optimizer.lr=0.1", "resume=never")
    words = expanded(["--info", "config", f"resume={run}", "seed=2", "notes=x", "optimizer={}"])
    photos = f"data.root={tmp_path / 'photos'}"
    assert words == ["--info", "config", photos, f"resume={run}", "seed=2", "notes=x", "optimizer={}"]
    assert resuming.own == ("--info", "config", "seed=1", photos, "optimizer.lr=0.1")
    expanded(["seed=1"])
    assert resuming.own is None


def test_weights_at_an_address_that_only_a_record_tells_are_not_fetched(run, monkeypatch):
    config = OmegaConf.create({"init_from": "https://weights.example/a.pt"})
    expanded([f"resume={run}"])
    with pytest.raises(UserError, match=r"outputs/run: .*weights\.example"):
        resuming.refuse_recorded_address(config, run)
    resuming.refuse_recorded_address(OmegaConf.create({"init_from": "a.pt"}), run)
    expanded([f"resume={run}", "init_from=https://weights.example/a.pt"])
    resuming.refuse_recorded_address(config, run)


def test_a_record_without_measure_is_not_read(run):
    (run / "overrides.yaml").write_text("- " + "a" * resuming.MOST_BYTES)
    with pytest.raises(UserError, match=r"does not hold a run's overrides \(it is too large\)"):
        expanded([f"resume={run}"])


def test_words_for_hydra_itself_are_not_taken(run):
    acting = [
        "hydra.callbacks.x._target_=os.system",
        "+hydra.job.env_set.A=1",
        "hydra/launcher=joblib",
        "++hydra.mode=x",
    ]
    record(run, *acting, "seed=1")
    assert expanded([f"resume={run}"]) == ["seed=1", f"resume={run}"]


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"seed: 1",
        b"- 1\n- 2",
        b"- a=1\n- 2",
        b"[",
        b"- [a]",
        b"!!python/object/apply:os.system ['touch x']",
        b"[" * 700,
    ],
)
def test_overrides_that_are_none_are_one_sentence(run, content):
    (run / "overrides.yaml").write_bytes(content)
    with pytest.raises(
        UserError, match=r"overrides.yaml (does not hold a run's overrides.*whole command line|cannot be)"
    ):
        expanded([f"resume={run}"])


@pytest.mark.parametrize("recorded", ["seed=1,2", "seed=range(3)", "seed", "a=b=c", "=", "a=[", "--multirun", "-m"])
def test_a_word_that_is_none_of_a_single_run_is_one_sentence(run, recorded):
    record(run, recorded)
    with pytest.raises(UserError, match=r"overrides\.yaml(:| holds)"):
        expanded([f"resume={run}"])


HOSTILE = [
    {"model": {"_target_": "os.system", "command": "touch x"}},
    {"optimizer": {"_target_": "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler"}},
    {"evaluation": {"a": [{"b": {"_target_": "antigravity.geohash"}}]}},
    {"data": {"_target_": ["mae_hydra.data.scenes"]}},
    {"data": {"_target_": "mae_hydra_evil.x"}},
    {"notes": {"_target_": "subprocess.Popen"}, "model": "${notes}"},
]


@pytest.mark.parametrize("config", HOSTILE, ids=str)
def test_what_a_file_would_have_built_is_refused_by_name(run, config):
    with pytest.raises(UserError, match=r"outputs/run: .*_target_ = .* is not built"):
        refuse_foreign(OmegaConf.create(config), run, [f"resume={run}"])


def test_what_is_ours_trusted_or_typed_is_built(run, monkeypatch):
    monkeypatch.setenv("MAE_HYDRA_TRUST", "jaxtyping")
    nodes = {
        "model": "mae_hydra.models.MAE",
        "data": "jaxtyping.Float",
        "head": "torch.nn.Dropout",
        "optimizer": "torch.optim.SGD",
    }
    config = OmegaConf.create({name: {"_target_": target} for name, target in nodes.items()})
    refuse_foreign(config, run, ["head._target_=torch.nn.Dropout"])
    with pytest.raises(
        UserError, match=r"loss\._target_ = os\.system is not built"
    ):  # one that is typed allows no other
        refuse_foreign(
            OmegaConf.merge(config, {"loss": {"_target_": "os.system"}}), run, ["head._target_=torch.nn.Dropout"]
        )
    with pytest.raises(UserError, match=r"head\._target_"):
        refuse_foreign(config, run, [])


@pytest.mark.parametrize(
    "words",
    [["notes=torch.nn.Dropout"], ["head._target_=torch.nn.DropoutX"], ["tags=[head._target_=torch.nn.Dropout]"]],
)
def test_a_target_that_is_a_part_of_another_word_is_not_typed(run, words):
    config = OmegaConf.create({"data": {}, "head": {"_target_": "torch.nn.Dropout"}})
    with pytest.raises(UserError, match=r"head\._target_"):
        refuse_foreign(config, run, words)


def test_a_target_may_be_typed_within_a_dictionary(run):
    config = OmegaConf.create({"data": {}, "head": {"_target_": "torch.nn.Dropout"}})
    refuse_foreign(config, run, ["head={_target_: torch.nn.Dropout}"])


@pytest.mark.parametrize(
    "data", [{"root": "https://a.org"}, {"roots": ["x", ["https://a.org/b"]]}, {"a": {"b": "s3://a"}}]
)
def test_an_address_counts_as_typed_where_it_is_typed_whole(run, data):
    config = OmegaConf.create({"data": data})
    for words in ([], ["notes=see https://a.organic/b s3://ab"], ["data.root=xhttps://a.org"], ["tags=[s3://a.b]"]):
        with pytest.raises(UserError, match="no connection is opened"):
            refuse_foreign(config, run, words)
    refuse_foreign(config, run, ["data.root=https://a.org/", "data.x='s3://a'"])


def test_option_files_of_ones_own_come_along(run, tmp_path):
    folder = tmp_path / "own"
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment/mine.yaml").write_text("# @package _global_\nseed: 5\n")
    record(run, "+experiment=mine", command=("--config-dir", "own", "+experiment=mine"))
    assert expanded([f"resume={run}"]) == ["--config-dir", str(folder), "+experiment=mine", f"resume={run}"]
    given = expanded(["--config-dir", "other", f"resume={run}"])
    assert given == ["--config-dir", "other", "+experiment=mine", f"resume={run}"]


@pytest.mark.parametrize("name", ["own", "it's, [mine] (a=b)"])
def test_a_primary_configuration_of_ones_own_comes_along_from_any_folder(run, tmp_path, monkeypatch, name):
    folders = [tmp_path / name, tmp_path / f"{name} too"]
    for folder in folders:
        (folder / "experiment").mkdir(parents=True)
    (folders[1] / "mine.yaml").write_text("defaults: [config, _self_]\nseed: 5\n")
    (folders[0] / "experiment/six.yaml").write_text("# @package _global_\nseed: 6\n")
    record(run, "data.num_workers=2", "+experiment=six")
    told = {"command": ["train.py"], "config_name": "mine", "config_folders": [str(each) for each in folders]}
    (run / "environment.json").write_text(json.dumps(told))
    words = expanded([f"resume={run}", "tags=[a]"])
    assert get_args_parser().parse_args(words).overrides[-4:] == [
        "data.num_workers=2", "+experiment=six", f"resume={run}", "tags=[a]",
    ]  # fmt: skip
    assert values(words, "--config-name") == ["mine"]
    assert composed(words)["seed"] == 6
    assert option("experiment", "six", [folders[0]]) == {}
    monkeypatch.setattr(resuming, "refuse_acting", lambda *told: None)
    words = expanded(["--config-name", "config", f"resume={run}"])  # which is the person's choice then
    assert values(words, "--config-name") == ["config"]
    assert folders[1].name in str(words)


@pytest.mark.parametrize(
    "words",
    [["--config-dir", "data"], ["--config-name", "optimizer"], ["--info", "defaults"], ["-cd=data", "-c", "job"]],
)
def test_the_value_of_an_option_is_no_word_for_the_configuration(run, words):
    record(run, "data=ade20k", "data.num_classes=5", "optimizer.lr=0.1")
    given = expanded([f"resume={run}", *words])
    assert given == [*words, "data=ade20k", "data.num_classes=5", "optimizer.lr=0.1", f"resume={run}"]


def test_a_word_that_takes_something_out_takes_the_words_for_it_along(run):
    assert expanded([f"resume={run}", "~optimizer"]) == [
        "model=mae_vitt", "data.num_workers=2", f"resume={run}", "~optimizer",
    ]  # fmt: skip


CALLING = [
    "notes=${oc.env:HOME}",
    "notes=${${group}:HOME}",
    "notes=${${a.b}${c}:HOME}",
    r"notes=$\{oc.env\:HOME\}",
    'notes={a: ["x${oc.env:HOME}"]}',
    "notes={'${oc.env:HOME}': 1}",
    '+then.x=["seed=${oc.env:HOME}"]',
]
LEAVING = ["+experiment=../../../../tmp/evil", "data=/tmp/../evil", "+x@hydra.callbacks=1", "+x@_global_.hydra=1"]


@pytest.mark.parametrize("recorded", [*CALLING, *LEAVING])
def test_a_word_that_would_call_a_function_or_leave_the_folders_of_options_is_not_taken_from_a_file(run, recorded):
    record(run, recorded)
    with pytest.raises(UserError, match=r"overrides\.yaml: .* is not taken from a file"):
        expanded([f"resume={run}"])


@pytest.mark.parametrize(
    "recorded",
    ["seed=${data.num_workers}", "+then.x=['a={b:c}','seed=${seed}','d=e:f']", "data.root=../photos", "init_from=../a"],
)
def test_a_word_that_only_refers_or_lies_elsewhere_is_taken(run, recorded):
    record(run, recorded)
    assert expanded([f"resume={run}"]) == [recorded, f"resume={run}"]


@pytest.mark.parametrize(
    "acting",
    [
        "hydra: {callbacks: {x: {_target_: os.system}}}",
        "hydra: {job: {env_set: {MAE_HYDRA_TRUST: evil}}}",
        "hydra: {job_logging: {handlers: {x: {(): subprocess.Popen}}}}",
        "hydra: {output_subdir: /any/path}",
        "hydra: {mode: MULTIRUN}",
        "hydra: {run: {dir: /any/path}}",
        "hydra: {verbose: true}",
        "notes: ${oc.env:HOME}",
        "tags: [{a: '${${group}:HOME}'}]",
    ],
)
def test_option_files_from_a_record_that_would_act_are_refused(run, tmp_path, acting):
    folder = tmp_path / "own"
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment/mine.yaml").write_text(f"# @package _global_\n{acting}\n")
    record(run, "+experiment=mine", command=(f"--config-dir={folder}", "+experiment=mine"))
    with pytest.raises(UserError, match=r"option files that .* (set hydra\.|hold \S+).*not taken from a file"):
        expanded([f"resume={run}"])
    expanded(["--config-dir", str(folder), f"resume={run}"])  # they are the person's then


def test_option_files_from_a_record_may_say_what_holds_for_sweeps(run, tmp_path, monkeypatch):
    folder = tmp_path / "own"
    (folder / "sweep").mkdir(parents=True)
    sweep = "hydra: {sweep: {dir: elsewhere}, sweeper: {params: {seed: '1,2'}}}"
    (folder / "sweep/mine.yaml").write_text(f"# @package _global_\n{sweep}\n")
    record(run, "+sweep=mine", command=(f"--config-dir={folder}", "+sweep=mine"))
    words = [f"resume={run}", "notes='${oc.env:HOME}'", "hydra.verbose=true"]  # which a person may say
    assert expanded(words) == ["--config-dir", str(folder), "+sweep=mine", *words]


def test_a_path_is_that_of_the_runs_own_folder_whatever_lies_here(run, tmp_path, monkeypatch):
    (tmp_path / "weights.pt").touch()
    record(run, "init_from=weights.pt")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/weights.pt").touch()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert expanded([f"resume={run}"])[0] == f"init_from={tmp_path / 'weights.pt'}"
    (tmp_path / "weights.pt").unlink()
    assert expanded([f"resume={run}"])[0] == "init_from=weights.pt"


def test_a_path_is_found_again_from_another_place_and_after_a_move(run, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "outputs/pretrained").mkdir()
    record(run, "data.root=photos", "init_from=outputs/pretrained")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    there = [f"data.root={tmp_path / 'photos'}", f"init_from={tmp_path / 'outputs/pretrained'}"]
    assert expanded([f"resume={run}"])[:2] == there
    (tmp_path / "outputs").rename(tmp_path / "results")
    renamed = tmp_path / "results/run"
    assert expanded([f"resume={renamed}"])[1] == f"init_from={tmp_path / 'results/pretrained'}"
    monkeypatch.chdir(tmp_path)
    assert expanded(["resume=results/run"])[1] == f"init_from={tmp_path / 'results/pretrained'}"
    record(renamed, f"init_from={tmp_path / 'outputs/pretrained'}", before=tmp_path / "outputs/run")
    assert expanded([f"resume={renamed}"])[0] == f"init_from={tmp_path / 'results/pretrained'}"  # also a whole path
    record(renamed, "+init_from=outputs/pretrained", before=tmp_path / "outputs/run")
    assert expanded([f"resume={renamed}"])[0] == f"+init_from={tmp_path / 'results/pretrained'}"


@pytest.mark.parametrize(
    "key", ["init_from", "data.root", "data.validation", "data.classes", "data.cache", "paths.data_root"]
)
def test_every_word_that_is_a_path_is_found_again_and_no_other_word(run, tmp_path, monkeypatch, key):
    for folder in ("photos", "elsewhere", "home/photos"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    record(run, f"{key}=photos", "notes=photos", "data.path=s3://photos")
    assert expanded([f"resume={run}"])[:3] == [f"{key}={tmp_path / 'photos'}", "notes=photos", "data.path=s3://photos"]
    for value in ("'~/photos'", "https://a.org/photos", "{a: photos}", "nowhere"):
        record(run, f"{key}={value}")
        assert expanded([f"resume={run}"])[0] == f"{key}={value}"


def test_what_has_moved_with_the_run_is_told_by_the_ends_of_its_names():
    def at(path: str, before: str, after: str) -> str:
        return str(moved(Path(path), Path(before), Path(after)))

    assert at("/a/outputs/runs/pre", "/a/outputs/runs/x", "/b/results/runs/x") == "/b/results/runs/pre"
    assert at("/a/x", "/a/x/upernet", "/a/y/upernet") == "/a/y"
    assert at("/data/photos", "/a/outputs/x", "/b/outputs/x") == "/data/photos"
    assert at("/a/first.pt", "/a/outputs/x", "/b/outputs/x") == "/b/first.pt"
    assert at("/a/first.pt", "/a/x", "/a/x") == "/a/first.pt"


@pytest.mark.parametrize("value", ["outputs/a", "a b", "it's", "a=b,c", "${x}", "back\\slash\\", "[1]", "Ärger", "a:b"])
def test_any_path_survives_hydra_and_the_shell(value):
    [read] = OverridesParser.create().parse_overrides([word("resume", value)])
    assert str(read.value()) == value
    *_, last = shlex.split(to_go_on(Path(value)))
    assert OverridesParser.create().parse_override(last).value() == value

"""Run directories in which a file is damaged, or somebody else's: told in one sentence that names it, or left out."""

import json
import random
import shlex
from pathlib import Path

import pytest
from made_runs import made_run
from omegaconf import OmegaConf

from mae_hydra.errors import UserError
from mae_hydra.experiment.compare import compare
from mae_hydra.experiment.provenance import changed_code
from mae_hydra.experiment.read_runs import read_run, read_sweep, table_of, write_table
from mae_hydra.experiment.same_run import refuse_other_classes, refuse_other_images, same_weights, what_was_trained
from mae_hydra.experiment.status import Status, read_status
from mae_hydra.report import write_report
from mae_hydra.report.run_page import command_of, provenance
from mae_hydra.workflows.replay_report import _explain

STATUS = [
    b"", b"[]", b"{}", b"null", b"5", b'"x"', b"\x00\x01\xff", b"[" * 100_000, b"<html>", b"version https://git-lfs\n",
    b'{"state": 5}', b'{"state": "running", "pid": "x"}', b'{"state": "running", "pid": -1}', b'{"state": "running"}',
    b'{"state": "running", "pid": 99999999999999999999}', b'{"state": "running", "pid": 1.5, "host": []}',
    b'{"state": "completed"}', b'{"state": "completed", "value": "x"}', b'{"state": "completed", "start": "x"}',
    b'{"state": "completed", "overrides": 5}', b'{"state": "completed", "overrides": [5, null, {}]}',
    b'{"state": "completed", "error": 5}', b'{"state": "completed", "start": 1e999, "end": NaN}', b"1" * 10_000,
]  # fmt: skip
RECORDS = {
    "config.yaml": [
        b"", b"[]", b"5", b"\x00\xff", b"[" * 10_000, b"!!python/object/apply:os.system [touch owned]\n",
        b"a: &a [*a]\n", b"a: !!binary aGk=\n", b"a: 2026-11-29\n", b"? [1, 2]\n: 3\n", b"checkpoint: 5\n",
        b"model: 5\nname: {}\n",
        b"checkpoint: {monitor: [1], mode: 5}\n", b"x: [" + b"0," * 30_000,
    ],
    "environment.json": [
        b"[]", b'{"variables": []}', b'{"config_folders": 5}', b'{"packages": [1]}', b'{"accelerators": 5}',
        b'{"accelerators": [1, {}]}', b"\xff",
    ],
    "git.json": [b"[]", b"{", b'{"commit": {}}', b'{"a": 1}', b"\x00"],
    "data.json": [b"5", b'{"train": 5}', b'{"train": {"images": {}}}', b'{"x": 1}', b"{"],
    "parent.json": [b"5", b"[1]", b'{"path": {"a": 1}}'],
    "tables/per_class.json": [
        b"{}", b"[[1]]", b'[{"name": 5}]', b'[{"name": "a"}]', b'[{"name": "a", "IoU": "x"}]', b"[]", b"\xff",
        b'[{"name": "a", "IoU": null}]', b'[{"name": "a", "IoU": 1}, {"name": "b"}]', b"[" * 100_000,
    ],
    "figures/segmentation.png": [b"", b"\x89PNG\r\n\x1a\n", b"<html>"],
}  # fmt: skip


def sentence(act) -> str:
    said = ""
    try:
        act()
    except UserError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 1000
    return said


@pytest.mark.parametrize("content", STATUS, ids=lambda content: content[:60].decode(errors="replace"))
def test_an_odd_status_is_named_by_report_and_diff_and_does_not_stop_the_others_of_a_sweep(tmp_path, content):
    for name in "ab":
        made_run(tmp_path / name, ["seed=1"])
    file = tmp_path / "a" / "status.json"
    file.write_bytes(content)
    status = read_status(tmp_path / "a")  # of training, which then compares what is there itself
    assert status is None or isinstance(status["state"], str)
    for said in (
        sentence(lambda: read_run(tmp_path / "a")),
        sentence(lambda: compare([tmp_path / "a", tmp_path / "b"])),
    ):
        assert not said or str(file) in said
    runs = read_sweep(tmp_path)
    rows = {row["job"]: row for row in table_of(runs)}
    assert rows["b"]["value"] == 30.0
    assert rows["a"]["error"] is None or str(file) in rows["a"]["error"]
    write_table(list(rows.values()), tmp_path)
    assert [row["job"] for row in json.loads((tmp_path / "results.json").read_text())] == list(rows)


@pytest.mark.parametrize("name", list(RECORDS))
@pytest.mark.usefixtures("undrawn")
def test_a_damaged_record_is_named_by_report_and_diff(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for run in "ab":
        made_run(tmp_path / run, ["seed=1"])
    file = tmp_path / "a" / name
    file.parent.mkdir(exist_ok=True)
    for number, content in enumerate(RECORDS[name]):
        file.write_bytes(content)
        said = [sentence(lambda: compare([tmp_path / "a", tmp_path / "b"]))]
        said.append(sentence(lambda: [(provenance(run), command_of(run)) for run in read_sweep(tmp_path)]))
        if number == 1:
            said.append(sentence(lambda: write_report(tmp_path / "a", tmp_path / "page")))
        assert all(not each or str(file) in each for each in said), said
    assert not (tmp_path / "owned").exists()


def test_random_damage_of_any_record_is_one_sentence_or_nothing(tmp_path):
    for run in "ab":
        made_run(tmp_path / run, ["seed=1", "model.mask_ratio=0.5"])
    dice = random.Random(0)
    files = [tmp_path / "a" / name for name in ("status.json", "config.yaml", "environment.json", "git.json")]
    for _ in range(120):
        file: Path = dice.choice(files)
        whole = file.read_bytes()
        changed = bytearray(whole)
        for _ in range(dice.randrange(1, 4)):
            changed[dice.randrange(len(changed))] = dice.choice([dice.randrange(256), *b'{}[]":, -9'])
        file.write_bytes(changed[: dice.choice([len(changed), dice.randrange(len(changed))])])
        said = sentence(lambda: compare([tmp_path / "a", tmp_path / "b"]))
        assert not said or str(file) in said
        assert len(read_sweep(tmp_path)) == 2
        file.write_bytes(whole)


TAKEN = {  # what a run writes, with one value of a kind that none does
    "status.json": [
        b'{"state": "failed", "attempt": null}', b'{"state": "completed", "value": "x"}',
        b'{"state": "failed", "end": []}', b'{"state": "failed", "start": 1, "before": null}',
    ],
    "git.json": [b'{"a": 1}', b'{"commit": 5}', b'{"commit": [1]}'],
    "data.json": [
        b'{"train": 5}', b'{"train": {"contents": "x"}}', b'{"train": {"contents": ["x"]}}', b'{"classes": 5}',
        b'{"classes": [[1], {}]}', b'{"root": 5}', b'{"validation": null}',
    ],
    "environment.json": [
        b'{"config_folders": 5}', b'{"config_folders": null}', b'{"config_folders": [5]}', b'{"variables": []}',
        b'{"packages": []}', b"[]", b'{"command": 5}', b'{"command": [{}]}', b'{"accelerators": {}}',
    ],
    "parent.json": [b'{"sha256": 5}', b'[]'],
}  # fmt: skip


@pytest.mark.parametrize("name", list(TAKEN))
def test_a_record_of_odd_kinds_stops_nothing_that_can_go_on_without_it(tmp_path, name):
    """Training, replay and evaluation take what can be read of a run; a record of another kind is as if it were not."""
    run = made_run(tmp_path / "run", ["seed=1"])
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.pt").write_bytes(b"damaged: what lies beside it is asked")
    split = {"images": 3, "contents": "y"}
    now = {"root": "r", "classes": ["a", "b"], "train": split, "validation": split}
    for content in TAKEN[name]:
        (run / name).write_bytes(content)
        status = read_status(run)
        assert status is None or isinstance(status["value"], (int, float, type(None)))
        code = changed_code(run)
        assert code is None or name != "git.json"
        trained = what_was_trained(run)
        assert trained is not None
        before = trained.data or {}
        refuse_other_classes(run, before, now)
        assert bool(refuse_other_images(run, before, now, allowed=True)) is bool(before.get("train"))
        assert not same_weights(run, "nowhere.pt")
        _explain(0.5, run, {}, OmegaConf.create({"engine": {"device": "cpu"}}))
        Status(run, {"name": "m", "task": "pretrain"}, [])  # which counts attempts


def test_the_command_of_a_page_gives_a_shell_the_very_words(tmp_path):
    words = ["notes='it''s'", "tags=[a,b]", "notes=$(touch owned)", "data.root=/my photos", "name=`x`~!#\n"]
    run = made_run(tmp_path / "run", words)
    (run / "environment.json").write_text(json.dumps({"config_folders": ["/it's mine"]}))
    [found] = read_sweep(tmp_path)
    assert shlex.split(command_of(found)) == ["python", "train.py", "--config-dir", "/it's mine", *words]


@pytest.mark.usefixtures("undrawn")
def test_one_damaged_picture_leaves_the_page_of_its_sweep(tmp_path):
    for seed in (1, 2, 3):
        made_run(tmp_path / f"job{seed}", [f"seed={seed}"])
    (tmp_path / "job2/figures/cells.png").write_bytes(b"<html>")
    page = write_report(tmp_path).read_text()
    assert "job2/figures/cells.png is not the picture that a run writes" in page
    assert (tmp_path / "report/strips_run.png").is_file()  # of the others


def test_numbers_beyond_all_measure_are_left_out_of_curves(tmp_path):
    """Of two of them not even the mean can be told."""
    run = made_run(tmp_path / "run", ["seed=1"], cells=False)
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(f'\n{{"step": {step}, "train/loss": 1.797e308}}' for step in range(30, 500))
    assert "Infinity" not in write_report(tmp_path).read_text()
    assert "curves" in write_report(run).read_text()

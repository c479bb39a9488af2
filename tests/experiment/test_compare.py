"""`mae-hydra diff`, and what a run and its checkpoints tell of where they came from."""

import hashlib
import importlib.metadata
import json
from pathlib import Path

import pytest
import torch
import yaml
from written_pictures import shows_something

from mae_hydra.commands import main
from mae_hydra.commands.compare import _laid_out
from mae_hydra.data.listing import Names
from mae_hydra.errors import UserError
from mae_hydra.experiment.compare import Difference, compare, distinct


def made(directory: Path, *, seed: int = 0, workers: int = 2, commit: str = "abc", loss: float = 0.5) -> Path:
    directory.mkdir()
    status = {"state": "completed", "value": loss, "error": None, "overrides": [], "start": 0.0, "end": 1.0}
    (directory / "status.json").write_text(json.dumps(status))
    config = {"seed": seed, "data": {"num_workers": workers}, "paths": {"run_dir": str(directory)}}
    config |= {"checkpoint": {"monitor": "val/loss", "mode": "min"}}
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    (directory / "git.json").write_text(json.dumps({"commit": commit}))
    (directory / "environment.json").write_text(
        json.dumps(
            {
                "host": directory.name,
                "folder": directory.name,
                "packages": {"torch": "2"},
                "command": ["train.py", f"x={directory}"],
            }
        )
    )
    (directory / "metrics.jsonl").write_text(json.dumps({"step": 1, "val/loss": loss, "perf/memory_gb": loss}) + "\n")
    return directory


def test_what_differs_is_told_and_what_means_nothing_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = made(tmp_path / "a")
    second = made(tmp_path / "b", seed=1, workers=4, commit="def", loss=0.25)
    assert [tuple(difference) for difference in compare([first, second])] == [
        ("typed", "command", (f"train.py x={first}", f"train.py x={second}")),
        ("configuration", "seed", (0, 1)),
        ("where and how", "data.num_workers", (2, 4)),
        ("code", "commit", ("abc", "def")),
        ("results", "val/loss", (0.5, 0.25)),
    ]
    assert main(["diff", str(first), str(second)]) == 0
    assert "data.num_workers" in capsys.readouterr().out
    assert main(["diff", str(first), str(made(tmp_path / "c"))]) == 0
    assert "nothing differs" in capsys.readouterr().out
    with pytest.raises(UserError, match="is no run"):
        compare([first, tmp_path])


def test_each_difference_stands_under_what_it_is_of_with_the_first_run_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    runs = [made(tmp_path / name) for name in ("one", "two")]
    told: dict[str, tuple[dict, dict]] = {
        "environment.json": (
            {"command": ["train.py", "a b"], "python": "3.12", "choices": {"data": "ade20k"}, "config_name": "config"},
            {"command": ["train.py"], "python": "3.13", "choices": {"data": "mine"}, "config_name": "other"},
        ),
        "data.json": ({"train": {"images": 5}, "root": "/a"}, {"train": {"images": 6}, "root": "/b"}),
        "parent.json": ({"sha256": "aa"}, {"sha256": "bb"}),
    }
    for name, contents in told.items():
        for run, content in zip(runs, contents, strict=True):
            (run / name).write_text(json.dumps(content))
    (runs[0] / "git.diff").write_bytes(b"-a\n+b\xff\n-c\n")  # of a file that is no UTF-8
    assert [tuple(difference) for difference in compare(runs)] == [
        ("typed", "command", ("train.py 'a b'", "train.py")),
        ("composed of", "choices.data", ("ade20k", "mine")),
        ("composed of", "config_name", ("config", "other")),
        ("machine", "python", ("3.12", "3.13")),
        ("data", "train.images", (5, 6)),
        ("began from", "sha256", ("aa", "bb")),
        ("code", "git.diff", ("3 lines", "0 lines")),
    ]
    assert main(["diff", *map(str, runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines]
    assert ["composed", "of", "one", "two"] in rows
    assert rows.index(["choices.data", "ade20k", "mine"]) < rows.index(["machine", "one", "two"])
    assert ["train.images", "5", "6"] in rows
    assert not [line for line in lines if "train.py" in line]  # the words of each stand at the head


def test_a_narrow_terminal_shows_every_value_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    runs = [made(tmp_path / name, seed=n) for n, name in enumerate(("one", "two", "three"))]
    long = [f"/a/long/way/to/a/folder/of/{n}/that/fits/into/no/column" for n in range(3)]
    for run, root in zip(runs, long, strict=True):
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"init_from": root}))
    assert main(["diff", *map(str, runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80
    assert [line for line in lines if "/a/long/way" in line] == [
        f"    {name}: {root}" for name, root in zip(("one", "two", "three"), long, strict=True)
    ]
    assert ["seed", "0", "1", "2"] in [line.split() for line in lines]


def test_runs_stand_in_the_order_in_which_they_were_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    for name, typed in (("b", []), ("a", ["x=1"])):
        run = made(Path(name), seed=len(typed))
        status = json.loads((run / "status.json").read_text()) | {"overrides": typed}
        (run / "status.json").write_text(json.dumps(status))
    assert main(["diff", "b", "a"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    nothing = ["nothing", "but", "what", "was", "typed", "for", "all"]
    assert lines == [["b:", "b"], nothing, ["a:", "a"], ["x=1"], ["configuration", "b", "a"], ["seed", "0", "1"]]


def test_columns_are_as_wide_as_the_line_and_a_row_that_is_wider_stands_below_its_key() -> None:
    parts = {"part": [("k" * 10, ["12345", "1"])], "more": [("k", ["1", "2"])]}
    beside = [
        "",
        "part        one    two",
        "kkkkkkkkkk  12345  1  ",
        "",
        "more        one    two",
        "k           1      2  ",
    ]
    assert list(_laid_out(parts, ["one", "two"], 22)) == beside
    below = ["", "part      ", "k" * 10, "    one: 12345", "    two: 1"]
    assert list(_laid_out(parts, ["one", "two"], 21))[:5] == below
    long = {"part": [("k" * 24, ["1", "2"]), ("k" * 25, ["3", "4"])]}  # a third of a line, or 24 letters
    told = list(_laid_out(long, ["one", "two"], 60))
    assert told[2:] == [f"{'k' * 24}  1    2  ", "k" * 25, "    one: 3", "    two: 4"]
    assert list(_laid_out(long, ["one", "two"], 75))[2:] == [f"{'k' * 24}   1    2  ", f"{'k' * 25}  3    4  "]
    wide = {"part": [("k", ["x" * 14, "y" * 15])]}  # of 35 letters each column may have (35 - 1) // 2 - 2
    assert list(_laid_out(wide, ["a", "b"], 35))[2:] == [f"k  {'x' * 14}  {'y' * 15}"]
    assert list(_laid_out(wide, ["a", "b"], 34))[2:] == ["k", f"    a: {'x' * 14}", f"    b: {'y' * 15}"]


def test_of_three_runs_the_middle_one_may_be_the_other(tmp_path: Path) -> None:
    runs = [made(tmp_path / name, seed=seed, loss=seed + 0.5) for name, seed in (("a", 1), ("b", 2), ("c", 1))]
    assert [tuple(each) for each in compare(runs) if each.part != "typed"] == [
        ("configuration", "seed", (1, 2, 1)), ("results", "val/loss", (1.5, 2.5, 1.5)),
    ]  # fmt: skip


def test_a_record_that_one_of_the_runs_lacks_has_no_values(tmp_path: Path) -> None:
    runs = [made(tmp_path / "a"), made(tmp_path / "b")]
    for name in ("environment.json", "git.json", "config.yaml", "metrics.jsonl"):
        (runs[1] / name).unlink()
    found = {each.key: each.values for each in compare(runs)}
    assert (found["commit"], found["seed"], found["val/loss"]) == (("abc", None), (0, None), (0.5, None))
    assert found["command"] == (f"train.py x={runs[0]}", None)
    assert "host" not in found
    assert {each.key: each.values[::-1] for each in compare(runs[::-1])} == found


def test_values_stand_beside_each_other_as_texts_of_one_line() -> None:
    values = (None, True, False, 0, 0.123456789, 1e-7, 2.0, "a", [1, 2])
    texts = ["-", "true", "false", "0", "0.123457", "1e-07", "2", "a", "[1, 2]"]
    assert Difference("configuration", "a.b", values).shown == texts
    assert Difference("configuration", "a._target_", ("x.y.Z", None)).shown == ["Z", "-"]


def test_a_part_of_another_class_is_told_by_the_option_that_chose_it_and_by_the_keys_that_both_have() -> None:
    def differing(key: str, *values: object, part: str = "configuration") -> Difference:
        return Difference(part, key, values)

    kept = [
        differing("choices.head@_here_", "fcn", "uper", part="composed of"),
        differing("head.width", 3, 4),
        differing("header.width", None, 5),  # of another part, whose name only begins alike
        differing("loss._target_", "a.X", "a.Y"),  # of which no option was chosen
        differing("model.head.scale", 1, 2),
        differing("loss", 3, 4, part="results"),
        differing("gain.loss", 3, 4, part="results"),
    ]
    dropped = [differing("head._target_", "a.F", "a.U"), differing("head.pool", None, [1, 2])]
    dropped += [differing("model.loss._target_", "a.X", "a.Y"), differing("loss.gamma", 2.0, None)]
    assert distinct([dropped[2], *kept[:3], *dropped[:2], dropped[3], *kept[3:]]) == kept


def test_nothing_is_told_twice(tmp_path: Path) -> None:
    """A building block stands in the configuration for itself and inside the model; a class owns its keys."""
    runs = [made(tmp_path / name) for name in ("one", "two")]
    for run, depth, head in zip(runs, (2, 4), ({"_target_": "a.Fcn", "width": 3}, {"_target_": "a.UPer"}), strict=True):
        backbone = {"depth": depth, "other": depth + 1}
        config = {"backbone": backbone, "head": head, "model": {"encoder": backbone, "head": head, "depth": depth + 2}}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    found = compare(runs)
    assert {"model.encoder.depth", "head.width", "model.head._target_"} <= {each.key for each in found}
    assert [(each.name, each.shown) for each in distinct(found) if each.part != "typed"] == [
        ("backbone.depth", ["2", "4"]),
        ("backbone.other", ["3", "5"]),
        ("head", ["Fcn", "UPer"]),
        ("model.depth", ["4", "6"]),
    ]


LONG = "a_key_that_is_longer_than_24_letters"


def test_what_runs_found_stands_beside_each_other_and_below_each_other_where_there_is_no_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pages: list[tuple] = []

    def write(runs: list[Path], out: Path, *, trusted: bool) -> Path:
        pages.append((list(map(str, runs)), str(out), trusted))
        return Path("the/page")

    def told(*words: str) -> list[str]:
        assert main([*words, "a", "b"]) == 0
        return capsys.readouterr().out.splitlines()

    monkeypatch.setattr("mae_hydra.report.write_comparison", write)
    for number, (name, seconds, state) in enumerate((("a", 90, "completed"), ("b", 7200, "failed"))):
        run = made(Path(name), seed=number, loss=0.5 - number / 8)
        status = {"state": state, "start": 1000.0, "end": 1000.0 + seconds, "overrides": [f"seed={number}", "x=1"]}
        (run / "status.json").write_text(json.dumps(json.loads((run / "status.json").read_text()) | status))
        lines = ({"step": 1, "val/loss": 0.0625}, {"step": 20 + number, "val/loss": 0.5 - number / 8})
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        config = {
            "model": {LONG: number},
            "extra": {LONG: number},
            "checkpoint": {"monitor": "val/loss", "mode": "min"},
        }
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"seed": number}))
    monkeypatch.setenv("COLUMNS", "200")
    wide = told("compare")
    found = wide.index("found" + " " * (len(f"extra.{LONG}") - 5) + "  a          b")
    assert wide[:5] == ["a: a", "    seed=0", "b: b", "    seed=1", ""]
    assert [line.split() for line in wide[5:found]] == [
        ["configuration", "a", "b"], [f"extra.{LONG}", "0", "1"], ["seed", "0", "1"], [],
        ["results", "a", "b"], ["step", "20", "21"], ["val/loss", "0.5", "0.375"], [],
    ]  # fmt: skip
    assert [line.split("  ")[0] + "|" + "|".join(line.split()[-2:]) for line in wide[found + 1 : found + 4]] == [
        "state|completed|failed", "steps|20|21", "best val/loss|0.0625|0.0625"
    ]  # fmt: skip
    assert wide[found + 4].split() == ["last", "val/loss", "0.5", "0.375"]
    assert wide[found + 5].split() == ["wall", "time", "90", "s", "2", "h"]
    assert wide[-3:] == [
        "and 1 keys that follow from these, or that only some of the runs have: --all", "",
        "curves in one plot, pictures and these tables: the/page",
    ]  # fmt: skip
    assert not any("--all" in line for line in told("compare", "--all", "--out", "mine"))
    assert pages == [(["a", "b"], "outputs/comparison", True), (["a", "b"], "mine", False)]
    monkeypatch.setenv("COLUMNS", "40")
    narrow = told("diff", "--all")
    place = narrow.index(f"model.{LONG}")
    assert narrow[place + 1 : place + 3] == ["    a: 0", "    b: 1"]
    assert narrow[place + 3].split() == ["seed", "0", "1"]
    assert not any("state" in line for line in narrow)  # of what they found only what differs
    (Path("b") / "config.yaml").write_text(yaml.safe_dump({"checkpoint": {"monitor": "val/x"}}))
    monkeypatch.setenv("COLUMNS", "200")
    judged = [line for line in told("compare") if line.startswith(("best", "last"))]
    assert [line.split() for line in judged] == [
        ["best", "0.0625", "val/loss", "-", "val/x"], ["last", "0.5", "val/loss", "-", "val/x"]
    ]  # fmt: skip


def test_runs_that_differ_in_nothing_are_told_with_what_they_found_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mae_hydra.report.write_comparison", lambda *runs, **more: Path("page"))
    runs = [str(made(tmp_path / name)) for name in "ab"]
    assert main(["diff", *runs]) == 0
    assert capsys.readouterr().out == "nothing differs but where and when they ran\n"
    assert main(["compare", *runs]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"nothing differs but where and when they ran\na: {runs[0]}\n")
    assert "val/loss" in said
    assert "--all" not in said
    assert main(["compare", runs[0]]) == 1
    assert "it takes two runs at least" in capsys.readouterr().err


@pytest.mark.slow
def test_several_runs_are_compared_on_one_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [str(made(Path(name), seed=n, loss=n + 0.5)) for n, name in enumerate("abc")]
    for run in runs:  # a single value is no curve
        rows = (Path(run) / "metrics.jsonl").read_text()
        (Path(run) / "metrics.jsonl").write_text(json.dumps({"step": 0, "val/loss": 9.0}) + "\n" + rows)
    assert main(["compare", *runs]) == 0
    told = capsys.readouterr().out
    assert ["best", "val/loss", "0.5", "1.5", "2.5"] in [line.split() for line in told.splitlines()]
    page = Path("outputs/comparison/index.html").read_text()
    assert "What differs" in page
    assert shows_something(Path("outputs/comparison/curves.svg"))
    assert main(["compare", runs[0]]) == 1
    assert "two runs at least" in capsys.readouterr().err


def test_a_listing_has_a_digest_of_its_own() -> None:
    digests = {Names(names).digest() for names in (["a", "b"], ["ab"], ["a", "b", ""], ["b", "a"], [])}
    assert len(digests) == 5
    assert Names(["a", "b"]).digest() == Names(["a", "b"]).digest()


@pytest.mark.slow
def test_every_checkpoint_tells_its_origin(tmp_path: Path) -> None:
    from mae_hydra.launching.launch import launch

    tiny = ["+debug=smoke", "engine=cpu", "backbone.embed_dim=32", "backbone.depth=2", "backbone.num_heads=2"]
    tiny += ["backbone.out_indices=[1]", "head.embed_dim=16", "head.depth=1", "head.num_heads=2", "data.num_workers=0"]
    tiny += ["data.num_train=8", "data.num_validation=2", f"paths.output_root={tmp_path}"]
    assert launch([*tiny, f"hydra.run.dir={tmp_path}/a"]) == 0
    assert launch([*tiny, f"hydra.run.dir={tmp_path}/b", f"init_from={tmp_path}/a", "seed=4"]) == 0
    origin = torch.load(tmp_path / "b/checkpoints/last.pt", weights_only=True)["meta"]["origin"]
    parent = tmp_path / "a/checkpoints/last.pt"
    assert origin["parent"] == {
        "path": str(parent),
        "sha256": hashlib.sha256(parent.read_bytes()).hexdigest(),
        "step": 4,
    }
    assert origin["seed"] == 4
    assert origin["data"]["train"] == {"images": 8, "listing": "embedded", "contents": "embedded"}
    assert origin["environment"]["packages"]["torch"] == importlib.metadata.version("torch")
    assert json.loads((tmp_path / "b/parent.json").read_text()) == origin["parent"]
    assert json.loads((tmp_path / "a/parent.json").read_text()) is None

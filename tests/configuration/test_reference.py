"""What `--help` and docs/options.md say of every option: read from the option files, never written twice."""

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from mae_hydra.commands import main
from mae_hydra.configuration import reference
from mae_hydra.launching.launch import launch
from mae_hydra.terminal import say_error

ROOT = Path(__file__).parents[2]


def test_the_documentation_s_reference_is_what_the_option_files_say_today():
    assert (ROOT / "docs" / "options.md").read_text() == reference.page(), (
        "write it anew: python -m mae_hydra.configuration.reference > docs/options.md"
    )


def test_every_option_says_what_it_is_for_and_every_group_what_it_chooses():
    there = reference.options()
    assert [group for group in there if group not in reference.GROUPS] == []
    assert [f"{group}={option.name}" for group, all in there.items() for option in all if len(option.summary) < 5] == []


def test_a_summary_is_the_first_sentence_without_the_command_behind_it(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "# @package _global_\n# Vistas v1.2 of ViT. B, and more (Eq. 3). A second sentence.\n#   python train.py\n"
    )
    assert reference.read(file, "data").summary == "Vistas v1.2 of ViT. B, and more (Eq. 3)"
    file.write_text("# Any tree of photos:  python train.py data=folder\nroot: here\n")
    assert reference.read(file, "data").summary == "Any tree of photos"


def test_keys_have_their_whole_names_their_defaults_and_their_comments(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("_target_: a.b\n_partial_: true\nrate: 0.5   # of all\nnode:\n  inner: '#ff0000'\nother: {a: 1}\n")
    assert [(key.name, key.default, key.comment) for key in reference.read(file, "hydra/launcher").keys] == [
        ("hydra.launcher.rate", "0.5", "of all"), ("hydra.launcher.node.inner", "'#ff0000'", ""),
        ("hydra.launcher.other", "{a: 1}", ""),
    ]  # fmt: skip
    file.write_text("# @package _global_\ndefaults: [x]\ndata: {a: 1}\nmodel:\n  depth: 2\n")
    assert [key.name for key in reference.read(file, "model").keys] == ["data", "model.depth"]
    file.write_text("# A text.\n# @package _global_\n# More.\ndata: {a: 1}\n")
    option = reference.read(file, "model")
    assert (option.head, [key.name for key in option.keys]) == (["A text.", "More."], ["data"])


def test_help_says_every_option_in_a_line_also_those_of_one_s_own(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cells.yaml").write_text("# Cells under the microscope.\nroot: cells\n")
    assert launch(["--help", "--config-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100 + 20  # the usage is as wide as it is
    for option in ("mae_vitt", "cityscapes", "muon", "upernet_vitb_ade20k", "mask_ratio", "smoke", "slurm"):
        assert sum(line.split()[:1] == [option] for line in lines) >= 1
    [cells] = [line for line in lines if line.startswith("  cells ")]
    assert cells.split(maxsplit=1)[1] == "Cells under the microscope"


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_a_group_says_its_keys(flag: str, capsys):
    assert launch(["engine", flag]) == 0
    out = capsys.readouterr().out
    assert "engine=gpu" in out
    assert "engine.parallel: ddp" in out
    assert "model=" not in out.replace("(`model=", "")


def test_help_of_no_group_names_the_nearest(capsys):
    assert launch(["--help", "daat"]) == 1
    assert capsys.readouterr().err == "error: --help daat is no group of options; did you mean data?\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["model=x", "--help"], 0, "<usage>\n<100 of 2>"),  # what is typed before it is what would have run
        (["model=vit", "-h", "--config-dir", "mine"], 0, "<usage>\n<100 of 2>"),
        (["--help", "model=vit"], 0, "<model=vit>"),
        (["model=x", "-h", "+data=cells"], 0, "<data=cells>"),
        (["data", "model=x", "--help", "model", "--config-dir=mine"], 0, "<data>\n\n<model>"),
        (["--help", "model=vit", "x=1"], 1, "error: --help x=1 is no option; groups: data, model"),
        (["mode", "-h", "data"], 1, "error: --help mode is no group of options; did you mean model?"),
    ],
)
def test_help_is_of_the_groups_that_are_named_and_of_the_options_behind_it(
    words: list[str], code: int, said: str, monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", "100")
    known = {"data": [SimpleNamespace(name="cells")], "model": [SimpleNamespace(name="vit")]}
    monkeypatch.setattr(reference, "options", lambda folders: known)
    monkeypatch.setattr(reference, "details", lambda asked, there: f"<{asked}>")
    monkeypatch.setattr(reference, "overview", lambda width, there: f"<{width} of {len(there)}>")
    monkeypatch.setattr("mae_hydra.launching.launch.HELP", "<usage>")
    assert launch(words) == code
    printed = capsys.readouterr()
    assert (printed.err if code else printed.out) == f"{said}\n"


def test_a_value_of_several_lines_is_no_stump(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("names: [\n  a,\n]\ncolors: >-\n  ff0000\nroot: here\n")
    assert [key.default for key in reference.read(tmp_path / "mine.yaml", "data").keys] == ["…", "…", "here"]


def test_help_of_one_option_says_that_one_alone(capsys):
    assert launch(["--help", "data=camvid"]) == 0
    said = capsys.readouterr().out
    assert "data=camvid" in said
    assert "data.maps: '{split}annot'" in said
    assert "data=cityscapes" not in said
    assert launch(["--help", "data=camvit"]) == 1
    assert "--help data=camvit is no option; did you mean data=camvid?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "function", "offered"),
    [
        ("mae-hydra ev", "_mae_hydra", ["evaluate"]),
        ("mae-hydra evaluate --l", "_mae_hydra", ["--last"]),
        ("mae-hydra train model=upernet_vitt da", "_mae_hydra", ["data=", "data."]),
        ("python train.py model=upernet_vitt optimizer.layer", "_mae_hydra_python", ["optimizer.layer_decay="]),
        (
            "python train.py -m +sweep=mask_r",
            "_mae_hydra_python",
            ["mask_ratio", "mask_ratio_miniature", "mask_ratio_transfer"],
        ),
        ("python other.py mo", "_mae_hydra_python", []),
        ("mae-hydra train +debug=sm", "_mae_hydra", ["smoke"]),
        ("mae-hydra evaluate runs/a inference=sl", "_mae_hydra", ["slide"]),
        ("mae-hydra train data=_ba", "_mae_hydra", []),  # what others build on
        ("mae-hydra train see", "_mae_hydra", ["seed="]),
    ],
)
@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
def test_a_shell_completes_verbs_options_and_keys(typed: str, function: str, offered: list[str], script: str):
    words = " ".join(f"'{word}'" for word in typed.split())
    shell = f"{script}\nCOMP_LINE='{typed}' COMP_POINT={len(typed)} COMP_WORDS=({words})\n"
    shell += f"COMP_CWORD={len(typed.split()) - 1}\n{function}\necho ${{COMPREPLY[*]}}\n"
    done = subprocess.run(["bash", "-s"], input=shell, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == offered


@pytest.fixture(scope="module")
def script() -> str:
    from mae_hydra.commands import COMPOSING, VERBS, completion

    return completion.script(VERBS, COMPOSING)


def test_what_is_completed_can_be_typed(script):
    """Groups that take a plus have it, an option that others share is none, and verbs have their long options."""
    words = script.split()
    assert {"+experiment=demo_scratch", "+sweep=study", "+debug=smoke", "model=mae_vitb", "data=ade20k"} <= set(words)
    assert not [word for word in words if word.lstrip("'").startswith(("experiment=", "sweep=", "debug=", "data=_"))]
    [runs] = [line for line in script.splitlines() if line.strip().startswith("runs/-*)")]
    assert runs.split("'")[1].split() == ["--help", "--sort", "--reverse", "--most", "--json", "--csv"]


def test_a_verb_that_is_misspelt_is_answered_with_the_nearest(capsys):
    assert main(["reprot", "outputs"]) == 2
    assert capsys.readouterr().err == "error: mae-hydra has no verb 'reprot'; did you mean mae-hydra report?\n"
    assert main(["xyzzy"]) == 2
    assert "mae-hydra --help lists them" in capsys.readouterr().err
    assert main(["--completion"]) == 0
    assert "complete -o default -F _mae_hydra mae-hydra" in capsys.readouterr().out


def test_an_error_is_broken_at_the_width_of_a_terminal_and_nowhere_else(monkeypatch, capsys):
    sentence = f"a long sentence {'with words ' * 20}and a_very_long_path/{'x' * 60}/file.pt"
    say_error(sentence)
    assert capsys.readouterr().err == f"error: {sentence}\n"
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    command = f"  mae-hydra report {'folder ' * 12}".rstrip()
    say_error(f"{sentence}\n{command}")
    *lines, path, last = capsys.readouterr().err.splitlines()
    assert max(map(len, lines)) <= 60
    assert path == f"a_very_long_path/{'x' * 60}/file.pt"
    assert last == command  # indented: to be copied as a whole


def test_the_whole_tree_and_each_of_its_options_are_told_line_by_line(tmp_path: Path, monkeypatch):
    for name, text in {
        "data/cells": "# Cells.  More of them.\n#   python train.py\nroot: cells\n", "data/scenes": "# Mine.\n",
        "data/_base": "# What all share.\nlr: 1   # rate\n", "zoo/deep/x": "# X.\n", "animals/y": "# Y.\na: 1\n",
        "local/z": "# Z.\n",
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    found = reference.options([tmp_path])
    assert list(found) == [*reference.GROUPS, "animals", "zoo/deep"]
    told = {each.name: each.summary for each in found["data"]}
    assert (told["cells"], told["scenes"], told["_base"]) == ("Cells", "Mine", "What all share")  # one's own wins
    known = {"animals": found["animals"], "data": [each for each in found["data"] if each.name in ("cells", "_base")]}
    keys = [reference.Key("seed", "0", ""), reference.Key("init_from", "null", "a run, a file or an address")]
    monkeypatch.setattr(reference, "general", lambda: keys)
    assert reference.overview(43, known).splitlines() == [
        "keys, each with its default (key=value)", "  seed=0", "  init_from=null  a run, a file or an addr…", "",
        "animals", "  y  Y", "", "data: on which images", "  cells  Cells",
    ]  # fmt: skip
    assert reference.overview(46, known).splitlines()[2] == "  init_from=null  a run, a file or an address"
    assert reference.details("data", known).splitlines() == [
        "data: on which images", "", "shared by options of data", "  What all share.", "    data.lr: 1  # rate", "",
        "data=cells", "  Cells.  More of them.", "    python train.py", "    data.root: cells",
    ]  # fmt: skip
    assert reference.details("animals=y", known).splitlines() == [
        "animals", "", "animals=y", "  Y.", "    animals.a: 1",
    ]  # fmt: skip
    long, rows = "b" * 40, [("a", "x" * 30), ("b" * 40, "y z")]
    assert reference._aligned(rows, 20) == [f"  a{' ' * 35}{'x' * 16}…", f"  {long}  y z"]  # some of a text stays
    words = ["--config-dir", str(tmp_path / "data"), "seed=1", f"-cd={tmp_path}", "--config-dir=none"]
    assert reference.own_folders(words) == [tmp_path / "data", tmp_path]

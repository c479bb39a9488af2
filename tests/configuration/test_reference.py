"""What `--help` and docs/options.md say of every option: read from the option files, never written twice."""

from pathlib import Path

import pytest

from mae_hydra.configuration import reference
from mae_hydra.launching.launch import launch

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
    file.write_text("_target_: a.b\nrate: 0.5   # of all\nnode:\n  inner: '#ff0000'\nother: {a: 1}\n")
    assert [(key.name, key.default, key.comment) for key in reference.read(file, "hydra/launcher").keys] == [
        ("hydra.launcher.rate", "0.5", "of all"), ("hydra.launcher.node.inner", "'#ff0000'", ""),
        ("hydra.launcher.other", "{a: 1}", ""),
    ]  # fmt: skip
    file.write_text("# @package _global_\ndefaults: [x]\ndata: {a: 1}\nmodel:\n  depth: 2\n")
    assert [key.name for key in reference.read(file, "model").keys] == ["data", "model.depth"]


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


def test_a_value_of_several_lines_is_no_stump(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("names: [\n  a,\n]\ncolors: >-\n  ff0000\nroot: here\n")
    assert [key.default for key in reference.read(tmp_path / "mine.yaml", "data").keys] == ["…", "…", "here"]

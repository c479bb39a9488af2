"""`mae-hydra new` writes a package that runs as it is."""

from pathlib import Path

import forked
import pytest
from page import PROJECT

from mae_hydra.commands import main


def files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


def test_it_is_the_package_of_the_docs_under_another_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "our_lab"]) == 0
    assert "--config-dir our_lab/conf +experiment=our_lab" in capsys.readouterr().out
    assert files(tmp_path / "our_lab") == {name.replace("mylab", "our_lab") for name in files(PROJECT)}
    assert not [name for name in files(tmp_path / "our_lab") if "mylab" in (tmp_path / "our_lab" / name).read_text()]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torch", "already"),
        ("My-Lab", "small letters"),
        ("class", "small letters"),
        ("Mylab", "small letters"),
        ("2labs", "small letters"),
        ("lab\u00e9", "small letters"),
        ("json", "already"),
    ],
)
def test_a_name_that_cannot_be_is_refused(tmp_path, monkeypatch, capsys, name, words):
    monkeypatch.chdir(tmp_path)
    assert main(["new", name]) == 1
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a_file").write_text("mine")
    assert main(["new", "our_lab", "--out", "a_file"]) == 1
    assert "a_file is a file; give another folder with --out" in capsys.readouterr().err
    assert main(["new", "our_lab", "--out", "a_file/x"]) == 1
    assert "a_file is a file; give another folder with --out" in capsys.readouterr().err
    Path("a_file").unlink()
    (tmp_path / "our_lab").mkdir()
    (tmp_path / "our_lab" / "mine.txt").write_text("mine")
    assert main(["new", "our_lab"]) == 1
    assert "is there already" in capsys.readouterr().err
    assert files(tmp_path) == {"our_lab/mine.txt"}


@pytest.fixture
def template(tmp_path, monkeypatch):
    """`template(name, ...)`: a template of these files alone; what is written goes to folders beside it."""
    from mae_hydra.configuration import tree

    monkeypatch.setattr(tree, "template_dir", lambda: tmp_path / "template")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def made(*names):
        for name in names:
            (tmp_path / "template" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "template" / name).write_text(f"mylab and mylab: {name}")

    return made


def test_an_empty_folder_and_one_elsewhere_are_written_to(template, tmp_path, capsys):
    template("mylab/a.py", "mylab/conf/mylab/b.yaml", "docs/mylab_mylab.md")
    (tmp_path / "our_lab").mkdir()  # a folder of that name is no package
    for words in (["our_lab"], ["our_lab", "--out", "new one"]):
        assert main(["new", *words]) == 0
        folder = Path(words[-1])
        assert {name: (folder / name).read_text() for name in files(folder)} == {
            name: f"our_lab and our_lab: {name}"
            for name in ("our_lab/a.py", "our_lab/conf/our_lab/b.yaml", "docs/our_lab_our_lab.md")
        }
        assert f"  cd {folder}\n" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new one", "our_lab", "template"]


def test_what_a_template_gathers_in_use_is_not_copied(template):
    template("mylab/a.py", "outputs/run.txt", ".git/config", "mylab.egg-info/x", "mylab/__pycache__/a.pyc", "dist/x",
             "build/lib/mylab/a.py")  # fmt: skip
    assert main(["new", "our_lab"]) == 0
    assert [str(path.relative_to("our_lab")) for path in Path("our_lab").rglob("*") if path.is_file()] == [
        "our_lab/a.py"
    ]


@pytest.mark.slow
def test_what_it_writes_passes_its_own_tests(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "our_lab"]) == 0
    said = forked.run(tmp_path / "our_lab", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert said.returncode == 0, said.stdout
    assert "6 passed" in said.stdout

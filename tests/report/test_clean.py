"""`mae-hydra clean` proposes what can go, deletes only when told to, and never what somebody still needs."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from made_runs import made_run
from test_many_runs import changed

from mae_hydra.commands import main
from mae_hydra.experiment.holder import holding
from mae_hydra.experiment.many.clean import proposals
from mae_hydra.experiment.many.listing import list_runs


def trained(run: Path, *steps: int, best: int | None = None) -> Path:
    """Its checkpoints as training leaves them: last.pt is a second name of the newest step's."""
    folder = run / "checkpoints"
    folder.mkdir()
    for step in steps:
        with zipfile.ZipFile(folder / f"step-{step:08d}.pt", "w") as archive:
            archive.writestr("data", b"x" * step)
    os.link(folder / f"step-{steps[-1]:08d}.pt", folder / "last.pt")
    if best is not None:
        os.link(folder / f"step-{best:08d}.pt", folder / "best.pt")
    return run


def proposed(folder: Path) -> list[str]:
    return sorted(str(each.path.relative_to(folder)) for each in proposals(list_runs(folder), folder))


def test_superseded_checkpoints_and_failed_smoke_runs_can_go(tmp_path: Path, capsys) -> None:
    trained(made_run(tmp_path / "done", ["seed=1"], cells=False), 10, 20, 30, 40, best=20)
    trained(made_run(tmp_path / "milestones", ["seed=1"], cells=False), 10, 20, 30)
    changed(tmp_path / "milestones", "config.yaml", checkpoint={"keep_every": 20})
    trained(made_run(tmp_path / "stopped", ["seed=1"], state="interrupted", cells=False), 10, 20)
    smoke = made_run(tmp_path / "smoke", ["+debug=smoke"], state="failed", value=None, cells=False)
    made_run(tmp_path / "smoke_done", ["+debug=smoke"], cells=False)
    made_run(tmp_path / "never", ["seed=1"], state="failed", value=None, cells=False)
    made_run(tmp_path / "late", ["seed=1"], state="failed", cells=False)  # it has taken steps
    expected = ["done/checkpoints/step-00000010.pt", "done/checkpoints/step-00000030.pt",
                "milestones/checkpoints/step-00000010.pt", "never", "smoke"]  # fmt: skip
    assert proposed(tmp_path) == expected
    assert main(["clean", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "nothing was deleted" in told
    assert "failed run of +debug=" in told
    assert proposed(tmp_path) == expected
    assert main(["clean", str(tmp_path), "name=smoke*", "--yes"]) == 0
    assert not smoke.exists()
    assert main(["clean", str(tmp_path), "--yes"]) == 0
    assert proposed(tmp_path) == []
    assert sorted(path.name for path in (tmp_path / "done/checkpoints").iterdir()) == [
        "best.pt", "last.pt", "step-00000020.pt", "step-00000040.pt"]  # fmt: skip
    assert (tmp_path / "stopped/checkpoints/step-00000010.pt").exists()


def test_what_another_run_began_from_stays(tmp_path: Path) -> None:
    """The file that it names, the step that was last.pt then, a run that it names in words, from anywhere."""
    runs, elsewhere = tmp_path / "here", tmp_path / "outputs"
    parent = trained(made_run(runs / "parent", ["seed=1"], cells=False), 10, 20, 30, 40)
    child = made_run(runs / "child", [f"init_from={parent}"], cells=False)
    told = {"path": str(parent / "checkpoints/last.pt"), "step": 20}  # it was the newest when the child began
    (child / "parent.json").write_text(json.dumps(told))
    smoke = made_run(runs / "smoke", ["+debug=smoke"], state="failed", value=None, cells=False)
    changed(smoke, "config.yaml", paths={"output_root": "outputs"})
    changed(smoke, "environment.json", folder=str(tmp_path))
    assert proposed(runs) == ["parent/checkpoints/step-00000010.pt", "parent/checkpoints/step-00000030.pt", "smoke"]
    other = made_run(elsewhere / "other", ["init_from=here/smoke"], cells=False)
    changed(
        other,
        "config.yaml",
        init_from="here/smoke",
        evaluation={"x": {"from": [f"{parent}/checkpoints/step-00000010.pt@ema"]}},
    )
    changed(other, "environment.json", folder=str(tmp_path))
    assert proposed(runs) == ["parent/checkpoints/step-00000030.pt"]


def test_a_live_run_stays_also_one_that_follows_another(tmp_path: Path) -> None:
    done = trained(made_run(tmp_path / "done", ["seed=1"], cells=False), 10, 20)
    smoke = made_run(tmp_path / "smoke", ["+debug=smoke"], state="failed", value=None, cells=False)
    stage = made_run(smoke / "upernet", ["seed=1"], state="running", value=None, cells=False)
    follows = made_run(done / "probe", ["seed=1"], cells=False)
    with holding(stage), holding(done):
        assert proposed(tmp_path) == []
    with holding(follows):
        assert proposed(tmp_path) == []
    assert proposed(tmp_path) == ["done/checkpoints/step-00000010.pt"]  # what followed the other one is a run


def test_a_run_that_came_alive_after_the_proposal_stays(tmp_path: Path, capsys, monkeypatch) -> None:
    from mae_hydra.experiment.many import clean

    smoke = made_run(tmp_path / "smoke", ["+debug=smoke"], state="failed", value=None, cells=False)
    [proposal] = clean.proposals(list_runs(tmp_path), tmp_path)
    with holding(smoke):
        assert not clean.remove(proposal)
        monkeypatch.setattr(clean, "proposals", lambda *told: [proposal])
        assert main(["clean", str(tmp_path), "--yes"]) == 0
    said = capsys.readouterr().out
    assert "it stays, a process holds the run by now" in said
    assert said.splitlines()[-1] == "0 bytes are free"
    assert (smoke / "status.json").exists()


def test_what_is_told_is_what_goes_and_what_cannot_go_fails_alone(tmp_path: Path, capsys, monkeypatch) -> None:
    from mae_hydra.experiment.many import clean

    made_run(tmp_path / "done", ["seed=1"], cells=False)
    assert main(["clean", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"nothing of the 1 runs at or below {tmp_path} can go\n"
    run = trained(tmp_path / "done", 10_000, 20_000, 30_000)
    names = ["step-00010000.pt", "step-00020000.pt"]
    sizes = [(run / "checkpoints" / name).stat().st_size for name in names]
    free = f"{sum(sizes) / 1000:.1f} kB"
    assert main(["clean", str(tmp_path)]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.rpartition("/")[2] for line in lines] == names
    assert [line.split(" kB")[0].strip() for line in lines] == [f"{size / 1000:.1f}" for size in sizes]
    assert last == f"{free} in 2 places can go; nothing was deleted: the same command with --yes does it"
    remove = clean.remove

    def broken(place: clean.Proposal) -> bool:
        if place.path.name == names[0]:
            raise PermissionError(13, "Permission denied")
        return remove(place)

    monkeypatch.setattr(clean, "remove", broken)
    assert main(["clean", str(tmp_path), "--yes"]) == 1
    said = capsys.readouterr()
    assert f"{names[0]}: it stays (Permission denied)" in said.err
    assert said.out.splitlines()[-1] == f"{sizes[1] / 1000:.1f} kB are free"
    assert sorted(path.name for path in (run / "checkpoints").glob("step*")) == [names[0], "step-00030000.pt"]


@pytest.mark.parametrize("name", ["config.yaml", "parent.json", "environment.json"])
def test_a_record_that_cannot_be_read_might_need_anything(tmp_path: Path, capsys, name: str) -> None:
    made_run(tmp_path / "smoke", ["+debug=smoke"], state="failed", value=None, cells=False)
    other = made_run(tmp_path / "other", ["seed=1"], cells=False)
    (other / name).write_text("[" if name.endswith("json") else "a: [")
    assert main(["clean", str(tmp_path), "--yes"]) == 1
    assert name in capsys.readouterr().err
    assert (tmp_path / "smoke").exists()


def test_a_link_to_a_run_is_not_followed_and_nothing_outside_is_touched(tmp_path: Path) -> None:
    real = made_run(tmp_path / "mine/smoke", ["+debug=smoke"], state="failed", value=None, cells=False)
    (tmp_path / "listed").mkdir()
    (tmp_path / "listed/link").symlink_to(real)
    assert proposed(tmp_path / "listed") == []
    (tmp_path / "mine/data.txt").write_text("mine")
    (real / "link").symlink_to(tmp_path / "mine/data.txt")
    assert proposed(tmp_path / "mine") == []


def test_a_folder_above_that_is_a_link_leads_elsewhere(tmp_path: Path) -> None:
    trained(made_run(tmp_path / "theirs/done", ["seed=1"], cells=False), 10, 20)
    done = trained(made_run(tmp_path / "mine/done", ["seed=1"], cells=False), 10, 20)
    (tmp_path / "mine/link").symlink_to(tmp_path / "theirs")
    assert proposed(tmp_path / "mine") == ["done/checkpoints/step-00000010.pt"]
    shutil.move(done / "checkpoints", tmp_path / "theirs/ck")
    (done / "checkpoints").symlink_to(tmp_path / "theirs/ck")
    assert proposed(tmp_path / "mine") == []


@pytest.mark.parametrize("words", [["+debug=smoke"], ["seed=1"]])
@pytest.mark.parametrize("what", ["file", "run", "no configuration"])
def test_a_failed_run_with_anything_of_a_person_s_in_it_stays(tmp_path: Path, words: list[str], what: str) -> None:
    run = made_run(tmp_path / "run", words, state="failed", value=None, cells=False)
    assert proposed(tmp_path) == ["run"]
    if what == "file":
        (run / "notes.txt").write_text("why it failed")
    elif what == "run":
        trained(made_run(run / "upernet", ["seed=1"], cells=False), 10)
    else:
        (run / "config.yaml").unlink()
    assert "run" not in proposed(tmp_path)


def test_steps_stay_where_the_last_checkpoint_cannot_be_read(tmp_path: Path) -> None:
    run = trained(made_run(tmp_path / "run", ["seed=1"], cells=False), 10, 20)
    (run / "checkpoints/last.pt").unlink()
    (run / "checkpoints/last.pt").write_bytes(b"")
    assert proposed(tmp_path) == []

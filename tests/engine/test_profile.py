import json

import pytest
from tiny_training import Run, settings


def test_as_many_steps_are_recorded_as_asked_for_and_the_table_is_shown(tmp_path, capsys):
    Run(tmp_path, settings=settings(profile_steps=3))()
    trace = json.loads((tmp_path / "profile" / "trace.json").read_text())
    steps = {event["name"] for event in trace["traceEvents"] if event.get("name", "").startswith("ProfilerStep")}
    assert steps == {"ProfilerStep#3", "ProfilerStep#4", "ProfilerStep#5"}  # those before it say nothing
    assert "aten::" in (tmp_path / "profile" / "table.txt").read_text()
    said = capsys.readouterr().out
    assert "trace.json" in said
    stages = (tmp_path / "profile" / "stages.txt").read_text()
    for stage in ("data wait", "host to device", "forward", "backward", "optimizer", "log, evaluate, save"):
        assert stage in stages
        assert stage in said
    shares = [float(line.split("│")[3]) for line in stages.splitlines() if line.startswith("│")]
    assert sum(shares) == pytest.approx(100, abs=0.5)


def test_a_profiled_run_ends_with_the_same_weights_and_where_it_cannot_write_with_a_warning(tmp_path, capsys):
    plain, profiled = Run(tmp_path / "a"), Run(tmp_path / "b", settings=settings(profile_steps=3))
    (tmp_path / "b" / "profile" / "table.txt").mkdir(parents=True)
    assert plain()["val/loss"] == profiled()["val/loss"]
    assert not (tmp_path / "a" / "profile").exists()
    said = capsys.readouterr().out
    assert f"warning: {tmp_path / 'b' / 'profile'} could not be written (" in said
    assert "operators: " not in said


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="profile_steps must be at least 1, got 0"):
        settings(profile_steps=0)

"""What a run says stands on the screen and in its log, once."""

import logging

import pytest

from mae_hydra.experiment import messages


def test_what_is_said_is_logged_and_a_warning_is_the_main_processs_and_named_as_such(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, logger="mae_hydra")
    messages.say("one", "two")
    messages.warn(["three", "four"], "note")
    monkeypatch.setattr(messages, "is_main", lambda: False)
    messages.warn(["five"], "warning")
    assert capsys.readouterr().out == "one\ntwo\nnote: three\nnote: four\n"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "one"), ("INFO", "two"), ("WARNING", "three"), ("WARNING", "four"),
    ]  # fmt: skip

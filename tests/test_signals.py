"""Signals that ask to stop, handed on to what was started."""

import signal
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from mae_hydra.engine.interrupt import Interruption
from mae_hydra.signals import SIGNALS, handing_on_signals, heeded


def test_a_closed_terminal_asks_nobody_to_stop_who_was_told_to_outlive_it() -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        assert heeded() == [each for each in SIGNALS if each is not signal.SIGHUP]
        for context in (handing_on_signals([]), Interruption()):
            with context:
                assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
                assert signal.getsignal(signal.SIGTERM) is not before
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert heeded() == list(SIGNALS)
        signal.signal(signal.SIGHUP, lambda *_: None)  # of whoever started the training from Python
        assert heeded() == list(SIGNALS)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert {each.name for each in SIGNALS} == {"SIGHUP", "SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"}


def test_what_asks_a_process_to_stop_asks_those_that_it_started_and_that_still_run() -> None:
    sent: list[tuple[str, int]] = []

    def process(name: str, code: int | None) -> Any:
        return SimpleNamespace(poll=lambda: code, send_signal=lambda number: sent.append((name, number)))

    before = {number: signal.getsignal(number) for number in SIGNALS}
    with suppress(KeyError), handing_on_signals([process("a", None), process("b", 0), process("c", None)]) as got:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        raise KeyError
    assert got == [signal.SIGTERM, signal.SIGINT]
    assert sent == [(name, number) for number in got for name in "ac"]
    assert {number: signal.getsignal(number) for number in SIGNALS} == before

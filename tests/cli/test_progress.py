"""Bars while a model loads."""

import io
import logging
import sys

import pytest

from mistralrs import Runner, Which, demo
from mistralrs.cli.progress import STEPS, shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with shown(), Runner(which=Which.Plain(str(demo.model_path())), in_situ_quant="q8_0"):
        pass
    assert "quantizing" in screen.getvalue()
    assert logging.getLogger(STEPS).handlers == []


def test_nothing_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(), Runner(which=Which.Plain(str(demo.model_path()))):
        pass
    assert capsys.readouterr() == ("", "")

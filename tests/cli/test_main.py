"""The table of commands, the help, completions, and errors nobody expected."""

import subprocess
import sys
from typing import Any

import click
import pytest

from mistralrs.cli import main


@pytest.mark.parametrize("name", main.COMMANDS)
def test_the_table_has_the_first_sentence_of_each_help(name: str, call: Any) -> None:
    command = main.app.get_command(click.Context(main.app), name)
    said = " ".join((command.help or "").split())
    assert command.name == name
    assert said.startswith(main.COMMANDS[name])
    assert call(name, "--help")[0] == 0


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_the_commands(arguments: tuple[str, ...], call: Any) -> None:
    code, out, _ = call(*arguments)
    assert code == 0
    assert all(f"  {name} " in out for name in main.COMMANDS)


@pytest.mark.parametrize("command", [[], ["run"], ["serve"], ["bench"], ["tune"], ["cache"]])
def test_help_imports_little(command: list[str]) -> None:
    """What makes it quick: none of the large packages, and of this one only the command line and the API."""
    script = (
        "import sys; from mistralrs.cli.main import app\n"
        f"try: app({[*command, '--help']!r})\n"
        "except SystemExit: print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = run.stdout.splitlines()[-1].split()
    assert not {"torch", "rich", "asyncio", "numpy", "huggingface_hub", "uvicorn"} & set(loaded)
    ours = {name.split(".")[1] for name in loaded if name.startswith("mistralrs.")}
    assert ours <= {"cli", "api"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions(shell: str, call: Any) -> None:
    code, out, _ = call("completions", shell)
    assert code == 0
    assert f"_MISTRALRS_COMPLETE={shell}_complete" in out


def test_completion_of_options(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the script asks for after `mistralrs bench --prom`."""
    monkeypatch.setenv("_MISTRALRS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "mistralrs bench --prom")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert call()[1] == "plain,--prompt-len\n"


@pytest.mark.parametrize(("flags", "traceback"), [((), False), (("-v",), True)])
def test_a_bug_is_one_line(
    flags: tuple[str, ...], traceback: bool, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> list[str]:
        raise ZeroDivisionError("no sense")

    monkeypatch.setattr("mistralrs.cli.cache.scan", lambda folder: broken())
    code, out, err = call(*flags, "cache", "list")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("error: ZeroDivisionError: no sense")
    assert ("Traceback" in err) == traceback

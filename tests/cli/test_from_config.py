"""`mistralrs from-config`: files that are checked, run and served."""

import sys
from contextlib import closing
from pathlib import Path
from socket import socket
from typing import Any

import pytest

from mistralrs.api.which import Which
from mistralrs.cli import serve

TWO = """
default_model_id = "b"
[global]
seed = 3
[server]
port = 99
ui = false
[[models]]
model_id = "org/a"
[[models]]
model_id = "org/b"
alias = "b"
"""


def written(folder: Path, text: str, name: str = "some.toml") -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


def test_run(fake: Any, call: Any, tmp_path: Path) -> None:
    file = written(
        tmp_path,
        'command = "run"\nenable_thinking = true\n[runtime]\nmax_seqs = 2\n[[models]]\n'
        'model_id = "org/a"\nisq = "4"',
    )
    code, out, _ = call("--seed", "9", "from-config", file, typed=["hi"])
    assert (code, out) == (0, "yes\n")
    (model,) = fake.config.models
    assert (model.which, model.options) == (
        Which.Plain("org/a"),
        {"max_seqs": 2, "in_situ_quant": "4", "seed": 9},
    )
    assert fake.requests[0].enable_thinking is True


def test_serve(fake: Any, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listened: list[Any] = []
    monkeypatch.setattr(serve, "check_packages", lambda server: None)
    monkeypatch.setattr(serve, "bind", lambda server: closing(socket()))
    monkeypatch.setattr(serve, "listen", lambda *arguments: listened.append(arguments))
    code, _, _ = call("from-config", "-f", written(tmp_path, TWO), "--log", "x.log")
    ((_, server, _, log),) = listened
    assert (code, server.port, server.ui, server.host, log) == (0, 99, False, "127.0.0.1", "x.log")
    assert [model.id for model in fake.config.models] == ["org/a", "b"]
    assert fake.config.default == "b"
    assert fake.closed


def test_check_loads_nothing(
    fake: Any, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "check_packages", lambda server: None)
    code, out, _ = call("from-config", "--check", written(tmp_path, TWO))
    assert (code, out, fake.config) == (0, "ok: serve org/a, b\n", None)


WRONG = [
    ([], "name one file"),
    (["a.toml", "-f", "b.toml"], "name one file"),
    (["a.yaml"], "must be a .toml file"),
    (["none.toml"], "cannot be read"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_usage(arguments: list[str], message: str, fake: Any, call: Any) -> None:
    code, out, err = call("from-config", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_without_the_packages_of_the_server(
    fake: Any, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, err = call("from-config", written(tmp_path, TWO))
    assert code == 2
    assert "pip install 'mistralrs[server]'" in err

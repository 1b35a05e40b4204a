"""A fake Runner, and a way to call the command line."""

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mistralrs.cli.main import main


def chunk(
    content: str | None = None, reasoning: str | None = None, finish: str | None = None
) -> Any:
    delta = SimpleNamespace(content=content, reasoning_content=reasoning)
    usage = SimpleNamespace(
        prompt_tokens=7,
        completion_tokens=3,
        avg_prompt_tok_per_sec=70.0,
        avg_compl_tok_per_sec=30.0,
    )
    choice = SimpleNamespace(index=0, delta=delta, finish_reason=finish)
    return SimpleNamespace(choices=[choice], usage=usage if finish else None)


class Stream:
    """Chunks to deliver; an exception among them is raised in its place."""

    def __init__(self, items: list[Any]) -> None:
        self.items, self.closed = iter(items), False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        item = next(self.items)
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        self.closed = True


@dataclass
class Fake:
    """What the command line did with its Runner. `answers` are scripts of chunks, one per request."""

    answers: list[list[Any]] = field(default_factory=list)
    arguments: dict[str, Any] = field(default_factory=dict)
    requests: list[Any] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    closed: bool = False
    config: Any = None


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fake:
    record = Fake()

    class Runner:
        def __init__(self, **arguments: Any) -> None:
            record.arguments.update(arguments)

        @classmethod
        def from_config(cls, config: Any) -> "Runner":
            record.config = config
            return cls()

        def __enter__(self) -> "Runner":
            return self

        def __exit__(self, *_: object) -> None:
            record.closed = True

        def send_chat_completion_request(self, request: Any) -> Stream:
            script = record.answers.pop(0) if record.answers else [chunk("yes", finish="stop")]
            record.requests.append(request)
            record.streams.append(Stream(script))
            return record.streams[-1]

    module = ModuleType("mistralrs.runner")
    module.Runner = Runner  # type: ignore[attr-defined]
    monkeypatch.setattr("mistralrs.cli.start.model_path", lambda: tmp_path)
    monkeypatch.setitem(sys.modules, "mistralrs.runner", module)
    return record


@pytest.fixture(scope="session")
def demo_runner() -> Iterator[Any]:
    from mistralrs import Runner, Which, demo

    with Runner(which=Which.Plain(str(demo.model_path())), max_seqs=1) as runner:
        yield runner


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """`call("run", "-i", "hi") -> (exit code, stdout, stderr)`; `typed` are the lines at the prompt."""

    def call(*arguments: str, typed: list[Any] | None = None) -> tuple[int, str, str]:
        lines = iter([*(typed or []), EOFError()])

        def answer(prompt: str = "") -> str:
            line = next(lines)
            if isinstance(line, BaseException):
                raise line
            return str(line)

        monkeypatch.setattr("builtins.input", answer)
        monkeypatch.setattr(sys, "argv", ["mistralrs", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    log = logging.getLogger("mistralrs")
    handlers, level = list(log.handlers), log.level
    yield call
    log.handlers[:] = handlers
    log.setLevel(level)

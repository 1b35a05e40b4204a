"""`--log`: what is written for a session and for a server."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from mistralrs.cli.journal import Journal, value


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_session(fake: Any, call: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    call("run", "-l", str(log), typed=["one", "two"])
    first, second = lines(log)
    assert first["request"] == [{"role": "user", "content": "one"}]
    assert (first["response"]["text"], first["response"]["finish"]) == ("yes", "stop")
    assert len(second["request"]) == 3


def ask(app: Any, path: str, body: bytes) -> list[Any]:
    """One request in two pieces."""
    pieces = [
        {"type": "http.request", "body": part, "more_body": True} for part in (body[:5], body[5:])
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return pieces.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(b"authorization", b"key")],
    }
    asyncio.run(app(scope, receive, send))
    return sent


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = (await receive())["body"] + (await receive())["body"]
    await send({"type": "http.response.start", "status": 201})
    await send({"type": "http.response.body", "body": body})


def test_server(tmp_path: Path) -> None:
    log = tmp_path / "log"
    app = Journal(echo, str(log))
    sent = ask(app, "/v1/chat/completions", b'{"model": "m"}')
    ask(app, "/health", b"not noted")
    (entry,) = lines(log)
    assert entry.pop("time") > 0
    assert entry == {
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 201,
        "request": {"model": "m"},
        "response": {"model": "m"},
    }
    assert sent[1]["body"] == b'{"model": "m"}'


BODIES = [
    (b"", ""),
    (b"plain", "plain"),
    (b"[1]", [1]),
    (b'data: {"a": 1}\n\n: ping\n\ndata: [DONE]\n\n', [{"a": 1}]),
    (b"\xff", "\ufffd"),
]


@pytest.mark.parametrize(("body", "expected"), BODIES)
def test_value(body: bytes, expected: Any) -> None:
    assert value(bytearray(body)) == expected

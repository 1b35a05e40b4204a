"""`--log FILE`: every request and its answer, one JSON object a line."""

import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mistralrs.api.errors import RequestError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class Notes:
    """Appends to a file; opened at once, so that a wrong name shows before anything is loaded."""

    def __init__(self, path: str) -> None:
        try:
            self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise RequestError(f"--log {path} cannot be written: {error.strerror}") from None

    def write(self, **entry: Any) -> None:
        """Add one line."""
        self.file.write(json.dumps({"time": time.time(), **entry}, ensure_ascii=False) + "\n")
        self.file.flush()


class Journal:
    """An ASGI application that notes what goes through another one; headers, and so keys, are left out."""

    def __init__(self, app: App, path: str) -> None:
        self.app, self.notes = app, Notes(path)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request, and note it when its answer is complete."""
        if scope["type"] != "http" or not scope["path"].startswith(("/v1", "/mcp")):
            await self.app(scope, receive, send)
            return
        question, answer, status = bytearray(), bytearray(), [0]

        async def hear() -> Message:
            message = await receive()
            question.extend(message.get("body", b""))
            return message

        async def say(message: Message) -> None:
            status[0] = message.get("status", status[0])
            answer.extend(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, hear, say)
        finally:
            self.notes.write(
                method=scope["method"],
                path=scope["path"],
                status=status[0],
                request=value(question),
                response=value(answer),
            )


def value(body: bytearray) -> Any:
    """JSON where the body is JSON, a list of events where it is a stream of them, else its text."""
    text = body.decode(errors="replace")
    try:
        if text.startswith(("data:", "event:", ":")):
            lines = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
            return [json.loads(line) for line in lines if line != "[DONE]"]
        return json.loads(text)
    except ValueError:
        return text

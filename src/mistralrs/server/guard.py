"""What stands before every request: the key, the size of the body, and how many may be in flight."""

import asyncio
import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mistralrs.server.errors import INVALID, answer, body
from mistralrs.server.metrics import Metrics

OPEN = ("/", "/health", "/ui", "/docs", "/openapi.json", "/api-doc")  # need no key
WORK = (
    "/v1/chat", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/re_isq",
    "/v1/models/tune", "/mcp",
)  # fmt: skip
BARE = "mistralrs.send"  # key of the scope: what sends past the layers that look at heads of answers alone
SMALL = 64 << 10  # bytes of a body that always finds room
HELD = 4  # times the largest body: so many bytes of incomplete bodies are kept at once
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # escapes that JSON has in pairs


@dataclass(frozen=True)
class Limits:
    """What the server lets in."""

    keys: tuple[str, ...] = ()  # none: everybody
    body: int = 50 << 20  # bytes
    requests: int = 256  # in flight, those that wait for the engine included
    patience: float = 30.0  # seconds for a body, and as many more as it needs at `pace`
    pace: int = 64 << 10  # bytes per second


class Gone(Exception):
    """The client left before it had sent everything."""


class Refused(Exception):
    """What the guard answers instead of the application."""

    def __init__(self, status: int, message: str, type: str, code: str) -> None:
        super().__init__(message)
        self.status, self.error = status, body(message, type, code)

    def answer(self, scope: Scope) -> Response:
        """Return it as a response."""
        return answer(scope["path"], self.status, self.error)


class Guard:
    """An ASGI middleware. A refused request costs nothing but its headers; one counts as in flight when all of it is
    here, so that slow senders take no place.
    """

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics
        self.active = 0
        self.held = 0  # bytes of bodies that are not complete

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return await refuse_others(scope, receive, send, self.app)
        if scope["method"] == "HEAD":  # the server below leaves the body out
            scope = {**scope, "method": "GET"}
        status, start = [0], time.perf_counter()
        self.metrics.active.inc()
        try:
            scope[BARE] = send
            await self._serve(scope, receive, noting(send, status))
        finally:
            self.metrics.active.dec()
            self._count(scope, status[0], time.perf_counter() - start)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        working = is_work(scope)
        try:
            self._admit(scope)
            content = await self._body(receive)
            if working and self.active >= self.limits.requests:
                raise Refused(
                    429, f"{self.limits.requests} requests are in flight; try again in a moment",
                    "rate_limit_error", "overloaded",
                )  # fmt: skip
        except Refused as refused:
            return await refused.answer(scope)(scope, receive, send)
        except Gone:
            return None
        self.active += working
        try:
            await self.app(scope, replayed(content, receive), send)
        finally:
            self.active -= working

    def _admit(self, scope: Scope) -> None:
        """Look at the headers."""
        headers = dict(scope["headers"])
        if self.limits.keys and not self._known(scope["path"], headers):
            message = "the key is missing or wrong: send it as `Authorization: Bearer KEY`"
            raise Refused(401, message, "authentication_error", "invalid_api_key")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.limits.body:
            raise self._too_large()

    async def _body(self, receive: Receive) -> bytes:
        """Read the body, as long as it comes at a fair pace."""
        content, start = bytearray(), time.monotonic()
        try:
            while True:
                patience = self.limits.patience + len(content) / self.limits.pace
                left = start + patience - time.monotonic()
                message = await asyncio.wait_for(receive(), max(left, 0))
                if message["type"] == "http.disconnect":
                    raise Gone
                content += message.get("body", b"")
                self.held += len(message.get("body", b""))
                if not message.get("more_body"):
                    break
                self._room(len(content))
        except (TimeoutError, asyncio.TimeoutError):
            raise Refused(408, "the body came too slowly", INVALID, "timeout") from None
        finally:
            self.held -= len(content)
        if len(content) > self.limits.body:
            raise self._too_large()
        whole = bytes(content)
        if SURROGATE.search(whole):
            check_unicode(whole)
        return whole

    def _room(self, size: int) -> None:
        """Refuse a body that is too large, or one too many of the larger ones that are on their way."""
        if size > self.limits.body:
            raise self._too_large()
        if size > SMALL and self.held > HELD * self.limits.body:
            message = "too many large bodies are on their way; try again in a moment"
            raise Refused(503, message, "overloaded_error", "overloaded")

    def _too_large(self) -> "Refused":
        message = f"the body is larger than {self.limits.body:,} bytes"
        return Refused(413, message, INVALID, "too_large")

    def _known(self, path: str, headers: dict[bytes, bytes]) -> bool:
        if path in OPEN or path.startswith(OPEN[2:]):
            return True
        given = headers.get(b"authorization", b"").removeprefix(b"Bearer ").strip()
        given = given or headers.get(b"x-api-key", b"")
        return any(hmac.compare_digest(given, key.encode()) for key in self.limits.keys)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get("route")
        path = getattr(route, "path", "other")  # not the path itself, which anybody can choose
        self.metrics.requests.labels(scope["method"], path, str(status)).inc()
        self.metrics.seconds.labels(path).observe(seconds)


def noting(send: Send, status: list[int]) -> Callable[[Message], Awaitable[None]]:
    """Send, and remember the status."""

    async def noted(message: Message) -> None:
        if message["type"] == "http.response.start":
            status[0] = message["status"]
        await send(message)

    return noted


def is_work(scope: Scope) -> bool:
    """Tell whether a request needs the engine."""
    path: str = scope["path"]
    return scope["method"] == "POST" and path.startswith(WORK) and not path.endswith("/cancel")


def check_unicode(content: bytes) -> None:
    """Refuse JSON whose strings are no Unicode; what is no JSON is another's to refuse."""
    try:
        json.dumps(json.loads(content), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        message = "a string of the body is not valid Unicode: it has an unpaired surrogate (\\ud800 to \\udfff)"
        raise Refused(400, message, INVALID, "invalid_unicode") from None
    except (ValueError, RecursionError):
        return


def replayed(content: bytes, receive: Receive) -> Receive:
    """Return a `receive` that begins with a body."""
    first: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def next_message() -> Message:
        return first.pop() if first else await receive()

    return next_message


async def refuse_others(scope: Scope, receive: Receive, send: Send, app: ASGIApp) -> None:
    """Close a WebSocket before it opens, which is a 403; pass on what is no connection."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000})
    else:
        await app(scope, receive, send)

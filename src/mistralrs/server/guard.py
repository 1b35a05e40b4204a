"""What stands before every request: the key, the size of the body, and how many may be in flight."""

import hmac
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mistralrs.server.errors import INVALID, answer, body

OPEN = ("/", "/health", "/ui", "/docs", "/openapi.json", "/api-doc")  # need no key
WORK = ("/v1/chat", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/re_isq")


@dataclass(frozen=True)
class Limits:
    """What the server lets in."""

    keys: tuple[str, ...] = ()  # none: everybody
    body: int = 50 << 20  # bytes
    requests: int = 256  # in flight, those that wait for the engine included


class Metrics:
    """What /metrics shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ["method", "path", "status"]
        self.requests = Counter(
            "http_requests", "Answered requests", labels, registry=self.registry
        )
        self.seconds = Histogram(
            "http_request_duration_seconds", "From the request to the end of its answer", ["path"],
            registry=self.registry,
        )  # fmt: skip
        self.active = Gauge("http_requests_in_flight", "Requests in flight", registry=self.registry)
        self.first = Histogram(
            "time_to_first_token_seconds", "Of streamed chats", registry=self.registry
        )
        self.tokens = Counter(
            "tokens", "Tokens of finished requests", ["kind"], registry=self.registry
        )


class TooLarge(BaseException):  # frameworks answer for every Exception themselves
    """The body is larger than the limit."""


class Guard:
    """An ASGI middleware. A refused request costs nothing but its headers."""

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics
        self.active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        status, start = [0], time.perf_counter()
        working = (
            scope["method"] == "POST"
            and scope["path"].startswith(WORK)
            and not scope["path"].endswith("/cancel")
        )
        self.active += working
        self.metrics.active.inc()
        try:
            await self._serve(scope, receive, noting(send, status), working)
        finally:
            self.active -= working
            self.metrics.active.dec()
            self._count(scope, status[0], time.perf_counter() - start)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, working: bool) -> None:
        refused = self._refused(scope, working)
        if refused:
            return await answer(scope["path"], *refused)(scope, receive, send)
        try:
            await self.app(scope, self._measured(receive), send)
        except TooLarge:  # raised while the body was read, so that nothing was sent
            await answer(scope["path"], *self._too_large())(scope, receive, send)

    def _refused(self, scope: Scope, working: bool) -> tuple[int, dict[str, object]] | None:
        headers = dict(scope["headers"])
        if self.limits.keys and not self._known(scope["path"], headers):
            message = "the key is missing or wrong: send it as `Authorization: Bearer KEY`"
            return 401, body(message, "authentication_error", "invalid_api_key")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.limits.body:
            return self._too_large()
        if working and self.active > self.limits.requests:
            message = f"{self.limits.requests} requests are in flight; try again in a moment"
            return 429, body(message, "rate_limit_error", "overloaded")
        return None

    def _too_large(self) -> tuple[int, dict[str, object]]:
        return 413, body(
            f"the body is larger than {self.limits.body:,} bytes", INVALID, "too_large"
        )

    def _known(self, path: str, headers: dict[bytes, bytes]) -> bool:
        if path in OPEN or path.startswith(OPEN[2:]):
            return True
        given = headers.get(b"authorization", b"").removeprefix(b"Bearer ").strip()
        given = given or headers.get(b"x-api-key", b"")
        return any(hmac.compare_digest(given, key.encode()) for key in self.limits.keys)

    def _measured(self, receive: Receive) -> Receive:
        seen = 0

        async def measured() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limits.body:
                raise TooLarge
            return message

        return measured

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

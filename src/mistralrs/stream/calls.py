"""Tool calls in the text of an answer: what a dialect is, and events from what its parser reads."""

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mistralrs.api.piece import Finish as Reason
from mistralrs.stream.events import Broken, Call, CallEnd, CallText, Event, Finish
from mistralrs.stream.jsontext import Malformed, dumps, loads
from mistralrs.stream.reader import Reader, Steps
from mistralrs.stream.shapes import Shape

log = logging.getLogger("mistralrs.stream")

Tools: TypeAlias = Mapping[str, Mapping[str, Any]]  # name: JSON schema of the parameters
NO_TOOLS: Tools = {}


def new_id() -> str:
    """An id as OpenAI writes them."""
    return f"call_{secrets.token_hex(12)}"


@dataclass(frozen=True)
class Dialect:
    """How a model writes tool calls: `parse` reads on behind one of the `opens`."""

    name: str
    opens: tuple[str, ...]
    parse: Callable[[Reader, "Writer"], Steps[None]]
    shape: Shape  # of an answer that has to call
    also: tuple[str, ...] = ()  # further markers that may be special tokens
    first: bool = False  # an answer may also begin with a call, unmarked; `parse` tells
    lines: bool = False  # a line may also begin with JSON that is a call of a known tool
    drops: tuple[str, ...] = ()  # what says to whom the text behind it goes, with NAME for any tool
    new_id: Callable[[], str] = new_id

    @property
    def markers(self) -> frozenset[str]:
        """Special tokens that must stay in the text."""
        return frozenset(self.opens + self.also)


@dataclass
class Writer:
    """Makes events of calls. A call is announced with its name; its arguments may come in pieces."""

    tools: Tools
    new_id: Callable[[], str] = new_id
    events: list[Event] = field(default_factory=list)
    count: int = 0  # calls begun
    complete: int = 0
    forget: Callable[[], None] = lambda: None  # called when a call is complete
    arguments: list[str] | None = None  # of the call that is open

    def open(self, name: Any, id: str | None = None) -> None:
        """Begin a call."""
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise Malformed("a call without a name")
        self.arguments = []
        self.events.append(Call(self.count, id or self.new_id(), name))
        self.count += 1

    def write(self, text: str) -> None:
        """Add to the open call's arguments, which are a JSON object."""
        assert self.arguments is not None
        if text:
            self.arguments.append(text)
            self.events.append(CallText(self.count - 1, text))

    def close(self) -> None:
        """End the open call; Malformed unless its arguments are an object."""
        assert self.arguments is not None
        if not isinstance(loads("".join(self.arguments)), dict):
            raise Malformed("arguments are not an object")
        self.arguments = None
        self.events.append(CallEnd(self.count - 1))
        self.complete += 1
        self.forget()

    def whole(self, name: str, arguments: Mapping[str, Any], id: str | None = None) -> None:
        """A call whose arguments did not come as JSON."""
        text = dumps(arguments)
        self.open(name, id)
        self.write(text)
        self.close()

    def fail(self, text: str, cause: Malformed) -> None:
        """The open call is none: its text is content."""
        assert self.arguments is not None
        log.warning("a tool call could not be read (%s); its text is in the content", cause)
        self.arguments = None
        self.events.append(Broken(self.count - 1, text))

    def flush(self) -> list[Event]:
        """The events since the last flush."""
        events, self.events = self.events, []
        return events

    def finish(self, reason: Reason) -> Finish:
        """The end: an answer that stops with calls stops for them."""
        return Finish("tool_calls" if self.complete and reason == "stop" else reason)

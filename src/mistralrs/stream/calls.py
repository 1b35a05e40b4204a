"""Tool calls in the text of an answer."""

import json
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mistralrs.api.piece import Finish as Reason
from mistralrs.stream.events import (
    Broken,
    Call,
    CallEnd,
    CallText,
    Content,
    Event,
    Finish,
    Splitter,
)
from mistralrs.stream.reader import Malformed, Reader, Steps
from mistralrs.stream.scan import first, partial
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
    bare: bool = False  # an answer may also begin with a call, unmarked; `parse` tells
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

    def open(self, name: str, id: str | None = None) -> None:
        """Begin a call."""
        if not name or not isinstance(name, str):
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
        try:
            value = json.loads("".join(self.arguments))
        except ValueError as error:
            raise Malformed(f"arguments are not JSON ({error})") from None
        if not isinstance(value, dict):
            raise Malformed("arguments are not an object")
        self.arguments = None
        self.events.append(CallEnd(self.count - 1))
        self.complete += 1
        self.forget()

    def whole(self, name: str, arguments: Mapping[str, Any], id: str | None = None) -> None:
        """A call whose arguments did not come as JSON."""
        self.open(name, id)
        self.write(json.dumps(arguments, ensure_ascii=False))
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


class Calls:
    """Splits what `inner` takes for content into text and tool calls."""

    def __init__(self, inner: Splitter, dialect: Dialect, tools: Tools) -> None:
        self._inner, self._dialect = inner, dialect
        self._reader = Reader()
        self._writer = Writer(tools, dialect.new_id, forget=self._reader.forget)
        self._parser: Steps[None] | None = None
        self._blank = ""  # white space that is content only if text follows
        self._fresh = dialect.bare  # nothing was said: the answer may begin with an unmarked call

    def push(self, text: str) -> list[Event]:
        """Take more text and return the events that became certain."""
        return self._through(self._inner.push(text))

    def end(self, reason: Reason) -> list[Event]:
        """Return what is held back, then the Finish; a call that was cut off is content."""
        return self._through(self._inner.end(reason))

    def _through(self, events: list[Event]) -> list[Event]:
        for event in events:
            if isinstance(event, Content):
                self._reader.text += event.text
                self._run()
            elif isinstance(event, Finish):
                self._close(event)
            else:
                self._writer.events.append(event)
        return self._writer.flush()

    def _close(self, finish: Finish) -> None:
        self._reader.over = True
        self._run()
        if self._blank and not self._writer.complete:
            self._writer.events.append(Content(self._blank))
        assert finish.reason != "tool_calls"
        self._writer.events.append(self._writer.finish(finish.reason))

    def _run(self) -> None:
        """Go as far as the text allows."""
        while self._parser or self._begin():
            assert self._parser is not None
            try:
                next(self._parser)
                return
            except StopIteration:
                pass
            except Malformed as error:
                self._give_up(error)
            self._parser = None

    def _give_up(self, error: Malformed) -> None:
        """What was read is text."""
        text = self._reader.read
        self._reader.forget()
        if self._writer.arguments is not None:
            self._writer.fail(text, error)
        else:
            log.debug("no tool call: %s", error)
            self._say(text)

    def _begin(self) -> bool:
        """Pass on text up to a call and tell whether one begins."""
        reader, opens = self._reader, self._dialect.opens
        if self._fresh and (reader.text.strip() or reader.over):
            self._fresh = False
            if reader.text.strip():
                return self._start(0, 0)
        if self._fresh:
            return False
        at = first(reader.text, opens)
        if at:
            return self._start(*at)
        held = 0 if reader.over else partial(reader.text, opens)
        self._say(reader.text[: len(reader.text) - held])
        reader.text = reader.text[len(reader.text) - held :]
        return False

    def _start(self, begin: int, end: int) -> bool:
        self._say(self._reader.text[:begin])
        self._blank = ""
        self._reader.text = self._reader.text[begin:]
        self._reader.forget()
        self._reader.take(end - begin)
        self._parser = self._dialect.parse(self._reader, self._writer)
        return True

    def _say(self, text: str) -> None:
        """Content; the white space at its end waits for what follows."""
        whole = self._blank + text
        said = whole.rstrip()
        self._blank = whole[len(said) :]
        if said:
            self._writer.events.append(Content(said))

"""What an answer consists of: what a model says, what it thinks, the tools that it calls, and how it ended.

A `Splitter` takes the text of one continuation in any pieces and returns the same events however it was cut. Responses
and the agent loop see nothing else.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from mistralrs.api.piece import Finish as Reason


@dataclass(frozen=True)
class Content:
    """Text of the answer."""

    text: str


@dataclass(frozen=True)
class Reasoning:
    """Text of the thinking before and between the answer."""

    text: str


@dataclass(frozen=True)
class Call:
    """The beginning of tool call `index`."""

    index: int
    id: str
    name: str


@dataclass(frozen=True)
class CallText:
    """More of the arguments of a call, which together are a JSON object."""

    index: int
    text: str


@dataclass(frozen=True)
class CallEnd:
    """The arguments of a call are complete and valid JSON."""

    index: int


@dataclass(frozen=True)
class Broken:
    """A call that was begun is none after all: `text`, markers included, is content."""

    index: int
    text: str


@dataclass(frozen=True)
class Finish:
    """The end of a continuation and why."""

    reason: Reason | Literal["tool_calls"]


Event: TypeAlias = Content | Reasoning | Call | CallText | CallEnd | Broken | Finish
Spoken: TypeAlias = type[Content] | type[Reasoning]


class Splitter(Protocol):
    """One continuation's text in, its events out."""

    def push(self, text: str) -> list[Event]:
        """Take more text and return the events that became certain."""
        ...

    def end(self, reason: Reason) -> list[Event]:
        """Return the events still held back, then the Finish."""
        ...


class Voice:
    """Makes events of text. White space before the first word of the content or reasoning is dropped."""

    def __init__(self) -> None:
        self._begun: set[type] = set()

    def say(self, kind: Spoken, text: str) -> list[Event]:
        """Return the event for `text`, none for an empty one."""
        if kind not in self._begun:
            text = text.lstrip()
        if not text:
            return []
        self.begin(kind)
        return [kind(text)]

    def begin(self, kind: Spoken) -> None:
        """Text of this kind was said elsewhere."""
        self._begun.add(kind)

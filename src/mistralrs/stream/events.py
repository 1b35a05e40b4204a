"""Text to events: what a model says, what it thinks, and how it ended.

A `Format` is chosen once per model from its chat template. For every continuation it starts a `Splitter`, which
takes text in any pieces and returns the same events however the text was cut. Responses and the agent loop only see
this interface, so a new dialect is one class in `dialects.py` and one line in `detect`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from mistralrs.api.piece import Finish as Reason
from mistralrs.stream.scan import first, partial


@dataclass(frozen=True)
class Content:
    """Text of the answer."""

    text: str


@dataclass(frozen=True)
class Reasoning:
    """Text of the thinking before and between the answer."""

    text: str


@dataclass(frozen=True)
class Finish:
    """The end of a continuation and why."""

    reason: Reason


Event: TypeAlias = Content | Reasoning | Finish
Spoken: TypeAlias = type[Content] | type[Reasoning]


class Splitter(Protocol):
    """One continuation's text in, its events out."""

    def push(self, text: str) -> list[Event]:
        """Take more text and return the events that became certain."""
        ...

    def end(self, reason: Reason) -> list[Event]:
        """Return the events still held back, then the Finish."""
        ...


@dataclass(frozen=True)
class Format:
    """How a model marks the parts of its output."""

    markers: frozenset[str]  # special tokens to keep in the text, for `Tokenizer.stream`
    start: Callable[[str], Splitter]  # the text of the prompt -> a splitter
    # the text of the prompt -> a regular expression that the answer stands behind, if something comes before it
    lead: Callable[[str], str | None] = lambda prompt: None


Mark: TypeAlias = tuple[str, str]  # what begins and what ends the reasoning

THINK: tuple[Mark, ...] = (
    ("<think>", "</think>"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
)


HARMONY = (
    "<|start|>",
    "<|channel|>",
    "<|constrain|>",
    "<|message|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
)
FINAL = r"<\|channel\|>final[^<]*(<\|constrain\|>[^<]*)?<\|message\|>"
CHANNELS: dict[str, Spoken] = {"analysis": Reasoning, "commentary": Reasoning, "final": Content}


def detect(template: str | None) -> Format:
    """Return the format whose markers the chat template names; plain content without any."""
    text = template or ""
    if "<|channel|>" in text and "<|message|>" in text:
        return Format(frozenset(HARMONY), Harmony, lambda prompt: FINAL)
    mark = next((mark for mark in THINK if all(marker in text for marker in mark)), None)
    if mark is None:
        return Format(frozenset(), lambda prompt: Marked(None))
    return Format(
        frozenset(mark),
        lambda prompt: Marked(mark, is_open(prompt, mark)),
        lambda prompt: re.escape(mark[1]) if is_open(prompt, mark) else None,
    )


def is_open(prompt: str, mark: Mark) -> bool:
    """Tell whether a prompt ends with the beginning of reasoning."""
    return prompt.rstrip().endswith(mark[0])


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
        self._begun.add(kind)
        return [kind(text)]


class Marked:
    """Splits at a pair of markers, which may occur several times. Without a pair all text is content."""

    def __init__(self, mark: Mark | None, inside: bool = False) -> None:
        self._mark = mark
        self._inside = inside
        self._voice = Voice()
        self._held = ""

    def push(self, text: str) -> list[Event]:
        """Take more text and return the events that became certain."""
        events: list[Event] = []
        self._held += text
        while self._mark is not None and (at := first(self._held, [self._mark[self._inside]])):
            events += self._say(self._held[: at[0]])
            self._held = self._held[at[1] :]
            self._inside = not self._inside
        keep = partial(self._held, [self._mark[self._inside]]) if self._mark else 0
        certain = len(self._held) - keep
        events += self._say(self._held[:certain])
        self._held = self._held[certain:]
        return events

    def end(self, reason: Reason) -> list[Event]:
        """Return a partial marker as the text that it turned out to be, then the Finish."""
        events = self._say(self._held)
        self._held = ""
        return [*events, Finish(reason)]

    def _say(self, text: str) -> list[Event]:
        return self._voice.say(Reasoning if self._inside else Content, text)


class Harmony:
    """Splits gpt-oss output: messages of a header, which names a channel, and a body."""

    def __init__(self, prompt: str) -> None:
        self._voice = Voice()
        self._held = ""
        self._kind: Spoken = Content
        self._header: str | None = ""  # None inside a body
        self.push(prompt[max(prompt.rfind("<|start|>"), 0) :])  # the prompt may begin the message
        self._voice = Voice()
        self._header = None if self._header is None else ""
        self._marked = self._header is None

    def push(self, text: str) -> list[Event]:
        """Take more text and return the events that became certain."""
        events: list[Event] = []
        self._held += text
        while at := first(self._held, HARMONY):
            events += self._take(self._held[: at[0]])
            self._turn(self._held[at[0] : at[1]])
            self._held = self._held[at[1] :]
        certain = len(self._held) - partial(self._held, HARMONY)
        events += self._take(self._held[:certain])
        self._held = self._held[certain:]
        return events

    def end(self, reason: Reason) -> list[Event]:
        """Return what is held back, then the Finish; output without any marker is content."""
        if not self._marked:
            self._held, self._header = (self._header or "") + self._held, None
        events = self._take(self._held)
        self._held = ""
        return [*events, Finish(reason)]

    def _take(self, text: str) -> list[Event]:
        if self._header is None:
            return self._voice.say(self._kind, text)
        self._header += text
        return []

    def _turn(self, marker: str) -> None:
        """Go where `marker` leads: into a body, or to the next part of a header."""
        self._marked = True
        if marker != "<|message|>":
            self._header = (self._header or "") + " " if marker == "<|constrain|>" else ""
            return
        words = (self._header or "").split()
        self._kind = CHANNELS.get(words[0], Content) if words else Content
        self._header = None

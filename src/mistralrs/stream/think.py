"""Reasoning between a pair of markers."""

from typing import TypeAlias

from mistralrs.api.piece import Finish as Reason
from mistralrs.stream.events import Content, Event, Finish, Reasoning, Voice
from mistralrs.stream.scan import first, partial

Mark: TypeAlias = tuple[str, str]  # what begins and what ends the reasoning

THINK: tuple[Mark, ...] = (
    ("<think>", "</think>"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
)


def is_open(prompt: str, mark: Mark) -> bool:
    """Tell whether a prompt ends with the beginning of reasoning."""
    return prompt.rstrip().endswith(mark[0])


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

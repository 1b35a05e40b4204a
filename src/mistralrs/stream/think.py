"""How families of models mark their reasoning, and the chat templates that tell which one does."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """What begins and what ends reasoning."""

    begin: str
    end: str
    words: tuple[
        str, ...
    ] = ()  # that a chat template has all of; the two marks where none are given
    tokens: tuple[str, ...] = ()  # special tokens in them; the two marks where none are given
    drops: tuple[str, ...] = ()  # what frames the answer itself

    @property
    def named(self) -> tuple[str, ...]:
        """The words that tell of this mark."""
        return self.words or (self.begin, self.end)

    @property
    def kept(self) -> frozenset[str]:
        """Special tokens that must stay in the text."""
        return frozenset(self.tokens or (self.begin, self.end))


THINK: tuple[Mark, ...] = (
    Mark(
        "<think>",
        "</think>",
        ("<think>", "</think>", "<response>", "</response>"),
        drops=("<response>", "</response>"),
    ),
    Mark("<think>", "</think>"),
    Mark("<thinking>", "</thinking>"),
    Mark("<seed:think>", "</seed:think>"),
    Mark("<mm:think>", "</mm:think>"),
    Mark("<think:opensource>", "</think:opensource>", ("<think{}>", ":opensource")),
    Mark("[THINK]", "[/THINK]"),
    Mark("<|START_THINKING|>", "<|END_THINKING|>"),
    Mark("<|inner_prefix|>", "<|inner_suffix|>"),
    Mark("<|channel>thought", "<channel|>", ("<|channel>", "<channel|>"), ("<|channel>", "<channel|>")),
    Mark("Here is my thought process:", "Here is my response:"),
    Mark(
        "Here are my reasoning steps:",
        "[BEGIN FINAL RESPONSE]",
        ("[BEGIN FINAL RESPONSE]",),
        drops=("[END FINAL RESPONSE]",),
    ),
    Mark(
        " to=self<|message|>",
        "<|eom|>",
        ("to=self", "<|eom|>"),
        ("<|start|>", "<|message|>", "<|eom|>"),
        drops=("<|start|>assistant", "<|eom|>", " to=user<|message|>", " to=NAME<|message|>"),
    ),
)  # fmt: skip


def marks_of(text: str) -> tuple[Mark, ...]:
    """The marks that a template, or a list of special tokens, names; the first row of each beginning counts."""
    found: dict[str, Mark] = {}
    for mark in THINK:
        if all(word in text for word in mark.named):
            found.setdefault(mark.begin, mark)
    return tuple(found.values())


def opened(prompt: str, marks: Iterable[Mark]) -> Mark | None:
    """The mark of the reasoning that a prompt ends with the beginning of."""
    return next((mark for mark in marks if prompt.rstrip().endswith(mark.begin)), None)

"""How a model marks the parts of its output, told by its chat template and its special tokens.

A new way to write tool calls is a row in dialects.py, perhaps with a parser; new marks of reasoning are a row
in think.py.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mistralrs.api.prompt import Grammar, Prompt
from mistralrs.stream import harmony
from mistralrs.stream.calls import NO_TOOLS, Dialect, Tools
from mistralrs.stream.dialects import HARMONY, JSON, dialect_of
from mistralrs.stream.events import Splitter
from mistralrs.stream.shapes import forced, guarded
from mistralrs.stream.split import Split
from mistralrs.stream.think import marks_of, opened


@dataclass(frozen=True)
class Format:
    """The marks of one model."""

    marks: frozenset[str]  # special tokens that stay in the text
    split: Callable[[str, Tools], Splitter]  # the text of the prompt, and the tools on offer
    dialect: Dialect
    # the text of the prompt -> a regular expression that the answer stands behind, if something comes before it
    lead: Callable[[str], str | None] = lambda prompt: None

    def start(self, prompt: str, tools: Tools = NO_TOOLS) -> Splitter:
        """What splits one continuation."""
        return self.split(prompt, tools)

    def kept(self, tools: Tools) -> frozenset[str]:
        """Special tokens to keep in the text, for `Tokenizer.stream`."""
        return self.marks | self.dialect.markers if tools else self.marks

    def grammar(self, prompt: Prompt, special: Mapping[str, int]) -> Grammar | None:
        """What makes the model call a tool where it has to; `special` are special tokens and their ids."""
        shape, mark = self.dialect.shape, "".join(self.dialect.opens[:1])
        if not prompt.tools:
            return None
        if prompt.calls != "auto":
            return Grammar("lark", forced(shape, prompt.tools, prompt.calls == "one", special))
        text = guarded(shape, mark, prompt.tools, prompt.strict, special)
        return Grammar("lark", text) if text else None


def detect(template: str | None, special: Iterable[str] = ()) -> Format:
    """Return the format that the chat template tells of.

    Where it tells nothing of calls or of reasoning, the tokenizer's special tokens do; plain content without any.
    """
    text, tokens = template or "", " ".join(special)
    if any("<|channel|>" in told and "<|message|>" in told for told in (text, tokens)):
        marks = frozenset(harmony.HARMONY)
        return Format(marks, harmony.Harmony, HARMONY, lambda prompt: harmony.FINAL)
    dialect = dialect_of(text) or dialect_of(tokens) or JSON
    found = marks_of(text) or marks_of(tokens)

    def split(prompt: str, tools: Tools) -> Splitter:
        return Split(found, opened(prompt, found), dialect, tools)

    def lead(prompt: str) -> str | None:
        mark = opened(prompt, found)
        return re.escape(mark.end) if mark else None

    return Format(frozenset().union(*(mark.kept for mark in found)), split, dialect, lead)

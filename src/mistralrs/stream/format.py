"""How a model marks the parts of its output, told by its chat template.

A new way to write tool calls is a parser and a row in dialects.py; new marks of reasoning are a row in think.py.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mistralrs.api.prompt import Grammar, Prompt
from mistralrs.stream import harmony
from mistralrs.stream.calls import NO_TOOLS, Calls, Dialect, Tools
from mistralrs.stream.dialects import HARMONY, dialect_of
from mistralrs.stream.events import Splitter
from mistralrs.stream.shapes import forced, guarded
from mistralrs.stream.think import THINK, Marked, is_open


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


def detect(template: str | None) -> Format:
    """Return the format that the chat template tells of; plain content without any."""
    text = template or ""
    if "<|channel|>" in text and "<|message|>" in text:
        marks = frozenset(harmony.HARMONY)
        return Format(marks, harmony.Harmony, HARMONY, lambda prompt: harmony.FINAL)
    dialect = dialect_of(text)
    mark = next((mark for mark in THINK if all(marker in text for marker in mark)), None)

    def split(prompt: str, tools: Tools) -> Splitter:
        inner = Marked(mark, mark is not None and is_open(prompt, mark))
        return Calls(inner, dialect, tools) if tools else inner

    def lead(prompt: str) -> str | None:
        return re.escape(mark[1]) if mark and is_open(prompt, mark) else None

    return Format(frozenset(mark or ()), split, dialect, lead)

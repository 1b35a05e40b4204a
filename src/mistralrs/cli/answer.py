"""A streamed answer -> the terminal, and its figures."""

import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from mistralrs.api.responses import ChatCompletionChunkResponse, Usage

DIM, PLAIN = "\x1b[90m", "\x1b[0m"


@dataclass
class Answer:
    """What has arrived of an answer."""

    text: str = ""
    finish: str | None = None
    usage: "Usage | None" = None
    first: float | None = None  # seconds to the first token

    def figures(self) -> str:
        """One line: time to the first token, then tokens and tokens per second of prompt and answer."""
        parts = [] if self.first is None else [f"first token {self.first:.2f} s"]
        if self.usage:
            prompt, decode = self.usage.avg_prompt_tok_per_sec, self.usage.avg_compl_tok_per_sec
            parts += [
                f"prompt {self.usage.prompt_tokens} tokens, {prompt:.1f} T/s",
                f"answer {self.usage.completion_tokens} tokens, {decode:.1f} T/s",
            ]
        return " | ".join(parts)

    def entry(self) -> dict[str, Any]:
        """The answer for a log."""
        counts = ("prompt_tokens", "completion_tokens")
        used = {name: getattr(self.usage, name) for name in counts if self.usage}
        return {"text": self.text, "finish": self.finish, "first_token_sec": self.first, **used}


class Screen:
    """Writes an answer to `out`. Reasoning is grey on a terminal and stays out of files and pipes."""

    def __init__(self, out: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self.terminal = self.out.isatty()
        self.color = self.terminal and not os.environ.get("NO_COLOR")
        self.grey = False

    def write(self, text: str, reasoning: bool = False) -> None:
        """Show a piece of text at once."""
        if reasoning and not self.terminal:
            return
        self.out.write(self.switch(reasoning) + text)
        self.out.flush()

    def switch(self, reasoning: bool) -> str:
        """What to write before text of the other sort: a line break after reasoning, and the color."""
        if reasoning == self.grey:
            return ""
        self.grey = reasoning
        color = (DIM if reasoning else PLAIN) if self.color else ""
        return color if reasoning else color + "\n"

    def end(self, cut: bool) -> None:
        """Finish the line; an answer that met its length limit shows an ellipsis on a terminal."""
        self.write(("..." if cut and self.terminal else "") + "\n")


def show(chunks: "Iterable[ChatCompletionChunkResponse]", screen: Screen, answer: Answer) -> None:
    """Write a stream as it comes and collect it in `answer`, which is valid even when the stream breaks off."""
    began = time.perf_counter()
    for chunk in chunks:
        if answer.first is None:
            answer.first = time.perf_counter() - began
        answer.usage = chunk.usage or answer.usage
        for choice in chunk.choices:
            put(choice, screen, answer)


def put(choice: Any, screen: Screen, answer: Answer) -> None:
    """Show what one choice of a chunk adds."""
    answer.finish = choice.finish_reason or answer.finish
    if choice.delta.reasoning_content:
        screen.write(choice.delta.reasoning_content, reasoning=True)
    if choice.delta.content:
        answer.text += choice.delta.content
        screen.write(choice.delta.content)

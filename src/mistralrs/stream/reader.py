"""Text that arrives in pieces, for parsers that are generators: they yield where they need more of it.

So a parser reads like one over a whole text, and gives the same however the text was cut.
"""

from collections.abc import Callable, Generator
from typing import TypeAlias, TypeVar

from mistralrs.stream.jsontext import DEEPEST, Extent, Malformed
from mistralrs.stream.scan import first

Value = TypeVar("Value")
Steps: TypeAlias = Generator[None, None, Value]


class Reader:
    """The text not read yet, and what was read since the last `forget`."""

    def __init__(self) -> None:
        self.text = ""
        self.read = ""
        self.over = False  # no more text will come

    def take(self, length: int) -> str:
        """Return the next `length` characters, which are there."""
        taken, self.text = self.text[:length], self.text[length:]
        self.read += taken
        return taken

    def back(self, text: str) -> None:
        """Unread `text`, which was read last."""
        self.text, self.read = text + self.text, self.read[: len(self.read) - len(text)]

    def forget(self) -> None:
        """What was read up to here will not be asked for."""
        self.read = ""

    def peek(self) -> Steps[str]:
        """Return the next character without reading it, "" at the end."""
        while not self.text and not self.over:
            yield
        return self.text[:1]

    def space(self) -> Steps[str]:
        """Read white space and return the character behind it."""
        while (yield from self.peek()).isspace():
            self.take(1)
        return self.text[:1]

    def word(self, *words: str) -> Steps[str | None]:
        """Read the longest of some words if one comes next, and return it."""
        while not self.over and any(w.startswith(self.text) and w != self.text for w in words):
            yield
        found = max((w for w in words if self.text.startswith(w)), key=len, default=None)
        return self.take(len(found)) if found else None

    def expect(self, *words: str) -> Steps[str]:
        """Read one of some words; Malformed if none comes."""
        found = yield from self.word(*words)
        if found is None:
            raise Malformed(f"{self.text[:20]!r} instead of {words[0]!r}")
        return found

    def ending(self, *words: str) -> Steps[str | None]:
        """Read one of some words and the white space before it, and return the word; nothing if none comes."""
        while True:
            text = self.text.lstrip()
            longer = any(word.startswith(text) and word != text for word in words)
            if not (longer or not text) or self.over:
                break
            yield
        found = max((word for word in words if text.startswith(word)), key=len, default=None)
        if found:
            self.take(len(self.text) - len(text) + len(found))
        return found

    def until(self, *words: str) -> Steps[tuple[str, str]]:
        """Read to the end of the first of some words; return the text before it, and the word."""
        while not (at := first(self.text, words)):
            if self.over:
                raise Malformed(f"no {words[0]!r}")
            yield
        before = self.take(at[0])
        return before, self.take(at[1] - at[0])

    def rest(self) -> Steps[str]:
        """Read everything."""
        while not self.over:
            yield
        return self.take(len(self.text))

    def json(self, write: Callable[[str], None] = lambda text: None) -> Steps[str]:
        """Read one JSON value and return its text, which `write` gets as it comes. Only its extent is checked."""
        opening = yield from self.space()
        if not opening:
            raise Malformed("no value")
        extent = Extent()
        scan = extent if opening in '{["' else scalar
        parts = []
        while True:
            length, done, clean = scan(self.text)
            self.take(length)
            parts.append(clean)
            write(clean)
            if extent.over:
                raise Malformed(f"more than {DEEPEST} levels")
            if done or (self.over and scan is scalar):
                return "".join(parts)
            if self.over:
                raise Malformed("a value without its end")
            yield


def scalar(text: str) -> tuple[int, bool, str]:
    """How much of the text belongs to a number or a literal, whether it ends there, and that part."""
    end = next((i for i, c in enumerate(text) if not (c.isalnum() or c in "+-._")), len(text))
    return end, end < len(text), text[:end]

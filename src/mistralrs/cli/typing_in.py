"""What people type: lines with editing and history, messages of several lines."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

QUOTE = '"""'


def message(typed: bool) -> str:
    '''The next message: a line, lines that end in a backslash with the one after them, or all between two """.'''
    first, more = ("> ", ". ") if typed else ("", "")
    line = input(first)
    if line.strip().startswith(QUOTE):
        return block(line.strip()[len(QUOTE) :], more)
    while line.endswith("\\"):
        line = f"{line[:-1]}\n{input(more)}"
    return line.strip()


def block(text: str, prompt: str) -> str:
    """The text up to the closing quotes."""
    while not text.rstrip().endswith(QUOTE):
        text += f"\n{input(prompt)}"
    return text.rstrip()[: -len(QUOTE)].strip("\n")


def history_file() -> Path:
    """Where the lines that were typed are kept between sessions."""
    folder = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return Path(folder or Path.home() / ".cache") / "mistralrs" / "history"


def begin(words: Sequence[str]) -> None:
    """Give the prompt line editing, `words` at the tab key, and the lines of earlier sessions, if there is readline."""
    with suppress(ImportError, OSError):
        import readline

        def complete(text: str, state: int) -> str | None:
            found = [word for word in words if word.startswith(text)]
            return found[state] if text and state < len(found) else None

        readline.set_completer(complete)
        readline.set_completer_delims(" ")
        readline.parse_and_bind("tab: complete")
        readline.set_history_length(1000)
        readline.read_history_file(history_file())


def end() -> None:
    """Keep the lines for the next session; a read-only home is not an error."""
    with suppress(ImportError, OSError):
        import readline

        history_file().parent.mkdir(parents=True, exist_ok=True)
        readline.write_history_file(history_file())

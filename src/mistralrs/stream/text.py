"""Sampled ids to text, ended by stop strings."""

from typing import Protocol

from mistralrs.stream.scan import first, partial


class Decoder(Protocol):
    """An incremental decoder: `Tokenizer.stream()`."""

    def push(self, id: int) -> str:
        """Take one id and return the text that became certain."""
        ...

    def flush(self) -> str:
        """Return the rest."""
        ...


class TextStream:
    """The text of one continuation, held back only where it may still become a stop string."""

    def __init__(self, decoder: Decoder, stop_texts: tuple[str, ...] = ()) -> None:
        self.stopped = False
        self._decoder = decoder
        self._stops = stop_texts
        self._held = ""

    def push(self, token: int) -> str:
        """Take one token; return the text that no later token can change or remove."""
        return self._settle(self._decoder.push(token))

    def flush(self) -> str:
        """Return the text still held back, up to a stop string that only the end completed."""
        text = self._settle(self._decoder.flush()) + self._held
        self._held = ""
        return text

    def _settle(self, text: str) -> str:
        """Return the certain part of the held text and `text`; nothing follows a stop string."""
        if self.stopped:
            return ""
        if not self._stops:
            return text
        whole = self._held + text
        match = first(whole, self._stops)
        self.stopped = match is not None
        keep = len(whole) - partial(whole, self._stops) if match is None else match[0]
        self._held = "" if self.stopped else whole[keep:]
        return whole[:keep]

"""Finding words in a text that arrives in pieces."""

from collections.abc import Collection


def first(text: str, words: Collection[str]) -> tuple[int, int] | None:
    """Return where the word that ends first begins and ends, the longest if several end there.

    The order of ends does not depend on how the text was cut into pieces.
    """
    found = [(at + len(word), at) for word in words if (at := text.find(word)) >= 0]
    if not found:
        return None
    end, start = min(found)
    return start, end


def partial(text: str, words: Collection[str]) -> int:
    """Return the length of the longest end of `text` that begins one of `words` without completing it."""
    longest = min(max(map(len, words), default=1) - 1, len(text))
    for length in range(longest, 0, -1):
        tail = text[-length:]
        if any(len(word) > length and word.startswith(tail) for word in words):
            return length
    return 0

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
    return max((begun(text, word) for word in words), default=0)


def begun(text: str, word: str) -> int:
    """Return the length of the longest end of `text` that begins `word` without completing it."""
    at = text.find(word[:1], max(len(text) - len(word) + 1, 0))
    while at >= 0 and not word.startswith(text[at:]):
        at = text.find(word[0], at + 1)
    return len(text) - at if at >= 0 else 0

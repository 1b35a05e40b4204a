"""How well passages answer a query: by their words (BM25), or by the vectors of an embedding model."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

Rank = Callable[[str, Sequence[str]], list[float]]  # query, passages -> a score for each

K1, B = 1.5, 0.75  # the usual constants of BM25 (Robertson and Zaragoza 2009)
BATCH = 8  # passages for the embedding model at a time


def bm25(query: str, passages: Sequence[str]) -> list[float]:
    """Score passages by the words they share with the query, rare words counting more."""
    counts = [Counter(words(passage)) for passage in passages]
    lengths = [sum(count.values()) for count in counts]
    mean = sum(lengths) / max(len(lengths), 1) or 1.0
    asked = dict.fromkeys(words(query))
    holders = {word: sum(word in count for count in counts) for word in asked}

    def score(count: Counter[str], length: int) -> float:
        norm = K1 * (1 - B + B * length / mean)
        return sum(
            rarity(len(counts), holders[word]) * count[word] * (K1 + 1) / (count[word] + norm)
            for word in asked
            if count[word]
        )

    return [score(count, length) for count, length in zip(counts, lengths)]


def rarity(passages: int, holders: int) -> float:
    """The weight of a word that `holders` of the passages have."""
    return math.log(1 + (passages - holders + 0.5) / (holders + 0.5))


def words(text: str) -> list[str]:
    """Lower-case words and numbers; of writings without blanks, single characters."""
    return re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_]+", text.lower())


def by_vectors(embed: Callable[[list[str]], list[list[float]]]) -> Rank:
    """A Rank by the cosine of vectors, with the prompts that EmbeddingGemma was trained on."""

    def rank(query: str, passages: Sequence[str]) -> list[float]:
        asked = embed([f"task: search result | query: {query}"])[0]
        texts = [f"title: none | text: {passage}" for passage in passages]
        batches = (texts[i : i + BATCH] for i in range(0, len(texts), BATCH))
        return [cosine(asked, vector) for batch in batches for vector in embed(batch)]

    return rank


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """The cosine of the angle between two vectors; 0 for a zero vector."""
    size = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b)) / size if size else 0.0

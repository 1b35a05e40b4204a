"""One loaded embedding model: requests in, vectors out."""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import torch

from mistralrs.api.errors import (
    ContextLengthError,
    NotSupportedError,
    RequestError,
    RequestTimeoutError,
)
from mistralrs.api.requests import EmbeddingRequest
from mistralrs.api.which import WhichEmbedding
from mistralrs.engine.oneshot import OneShot, Room
from mistralrs.load.build import Built, build
from mistralrs.load.hub import open_repo
from mistralrs.load.plan import STEP, Wish
from mistralrs.load.sentence import embedder, longest_text
from mistralrs.load.vocabulary import check_size, read_tokenizer
from mistralrs.pipeline import Settings, best_device, page_size
from mistralrs.prompt.tokenizer import Tokenizer

Vectors = list[list[float]]


class Embedder:
    """An embedding model with what turns requests into its input."""

    def __init__(self, id: str, built: Built, tokenizer: Tokenizer, context: int, engine: OneShot):
        self.id, self.built, self.tokenizer = id, built, tokenizer
        self.context, self.engine = context, engine

    @property
    def modalities(self) -> dict[str, list[str]]:
        """What it reads and writes."""
        return {"input": ["text"], "output": ["embedding"]}

    def start(self, request: EmbeddingRequest) -> "tuple[list[Future[list[float]]], int]":
        """Check a request and queue its inputs: their vectors in their order, and the number of tokens."""
        texts = [self.fit(tokens, request) for tokens in self.inputs(request)]
        return self.engine.submit(texts), sum(map(len, texts))

    def embed(self, request: EmbeddingRequest, timeout: float | None) -> Vectors:
        """Wait for the vectors."""
        futures, _ = self.start(request)
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            return [future.result(left(deadline)) for future in futures]
        except FutureTimeoutError:
            raise late(timeout) from None
        finally:
            for future in futures:
                future.cancel()

    def inputs(self, request: EmbeddingRequest) -> list[Sequence[int]]:
        """The token ids of each input; texts get the special tokens that the tokenizer frames them with."""
        given: Any = request.input
        one = isinstance(given, str) or isinstance(given[0], int)
        return [self.tokens(text) for text in ([given] if one else given)]

    def tokens(self, one: str | Sequence[int]) -> Sequence[int]:
        """The token ids of one input."""
        if not isinstance(one, str):
            return self.checked(one)
        if tokens := self.tokenizer.encode(one):
            return self.checked(tokens)
        raise RequestError("input: the text is empty; send at least one character")

    def checked(self, tokens: Sequence[int]) -> Sequence[int]:
        """The ids; RequestError when the model has no such token."""
        size = self.built.cfg.vocab_size
        if (worst := max(tokens)) >= size:
            raise RequestError(
                f"input: token {worst} is outside the vocabulary of this model, whose ids are 0 to "
                f"{size - 1}; tokenize with this model's tokenizer"
            )
        return tokens

    def fit(self, tokens: Sequence[int], request: EmbeddingRequest) -> Sequence[int]:
        """The tokens, or as many as the model takes."""
        if len(tokens) > self.context and not request.truncate_sequence:
            raise ContextLengthError(
                f"the input has {len(tokens)} tokens, but the maximum length of this model is "
                f"{self.context}; shorten it, or set truncate_sequence=True to keep its beginning"
            )
        return tokens[: self.context]

    def close(self, finish: bool = False) -> None:
        """End the engine and let go of the weights, whoever keeps the embedder.

        Requests that still run fail with an EngineError, or with `finish` are answered first.
        """
        self.engine.close(finish)
        vars(self).pop("built", None)


def left(deadline: float | None) -> float | None:
    """Seconds until a deadline."""
    return None if deadline is None else max(deadline - time.monotonic(), 0.0)


def late(timeout: float | None) -> RequestTimeoutError:
    """The error of a missed deadline."""
    return RequestTimeoutError(
        f"the request did not finish within {timeout} s and was canceled; pass a larger timeout, or "
        "fewer texts"
    )


def load(which: WhichEmbedding, settings: Settings) -> Embedder:
    """Load a sentence-transformers checkpoint."""
    if settings.in_situ_quant:
        raise NotSupportedError(
            "Runner(in_situ_quant=...): embedding models are not quantized on load yet; leave it out"
        )
    repo = open_repo(which.model_id, token_source=settings.token_source, cache=which.hf_cache_path)
    wish = Wish(
        arch=which.arch.value if which.arch else None,
        dtype=which.dtype.value,
        device=best_device(),
        sequences=settings.max_seqs,
        snapshots=0,
        page_size=page_size(settings),
        embeds=True,
    )
    tokenizer = Tokenizer.wrap(*read_tokenizer(repo, which.tokenizer_json))
    built = build(repo, wish)
    if tokenizer.size > built.cfg.vocab_size:
        check_size(tokenizer.inner, built.cfg.vocab_size, repo.id)
    model = embedder(repo, built)
    room = Room(built.plan.pages, built.plan.page_size, texts(built, wish), STEP)
    engine = OneShot(model, torch.device(built.plan.device), room)
    return Embedder(repo.id, built, tokenizer, longest_text(repo, built), engine)


def texts(built: Built, wish: Wish) -> int:
    """How many texts a step may hold: no more than a recurrent model has states for."""
    return built.plan.states if built.copy else STEP

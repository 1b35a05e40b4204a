"""The fields of a request that say how to continue a prompt, in the engine's terms."""

from collections.abc import Mapping
from typing import TypeAlias, TypeVar, cast

from mistralrs.api.errors import RequestError
from mistralrs.api.prompt import Dry, Grammar, GrammarKind, Sampling
from mistralrs.api.requests import ChatCompletionRequest, CompletionRequest
from mistralrs.prompt.tokenizer import Tokenizer

Request: TypeAlias = ChatCompletionRequest | CompletionRequest
T = TypeVar("T")

GREEDY = 1e-7  # a temperature below this is greedy
BREAKERS = ("\n", ":", '"', "*")


def sampling(
    request: Request,
    tokenizer: Tokenizer,
    logprobs: int | None,
    seed: int,
    rows: int | None = None,
) -> Sampling:
    """Return the sampling rules of a chat or completion request; unset fields change nothing.

    The model has scores for `rows` ids, by default for every token.
    """
    size = tokenizer.size
    temperature = 1.0 if request.temperature is None else request.temperature
    return Sampling(
        temperature=0.0 if temperature < GREEDY else temperature,
        top_k=max(request.top_k or 0, 0),
        top_p=_inside(request.top_p, 1.0),
        min_p=_inside(request.min_p, 0.0),
        frequency_penalty=request.frequency_penalty or 0.0,
        presence_penalty=request.presence_penalty or 0.0,
        repetition_penalty=1.0
        if request.repetition_penalty is None
        else request.repetition_penalty,
        dry=dry(request, tokenizer),
        logit_bias=logit_bias(request.logit_bias or {}, min(rows or size, size)),
        logprobs=logprobs,
        seed=seed,
        grammar=grammar(request),
    )


def dry(request: Request, tokenizer: Tokenizer) -> Dry | None:
    """Return the DRY rule, which a multiplier turns on."""
    if not request.dry_multiplier:
        return None
    breakers = request.dry_sequence_breakers
    ends = [tokenizer.encode("a" + text, special=False) for text in _either(breakers, BREAKERS)]
    return Dry(
        multiplier=request.dry_multiplier,
        base=_either(request.dry_base, Dry.base),
        allowed_length=_either(request.dry_allowed_length, Dry.allowed_length),
        breakers=frozenset(ids[-1] for ids in ends if ids),
    )


def logit_bias(bias: Mapping[int, float], size: int) -> dict[int, float]:
    """Return the bias by token id. Raises RequestError for an id that is not in the vocabulary."""
    outside = [id for id in bias if not 0 <= id < size]
    if outside:
        raise RequestError(
            f"logit_bias names token {outside[0]}, but the vocabulary has the ids 0 to {size - 1}; get ids "
            "with tokenize_text"
        )
    return dict(bias)


def top_logprobs(request: ChatCompletionRequest) -> int | None:
    """Return how many alternatives to report beside every token, None for no report at all."""
    return _either(request.top_logprobs, 1) if request.logprobs else None


def stops(request: Request, tokenizer: Tokenizer) -> tuple[frozenset[int], tuple[str, ...]]:
    """Return stop strings as ids, where a string is a special token, and as texts to watch for.

    Special tokens never show in the text. Every other string is searched in it, because a single token is
    rarely the only spelling.
    """
    texts = tuple(request.stop_seqs or ())
    ids = {text: tokenizer.id(text) for text in texts}
    special = {text: id for text, id in ids.items() if id is not None and id in tokenizer.special}
    return frozenset(special.values()), tuple(text for text in texts if text not in special)


def grammar(request: Request) -> Grammar | None:
    """Return what the answer must match, if anything."""
    if request.grammar is None or request.grammar_type is None:
        return None
    return Grammar(cast(GrammarKind, request.grammar_type), request.grammar)


def _inside(value: float | None, off: float) -> float:
    """Return a share that is in effect only strictly between 0 and 1."""
    return value if value is not None and 0 < value < 1 else off


def _either(value: T | None, default: T) -> T:
    return default if value is None else value

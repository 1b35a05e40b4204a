"""The Prompt contract: a request after tokenization. `prompt/` builds it, `engine/` consumes it, nobody changes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Calls: TypeAlias = Literal["auto", "one", "some"]  # what an answer has to consist of, if anything
GrammarKind: TypeAlias = Literal["regex", "json_schema", "lark", "llguidance"]


@dataclass(frozen=True)
class Grammar:
    """What the text of a continuation must match; compiled before the request is queued."""

    kind: GrammarKind
    text: str  # JSON for json_schema and llguidance; lark may name special tokens as <|token|>


@dataclass(frozen=True)
class Dry:
    """Don't repeat yourself: a penalty that grows with the length of a repeated run."""

    multiplier: float
    base: float = 1.75
    allowed_length: int = 2
    breakers: frozenset[int] = frozenset()  # token ids that end a run


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. Every default leaves the distribution as the model gives it."""

    temperature: float = 1.0  # 0 is greedy
    top_k: int = 0  # 0 is off
    top_p: float = 1.0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    dry: Dry | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None  # alternatives reported beside the chosen token; None: no report
    seed: int = 0
    grammar: Grammar | None = None


@dataclass(frozen=True)
class Prompt:
    """Token ids and the rules for continuing them."""

    tokens: tuple[int, ...]
    sampling: Sampling = Sampling()
    max_tokens: int | None = None  # None: up to the context length
    stop_ids: frozenset[int] = frozenset()  # end of sequence and stop tokens
    stop_texts: tuple[str, ...] = ()
    n: int = 1  # independent continuations
    text: str = ""  # what the tokens were encoded from
    tools: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict
    )  # name: schema of the parameters
    calls: Calls = "auto"
    strict: frozenset[str] = frozenset()  # tools whose arguments must fit the schema
    media: Mapping[int, Any] = field(default_factory=dict)  # nn/media.py's Media by number
    adapter: str | None = None  # what the model's layers add for this prompt
    positions: Any = None  # a tensor [3, len(tokens)] where rope has several axes

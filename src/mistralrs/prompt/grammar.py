"""Grammars compiled for one tokenizer by llguidance: which tokens may follow, and which must.

llguidance (https://github.com/guidance-ai/llguidance) parses the output with an Earley parser over lexemes and
walks the vocabulary as a trie; a mask takes tens of microseconds and no lock of Python.
"""

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mistralrs.api.errors import GrammarError
from mistralrs.api.prompt import Grammar, GrammarKind
from mistralrs.prompt.grammar_errors import explain
from mistralrs.prompt.schema_rewrite import rewrite
from mistralrs.prompt.tokenizer import Tokenizer

Bits = NDArray[np.uint8]

KEPT = 64  # compiled grammars
MARK = re.compile(r"<\S+>|\[\S+\]")  # added tokens that are no text, such as <tool_call>
LEAD = 200  # bytes in which what leads to an answer is searched
# JSON on one line as json.dumps writes it: no model gets lost in white space, and what must follow is known sooner.
# A schema changes it with its own "x-guidance".
SPACING: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Grammars:
    """The grammars of one model. Any number of threads may compile."""

    def __init__(self, tokenizer: Tokenizer, eos: frozenset[int], rows: int | None = None) -> None:
        """`rows` are the ids that the model knows, by default all of the tokenizer's."""
        self.tokenizer = tokenizer
        self.eos, self.rows = eos, rows or tokenizer.size
        self._lock = threading.Lock()
        self._compiled: OrderedDict[Grammar, Any] = OrderedDict()

    def start(
        self, grammar: Grammar, patient: bool = False, behind: str | None = None
    ) -> "Matcher":
        """Return a matcher at the beginning of the grammar, or GrammarError with the position of the mistake.

        `patient` leaves the end of sequence out as long as anything else may follow. The grammar begins `behind`
        the first match of this regular expression; up to there the model is free.
        """
        compiled = self._compiled.get(grammar) or self._compile(grammar)
        with self._lock:
            self._compiled[grammar] = compiled
            self._compiled.move_to_end(grammar)
            if len(self._compiled) > KEPT:
                self._compiled.popitem(last=False)
        return Matcher(self, compiled.deep_copy(), patient, behind)

    @cached_property
    def vocabulary(self) -> Any:
        """The tokenizer as llguidance wants it."""
        from llguidance import LLTokenizer

        spelling: Any = Spelling(self.tokenizer, self.eos)
        return LLTokenizer(spelling, eos_token=sorted(self.eos) or [spelling.eos_token_id])

    def _compile(self, grammar: Grammar) -> Any:
        if not grammar.text.strip():
            raise GrammarError(f"grammar: is empty; give a {grammar.kind}, or leave it out")
        matcher = self._matcher(grammar)
        if matcher.is_error() and grammar.kind == "json_schema":
            matcher = self._rewritten(grammar) or matcher
        if matcher.is_error():
            raise GrammarError(explain(grammar, matcher.get_error(), self._trial))
        return matcher

    def _matcher(self, grammar: Grammar) -> Any:
        from llguidance import LLMatcher, LLParserLimits

        source = top_level(grammar)
        limits = LLParserLimits(verbose_errors=False)
        return LLMatcher(self.vocabulary, source, log_level=0, limits=limits)

    def _rewritten(self, grammar: Grammar) -> Any:
        """Return the matcher of the schema in other words, None if that does not compile either."""
        try:
            text = json.dumps(rewrite(json.loads(grammar.text)))
        except (TypeError, ValueError, AttributeError, KeyError, RecursionError):  # no schema
            return None
        matcher = self._matcher(Grammar("json_schema", text))
        return None if matcher.is_error() else matcher

    def _trial(self, grammar: Grammar) -> str:
        """Return the message that compiling this grammar ends with, empty if it compiles."""
        message: str = self._matcher(grammar).get_error()
        return message


def top_level(grammar: Grammar) -> str:
    """Return the grammar in the form that llguidance compiles."""
    from llguidance import LLMatcher

    forms: dict[GrammarKind, Callable[[str], str]] = {
        "regex": LLMatcher.grammar_from_regex,
        "lark": LLMatcher.grammar_from_lark,
        "json_schema": from_schema,
        "llguidance": lambda text: text,
    }
    return forms[grammar.kind](grammar.text)


def from_schema(text: str) -> str:
    """Return the grammar of a JSON schema, on one line unless its own "x-guidance" says otherwise."""
    from llguidance import LLMatcher

    schema = json.loads(text)
    options = {"defaults": SPACING} if isinstance(schema, dict) else {}
    return LLMatcher.grammar_from_json_schema("{}" if schema is True else text, **options)


class Matcher:
    """One continuation under a grammar."""

    def __init__(self, grammars: Grammars, inner: Any, patient: bool, behind: str | None) -> None:
        self._grammars, self._inner, self._patient = grammars, inner, patient
        self._behind = re.compile(behind.encode()) if behind else None
        self._lead = b""
        self.done = False

    def push(self, token: int) -> None:
        """Take a token that was appended; GrammarError if the grammar is too complex to go on."""
        if self._behind:
            self._lead = self._lead[-LEAD:] + self._grammars.tokenizer.bytes(token)
            if self._behind.search(self._lead):
                self._behind = None
        else:
            self._inner.consume_token(token)
            self._check()
            self.done = self._inner.is_stopped()

    def allowed(self) -> Bits:
        """Return the tokens that may follow, one bit for each id, lowest bit first. Any thread may call it, one at a
        time.
        """
        if self._behind:
            bits = np.full((self._grammars.vocabulary.vocab_size + 7) // 8, 255, np.uint8)
            return without(bits, self._grammars.eos)
        bits = np.frombuffer(self._inner.compute_bitmask(), np.uint8).copy()
        self._check()
        unfinished = without(bits, self._grammars.eos) if self._patient else bits
        if not bits.any():
            raise GrammarError(
                "grammar: no token of this model can go on; its vocabulary lacks a character that the grammar needs"
            )
        return unfinished if unfinished.any() else bits

    def forced(self) -> list[int]:
        """Return the tokens that must follow, spelled as the tokenizer would spell the whole text.

        Ends before a token that what follows could still change.
        """
        if self._behind or self.done:
            return []
        tokens: list[int] = self._inner.compute_ff_tokens()
        known = next((i for i, t in enumerate(tokens) if t >= self._grammars.rows), len(tokens))
        return tokens[:known]

    def _check(self) -> None:
        if self._inner.is_error():
            reason = self._inner.get_error().split("\n")[0]
            raise GrammarError(f"grammar: cannot be followed any further ({reason}); simplify it")


def without(bits: Bits, ids: frozenset[int]) -> Bits:
    """Return the bits with those of `ids` cleared."""
    cleared = bits.copy()
    for id in ids:
        if id < 8 * cleared.size:
            cleared[id >> 3] &= 0xFF ^ (1 << (id & 7))
    return cleared


class Spelling:
    """A tokenizer in the shape that `llguidance.LLTokenizer` takes."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, eos: frozenset[int]) -> None:
        self.tokenizer = tokenizer
        self.tokens = [tokenizer.bytes(id) for id in range(tokenizer.size)]
        marks = {id for text, id in tokenizer.added.items() if MARK.fullmatch(text)}
        special = tokenizer.special | marks | (eos & set(range(tokenizer.size)))
        if not eos:  # a token that no model has stands for the missing end
            special |= {tokenizer.size}
            self.tokens.append(b"<|no end of sequence|>")
        self.eos_token_id = min(eos, default=tokenizer.size)
        self.special, self.special_token_ids = special, sorted(special)

    def __call__(self, text: str | bytes) -> list[int]:
        """Return the ids of a text that stands behind other text."""
        text = text if isinstance(text, str) else text.decode()
        ids = self.tokenizer.encode(text, special=False)
        if self.exact(ids, text):
            return ids
        framed = self.tokenizer.encode(FRAME + text, special=False)  # a blank goes before the frame
        ids = framed[len(self.tokenizer.encode(FRAME, special=False)) :]
        return ids if self.exact(ids, text) else self.longest(text.encode())

    def exact(self, ids: list[int], text: str) -> bool:
        """Tell whether ids spell a text and none of them means something else."""
        return self.spelled(ids) == text.encode() and not self.special.intersection(ids)

    def longest(self, text: bytes) -> list[int]:
        """Return the longest tokens that spell a text that the tokenizer changes, as far as there are any."""
        ids = []
        while text:
            end = next((end for end in range(len(text), 0, -1) if text[:end] in self.ids), 0)
            if not end:
                break
            ids.append(self.ids[text[:end]])
            text = text[end:]
        return ids

    @cached_property
    def ids(self) -> dict[bytes, int]:
        """Ordinary tokens by their bytes."""
        ordinary = [id for id in range(len(self.tokens)) if id not in self.special]
        return {self.tokens[id]: id for id in ordinary}

    def spelled(self, ids: list[int]) -> bytes:
        """Return the bytes of some ids."""
        return b"".join(self.tokens[id] for id in ids)


FRAME = "\x02"  # joins with nothing

"""Grammars over every kind of tokenizer, and what is said about wrong ones."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistralrs.api.errors import GrammarError
from mistralrs.api.prompt import Grammar
from mistralrs.prompt.grammar import Grammars, Spelling
from mistralrs.prompt.tokenizer import Tokenizer
from tests.prompt import vocabularies

KINDS = ["byte_level", "byte_fallback", "unigram"]
TEXTS = ["over the lazy dog", " fox", "f(x): return", "naïve café 你好 🦆", "a\n\n\tb", ""]


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request) -> Tokenizer:
    return Tokenizer.wrap(getattr(vocabularies, request.param)(), vocabularies.CONFIG)


@pytest.fixture(scope="module")
def grammars(tokenizer) -> Grammars:
    return Grammars(tokenizer, frozenset([tokenizer.id("<|im_end|>")]))


def escaped(text: str) -> str:
    return "".join(c if c.isalnum() or not c.isascii() else rf"\x{ord(c):02X}" for c in text)


def ids(bits: np.ndarray) -> set[int]:
    return set(np.flatnonzero(np.unpackbits(bits, bitorder="little")).tolist())


@pytest.mark.parametrize("text", TEXTS)
def test_texts_inside_others_are_spelled_exactly(tokenizer, text):
    spelling = Spelling(tokenizer, frozenset([2]))
    assert spelling.spelled(spelling(text)).decode() == text


@pytest.mark.parametrize("text", [t for t in TEXTS if t])
def test_one_text_only(tokenizer, grammars, text):
    """Whatever is taken from the mask spells the text; then it is over, and the decoder gives the text back."""
    matcher = grammars.start(Grammar("regex", escaped(text)))
    stream, said, taken = tokenizer.stream(inside=True), "", []
    while not matcher.done:
        taken.append(max(ids(matcher.allowed()), key=lambda id: len(tokenizer.bytes(id))))
        said += stream.push(taken[-1])
        matcher.push(taken[-1])
    assert said + stream.flush() == text
    assert matcher.forced() == []


def test_a_vocabulary_without_a_character():
    tokenizer = Tokenizer.wrap(vocabularies.unigram(), vocabularies.CONFIG)
    matcher = Grammars(tokenizer, frozenset([2])).start(Grammar("regex", r"\{[ab]"))
    assert matcher.forced() == []
    with pytest.raises(GrammarError, match="cannot be followed"):
        matcher.push(min(ids(matcher.allowed())))


def test_forced_tokens_begin_as_the_tokenizer_spells_the_text(tokenizer, grammars):
    text = "over the lazy dog."
    forced = grammars.start(Grammar("regex", escaped(text))).forced()
    assert len(forced) > 2
    assert forced == Spelling(tokenizer, frozenset([2]))(text)[: len(forced)]


def test_the_end_only_where_the_grammar_accepts(tokenizer, grammars):
    end = tokenizer.id("<|im_end|>")
    matcher = grammars.start(Grammar("regex", "a{2,}"))
    a = Spelling(tokenizer, frozenset([2]))("a")[-1]
    assert end not in ids(matcher.allowed())
    matcher.push(a)
    assert end not in ids(matcher.allowed())
    matcher.push(a)
    assert end in ids(matcher.allowed())
    patient = grammars.start(Grammar("regex", "a*"), patient=True)
    assert end not in ids(patient.allowed())


def test_a_grammar_behind_a_lead(tokenizer, grammars):
    matcher = grammars.start(Grammar("regex", "fox"), behind="</think>")
    free = ids(matcher.allowed())
    assert tokenizer.id("<|im_end|>") not in free
    assert free >= set(range(tokenizer.size)) - {tokenizer.id("<|im_end|>")}
    for id in [*Spelling(tokenizer, frozenset([2]))("so: "), tokenizer.id("</think>")]:
        assert not matcher.done
        assert matcher.forced() == []
        matcher.push(id)
    assert b"".join(map(tokenizer.bytes, matcher.forced())) == b"fox"[:3]


def test_a_model_without_an_end_of_sequence(tokenizer):
    matcher = Grammars(tokenizer, frozenset()).start(Grammar("regex", "ab?"))
    assert ids(matcher.allowed()) <= set(range(tokenizer.size))


def test_forced_tokens_stay_inside_the_embedding(tokenizer):
    forced = Grammars(tokenizer, frozenset([2])).start(Grammar("regex", "The quick fox")).forced()
    cut = Grammars(tokenizer, frozenset([2]), rows=forced[1]).start(
        Grammar("regex", "The quick fox")
    )
    assert all(id < forced[1] for id in cut.forced())


WRONG = {
    "open group": ("regex", "ab(c", "character 3, '(c': unclosed group"),
    "open class": ("regex", "[a-", "character 1, '[a-': unclosed character class"),
    "look-ahead": ("regex", "x(?=a)b", "character 2,  ... look-around, ... is not supported"),
    "back reference": ("regex", r"(a)\1", "character 4,  ... backreferences are not supported"),
    "repetition": ("regex", "a{5,2}", "character 2,  ... start must be <= the end"),
    "empty regex": ("regex", "", "is empty; give a regex"),
    "blank lark": ("lark", " \n", "is empty; give a lark"),
    "unknown rule": ("lark", 'start: "a" foo', 'line 1, column 8: unknown name: "foo"'),
    "open string": ("lark", 'start: x\nx: "a', "line 2, column"),
    "regex in lark": ("lark", "start: a\na: /x(/", "line 2, column 4:  ... (character 2: unclosed"),
    "no start": ("lark", 's: "x"', "no start rule"),
    "unknown special token": ("lark", "start: <|nope|>", "line 1, column 8: unknown special token"),
    "wrong type": (
        "json_schema",
        '{"properties": {"a": {"items": {"type": "strin"}}}}',
        "at /properties/a/items: Invalid type: strin",
    ),
    "escaped key": (
        "json_schema",
        '{"properties": {"a/b": {"anyOf": [{}, {"not": {}}]}}}',
        'at /properties/a~1b/anyOf/1: Unimplemented keys: ["not"]',
    ),
    "unsupported keyword": (
        "json_schema",
        '{"uniqueItems": true}',
        'at its top: Unimplemented keys: ["uniqueItems"]',
    ),
    "pattern": ("json_schema", '{"type": "string", "pattern": "x("}', "character 2: unclosed"),
    "missing definition": ("json_schema", '{"$ref": "#/$defs/x"}', "does not exist"),
    "never": ("json_schema", "false", "Unsatisfiable"),
    "never, inside": ("json_schema", '{"allOf": [true, false]}', "Unsatisfiable"),
    "contradiction": ("json_schema", '{"type": "integer", "minimum": 5, "maximum": 3}', "greater"),
    "no schema": ("json_schema", "[]", "must be an object"),
    "unknown format": ("json_schema", '{"type": "string", "format": "iri"}', "Unknown format: iri"),
    "no grammars": ("llguidance", "{}", "missing field `grammars`"),
    "empty grammars": ("llguidance", '{"grammars": []}', "empty grammars"),
    "lark inside": ("llguidance", '{"grammars": [{"lark_grammar": "start: /a(/"}]}', "line 1, col"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_grammars(grammars, name):
    kind, text, message = WRONG[name]
    with pytest.raises(GrammarError) as caught:
        grammars.start(Grammar(kind, text))
    said = str(caught.value)
    assert [part for part in message.split(" ... ") if part not in said] == [], said
    assert "\n" not in said


@settings(max_examples=80, deadline=None)
@given(kind=st.sampled_from(["regex", "lark", "json_schema", "llguidance"]), text=st.text())
def test_any_text_compiles_or_is_a_grammar_error(grammars, kind, text):
    if kind in ("json_schema", "llguidance"):
        text = f'{{"type": "object", "x": {len(text)}}}' if len(text) % 2 else '{"enum": []}'
    with suppress(GrammarError):  # and nothing else
        assert not grammars.start(Grammar(kind, text)).done

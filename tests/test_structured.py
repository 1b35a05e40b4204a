"""Constrained requests on the demo model: what comes out matches, whatever the settings."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mistralrs import ChatCompletionRequest, CompletionRequest, GrammarError, RequestError

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["red", "green"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
SHORT = {"type": "string", "maxLength": 8}
SCHEMAS: dict[str, Any] = {
    "person": PERSON,
    "null": {"type": "null"},
    "boolean": {"type": "boolean"},
    "constant": {"const": {"a": [1, "two", None]}},
    "choice": {"enum": ["yes", "no", 3, None, False]},
    "integer range": {"type": "integer", "minimum": -7, "maximum": 1205},
    "open below": {"type": "integer", "exclusiveMaximum": 0, "minimum": -99999},
    "number range": {"type": "number", "minimum": 0, "exclusiveMaximum": 1, "multipleOf": 0.01},
    "multiple": {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 10000},
    "length": {"type": "string", "minLength": 3, "maxLength": 6},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
    "part of a pattern": {"type": "string", "pattern": "[0-9]{3}", "maxLength": 12},
    "date": {"type": "string", "format": "date"},
    "long address": {"type": "string", "format": "ipv6"},
    "uuid": {"type": "string", "format": "uuid"},
    "address": {"type": "string", "format": "ipv4"},
    "list": {"type": "array", "items": SHORT, "minItems": 2, "maxItems": 4},
    "tuple": {
        "type": "array",
        "prefixItems": [{"type": "integer", "maximum": 99, "minimum": 0}, SHORT],
        "items": False,
        "minItems": 2,
    },
    "list of lists": {
        "type": "array",
        "items": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
        "minItems": 1,
        "maxItems": 3,
    },
    "optional fields": {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": SHORT, "c": {"type": "null"}},
        "required": ["b"],
        "additionalProperties": False,
    },
    "free fields": {
        "type": "object",
        "additionalProperties": {"type": "boolean"},
        "maxProperties": 2,
    },
    "fields by pattern": {
        "type": "object",
        "patternProperties": {"^x[0-9]$": {"type": "integer", "minimum": 0, "maximum": 9}},
        "additionalProperties": False,
        "maxProperties": 3,
    },
    "union": {"anyOf": [{"type": "boolean"}, {"type": "integer", "minimum": 0, "maximum": 9}]},
    "types": {"type": ["boolean", "null"]},
    "all of": {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 30}]},
    "one of, told apart": {
        "oneOf": [
            {
                "type": "object",
                "properties": {"kind": {"const": kind}, "v": {"type": "boolean"}},
                "required": ["kind", "v"],
                "additionalProperties": False,
            }
            for kind in ("cat", "dog")
        ]
    },
    "definitions": {
        "$defs": {"point": {"type": "array", "items": {"enum": [0, 1]}, "maxItems": 2}},
        "type": "object",
        "properties": {"from": {"$ref": "#/$defs/point"}, "to": {"$ref": "#/$defs/point"}},
        "required": ["from", "to"],
        "additionalProperties": False,
    },
    "recursive": {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "v": {"type": "boolean"},
                    "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]},
                },
                "required": ["v", "next"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/node",
    },
    "keys to escape": {
        "type": "object",
        "properties": {'a "b" \\ \n é 你': {"type": "boolean"}},
        "required": ['a "b" \\ \n é 你'],
        "additionalProperties": False,
    },
    "own spacing": PERSON | {"x-guidance": {"whitespace_pattern": "[ \\n]{1,2}"}},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "top-k": {"top_k": 1},
    "top-p": {"top_p": 0.01},
    "min-p": {"min_p": 0.9},
    "hot": {"temperature": 50.0},
    "repetition": {"repetition_penalty": 1.8, "frequency_penalty": 2.0, "presence_penalty": 2.0},
    "DRY": {"dry_multiplier": 5.0, "dry_allowed_length": 1},
    "bias": {"logit_bias": dict.fromkeys(range(1536), -1e30)},
    "no end": {"ignore_eos": True},
}


def ask(demo, schema: Any, prompt: str = "Here is some JSON: ", **more: Any):
    """The choices of a completion under a schema."""
    more = {"max_tokens": 250, "temperature": 1.0, "seed": 1} | more
    request = CompletionRequest(prompt, grammar=schema, grammar_type="json_schema", **more)
    return demo.send_completion_request(request)


def chat(demo, content: str = "Who is it?", **more: Any):
    more = {"max_tokens": 120, "temperature": 1.0, "seed": 1} | more
    return demo.send_chat_completion_request(ChatCompletionRequest(content, **more))


@pytest.fixture(scope="module")
def answers(demo) -> Iterator[dict[str, Any]]:
    """One answer under every schema, all in flight together."""
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda schema: ask(demo, json.dumps(schema)), SCHEMAS.values())
        yield dict(zip(SCHEMAS, found))


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas(answers, name):
    choice = answers[name].choices[0]
    assert choice.finish_reason == "stop"
    Draft202012Validator(SCHEMAS[name]).validate(json.loads(choice.text))


@pytest.mark.parametrize("name", ["person", "recursive", "tuple"])
def test_an_answer_does_not_depend_on_company(demo, answers, name):
    assert ask(demo, json.dumps(SCHEMAS[name])).choices[0].text == answers[name].choices[0].text


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_leaves_the_grammar(demo, name):
    choice = ask(demo, PERSON, **SETTINGS[name]).choices[0]
    assert choice.finish_reason == "stop"
    Draft202012Validator(PERSON).validate(json.loads(choice.text))


REGEXES = [
    "[a-z]{2,5}",
    "(yes|no)!?",
    "[0-9]{3}-[0-9]{4}",
    "a+b{2,3}c?",
    "é|你好|🦆{1,3}",
    " ?x\\.y",
]


@settings(max_examples=15, deadline=None)
@given(
    parts=st.lists(st.sampled_from(REGEXES), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
    temperature=st.sampled_from([0.0, 0.7, 1.0, 3.0]),
)
def test_regexes_match_and_a_stream_is_the_whole(demo, parts, seed, temperature):
    regex = "".join(f"({part})" for part in parts)
    rule = dict(grammar=regex, grammar_type="regex", seed=seed, temperature=temperature)
    whole = chat(demo, max_tokens=100, **rule)
    chunks = list(chat(demo, max_tokens=100, stream=True, **rule))
    text, finish = whole.choices[0].message.content, whole.choices[0].finish_reason
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == text
    assert chunks[-1].choices[0].finish_reason == finish
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    plain = demo.send_completion_request(CompletionRequest("Say: ", max_tokens=100, **rule))
    for said in (text, plain.choices[0].text):
        # a chat drops the white space that its answer begins with
        full = re.fullmatch(regex, said) or re.fullmatch(regex, f" {said}")
        assert full or finish == "length" or plain.choices[0].finish_reason == "length"


def test_lark_and_llguidance(demo):
    lark = 'start: ("ab" | "cd")+ "."\n'
    top = json.dumps({"grammars": [{"lark_grammar": lark}]})
    for kind, text in (("lark", lark), ("llguidance", top)):
        request = CompletionRequest("x", grammar=text, grammar_type=kind, max_tokens=300, seed=3)
        choice = demo.send_completion_request(request).choices[0]
        assert re.fullmatch(r"(ab|cd)+\.?", choice.text)
        assert choice.text.endswith(".") == (choice.finish_reason == "stop")


def test_tokens_that_are_no_text(demo):
    """Lark names them without quotes; as text they are spelled in pieces."""
    ids = {token: demo.tokenize_text(token, False) for token in ("<tool_call>", "</tool_call>")}
    assert [len(found) for found in ids.values()] == [1, 1]
    lark = 'start: <tool_call> "{" /[a-z]{3}/ "}" </tool_call>\n'
    rule = dict(grammar=lark, grammar_type="lark", max_tokens=20, seed=1)
    response = demo.send_completion_request(CompletionRequest("x", **rule))
    assert re.fullmatch(r"(<tool_call>)?\{[a-z]{3}\}(</tool_call>)?", response.choices[0].text)
    assert response.choices[0].finish_reason == "stop"
    rule = dict(grammar="<tool_call>[ab]", grammar_type="regex", max_tokens=20, seed=1)
    pieces = demo.send_completion_request(CompletionRequest("x", **rule))
    assert re.fullmatch("<tool_call>[ab]", pieces.choices[0].text)
    assert pieces.usage.completion_tokens > 3


def test_one_grammar_in_many_threads(demo):
    with ThreadPoolExecutor(12) as threads:
        found = list(threads.map(lambda seed: ask(demo, PERSON, seed=seed % 3), range(24)))
    texts = [response.choices[0].text for response in found]
    assert texts == texts[:3] * 8


def test_forced_text_costs_one_step(demo):
    """Forced tokens count as completion tokens, and greedy tokens are the same with and without log-probabilities."""
    rule = dict(grammar=json.dumps(PERSON), grammar_type="json_schema", temperature=0.0)
    quick = chat(demo, **rule)
    told = chat(demo, logprobs=True, top_logprobs=2, **rule)
    assert told.choices[0].message == quick.choices[0].message
    records = told.choices[0].logprobs.content
    assert len(records) == told.usage.completion_tokens == quick.usage.completion_tokens
    spelled = b"".join(bytes(record.bytes) for record in records).decode()
    assert spelled.removesuffix("<|im_end|>") == quick.choices[0].message.content
    assert all(record.logprob <= 0 for record in records)


@pytest.mark.parametrize("limit", range(1, 12))
def test_a_limit_cuts_also_between_forced_tokens(demo, limit):
    whole = ask(demo, PERSON).choices[0].text
    cut = ask(demo, PERSON, max_tokens=limit)
    assert cut.usage.completion_tokens == limit
    assert cut.choices[0].finish_reason == "length"
    assert whole.startswith(cut.choices[0].text)


def test_a_stop_string_ends_a_constrained_answer(demo):
    choice = ask(demo, PERSON, stop_seqs=["age"]).choices[0]
    assert choice.finish_reason == "stop"
    assert choice.text.endswith(', "')


def test_several_continuations(demo):
    response = ask(demo, PERSON, n_choices=3)
    texts = [choice.text for choice in response.choices]
    assert len(set(texts)) > 1
    for text in texts:
        Draft202012Validator(PERSON).validate(json.loads(text))
    best = ask(demo, PERSON, best_of=3).choices
    assert best[0].text in texts


def test_open_thinking_stays_free(demo):
    """The demo's template opens <think> when thinking is on; the grammar begins behind it."""
    rule = dict(grammar="[0-9]{2} cats", grammar_type="regex", max_tokens=300, temperature=0.0)
    message = chat(demo, "What is 12 plus 7?", enable_thinking=True, **rule).choices[0].message
    assert re.fullmatch("[0-9]{2} cats", message.content)


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Part:
    size: Literal[1, 2, 3]
    color: Color


@dataclass
class Thing:
    name: Literal["box", "bag"]
    parts: tuple[Part, bool]
    extra: list[bool] | None
    near: "Thing | None"
    note: str = "none"
    weights: dict[Literal["a"], bool] = field(default_factory=dict)


class Inner(pydantic.BaseModel):
    color: Color
    level: int = pydantic.Field(ge=0, le=9)


class Model(pydantic.BaseModel):
    inner: Inner
    pair: tuple[bool, bool]
    maybe: Inner | None


@pytest.mark.parametrize("seed", range(4))
def test_a_pydantic_model_comes_back(demo, seed):
    message = chat(demo, response_format=Model, seed=seed).choices[0].message
    assert isinstance(message.parsed, Model)
    assert message.parsed == Model.model_validate_json(message.content)
    assert "parsed" not in message.to_dict()


def test_a_dataclass_comes_back(demo):
    found = [chat(demo, response_format=Part, seed=s).choices[0].message.parsed for s in range(4)]
    assert all(type(part) is Part and type(part.color) is Color for part in found)


FORMATS = {
    "json_object": ({"type": "json_object", "x-guidance": {}}, dict),
    "json_schema": (
        {"type": "json_schema", "json_schema": {"name": "n", "schema": {"enum": [1, 2]}}},
        int,
    ),
    "list": (list[Literal["a", "b"]], list),
    "scalar": (bool, bool),
    "union": (bool | None, (bool, type(None))),
}


@pytest.mark.parametrize("name", FORMATS)
def test_response_formats(demo, name):
    given, kind = FORMATS[name]
    for seed in range(3):
        choice = chat(demo, response_format=given, seed=seed).choices[0]
        if choice.finish_reason == "length":
            assert choice.message.parsed is None
        else:
            assert isinstance(choice.message.parsed, kind)


def test_plain_text_is_no_format(demo):
    request = ChatCompletionRequest("hi", response_format={"type": "text"})
    assert request.grammar is None
    assert chat(demo, response_format={"type": "text"}).choices[0].message.parsed is None


def test_a_cut_answer_is_not_parsed(demo):
    choice = chat(demo, response_format=Model, max_tokens=4).choices[0]
    assert (choice.finish_reason, choice.message.parsed) == ("length", None)


CONTRADICTIONS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "two grammars": (
        {"response_format": Part, "grammar": "a", "grammar_type": "regex"},
        GrammarError,
        "exclude each other",
    ),
    "unknown form": ({"response_format": {"type": "xml"}}, RequestError, "is unknown"),
    "no schema": ({"response_format": {"type": "json_schema"}}, GrammarError, "has no schema"),
    "an instance": ({"response_format": Part(1, Color.RED)}, RequestError, "must be a type"),
    "a type without schema": ({"response_format": complex}, GrammarError, "pydantic model"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions(name):
    arguments, error, message = CONTRADICTIONS[name]
    with pytest.raises(error, match=message):
        ChatCompletionRequest("hi", **arguments)


def test_a_wrong_grammar_never_reaches_the_engine(demo):
    before = ask(demo, PERSON)
    for request in (
        ChatCompletionRequest("hi", grammar="a(", grammar_type="regex"),
        ChatCompletionRequest("hi", grammar="a(", grammar_type="regex", stream=True),
    ):
        with pytest.raises(GrammarError, match="character 2"):
            demo.send_chat_completion_request(request)
    assert ask(demo, PERSON).choices[0] == before.choices[0]

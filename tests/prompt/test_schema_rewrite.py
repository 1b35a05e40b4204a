"""Rewritten schemas accept no more than their originals, and still something; judged by jsonschema and llguidance."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from llguidance import LLMatcher

from mistralrs.prompt.grammar import from_schema
from mistralrs.prompt.schema_rewrite import rewrite

TEXT = {"type": "string"}
VALUES: list[Any] = [None, True, False, -1, 0, 1, 1.5, 7, "", "a", "cat", "longer", [], [1], ["a"]]
VALUES += [[1, "a"], ["a", 1], [1, 1], [1, 2, 3], ["a", "b", "c"], [[1]], {}]
VALUES += [{a: x, b: y} for a in "abk" for b in "abk" for x in (1, "a", None) for y in (1, "x")]
VALUES += [{"a": 1, "b": 2, "k": "x"}, {"kind": "cat", "a": 1}, {"kind": "dog", "b": "x"}, {"x": 1}]

# Schema, and one instance that the rewritten one must keep.
CASES: dict[str, tuple[Any, Any]] = {
    "not a type": ({"not": {"type": ["string", "object"]}}, [1]),
    "not an integer": ({"not": {"type": "integer"}}, "a"),
    "not a number, in parts": ({"not": {"anyOf": [TEXT, {"type": "number"}]}}, None),
    "not some values": ({"not": {"enum": ["a", 1]}}, "longer"),
    "not a property": ({"not": {"required": ["a"]}}, {"b": 1}),
    "not a property of a type": ({"not": {"properties": {"a": TEXT}}}, {"a": 1}),
    "not bounds": ({"not": {"minimum": 1, "maximum": 5}}, 7),
    "not a length": ({"type": "string", "not": {"minLength": 2}}, "a"),
    "not not": ({"not": {"not": {"type": "array"}}}, [1]),
    "if": (
        {
            "type": "object",
            "if": {"required": ["a"]},
            "then": {"required": ["b"]},
            "else": {"required": ["k"]},
        },
        {"k": 1},
    ),
    "if alone": ({"type": "integer", "if": {"minimum": 3}}, 7),
    "one of two that meet": ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, 1),
    "one of two kinds": (
        {
            "oneOf": [
                {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]}
                for kind in ("cat", "dog")
            ]
        },
        {"kind": "dog", "b": "x"},
    ),
    "one of two narrowed": ({"oneOf": [{"not": {"enum": ["a"]}}, TEXT]}, "a"),
    "dependent required": ({"type": "object", "dependentRequired": {"a": ["b"]}}, {"b": 1}),
    "dependent schemas": (
        {"type": "object", "dependentSchemas": {"a": {"required": ["b"]}}},
        {"a": 1, "b": 1},
    ),
    "contains": ({"type": "array", "contains": TEXT}, ["a", 1]),
    "contains at most": ({"type": "array", "contains": TEXT, "maxContains": 1}, ["a", 1]),
    "contains none": ({"type": "array", "contains": TEXT, "minContains": 0}, [1]),
    "unique, one item": ({"type": "array", "uniqueItems": True, "maxItems": 1}, [1]),
    "names of a pattern": ({"type": "object", "propertyNames": {"pattern": "^[ab]$"}}, {"a": 1}),
    "names of a length": ({"type": "object", "propertyNames": {"maxLength": 1}}, {"a": 1}),
    "names of a list": ({"type": "object", "propertyNames": {"enum": ["a", "b"]}}, {"a": 1}),
    "unevaluated properties": (
        {
            "type": "object",
            "properties": {"a": True},
            "anyOf": [{"properties": {"b": TEXT}, "required": ["b"]}, {"properties": {"k": TEXT}}],
            "unevaluatedProperties": False,
        },
        {"a": 1, "b": "x"},
    ),
    "unevaluated items": (
        {"type": "array", "allOf": [{"prefixItems": [TEXT]}], "unevaluatedItems": False},
        ["a"],
    ),
    "dynamic": (
        {"$dynamicRef": "#t", "$defs": {"t": {"$dynamicAnchor": "t", "type": "string"}}},
        "a",
    ),
    "numbers": ({"type": "string", "maxLength": 2.0}, "a"),
}


@pytest.mark.parametrize("name", CASES)
def test_rewritten(name: str) -> None:
    schema, kept = CASES[name]
    rewritten = rewrite(schema)
    original, narrower = Draft202012Validator(schema), Draft202012Validator(rewritten)
    accepted = [value for value in [*VALUES, kept] if narrower.is_valid(value)]
    assert kept in accepted
    assert [value for value in accepted if not original.is_valid(value)] == []
    assert LLMatcher.validate_grammar(from_schema(json.dumps(rewritten))) == ""


@pytest.mark.parametrize(
    "schema",
    [{"uniqueItems": True}, {"not": {"pattern": "a"}}, {"not": {}}, {"contains": False}],
    ids=str,
)
def test_what_has_no_other_words_stays_refused(schema: Any) -> None:
    whole = {"type": "array", **schema}
    for form in (whole, rewrite(whole)):
        assert LLMatcher.validate_grammar(from_schema(json.dumps(form))) != ""

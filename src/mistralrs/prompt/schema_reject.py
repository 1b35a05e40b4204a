"""Schemas of what another schema refuses: each accepts no instance that the other accepts.

What cannot be said is left out, so the result may accept less than the whole complement, never more.
"""

from collections.abc import Callable
from typing import Any

Schema = Any  # a dict or a bool
Resolve = Callable[[str], Schema]  # a reference -> its schema, None if unknown

TYPES = ("null", "boolean", "string", "number", "array", "object")
DEPTH = 6  # references followed


def reject(
    schema: Schema, resolve: Resolve, under: Callable[[Schema], Schema], depth: int = DEPTH
) -> Schema:
    """Return a schema of instances that `schema` refuses; `under` rewrites what a double `not` uncovers."""
    if isinstance(schema, bool):
        return not schema

    def again(part: Schema) -> Schema:
        return reject(part, resolve, under, depth - 1)

    ways: list[Schema] = [
        way for key, rule in RULES.items() if key in schema for way in rule(schema[key], again)
    ]
    if "not" in schema:
        ways.append(under(schema["not"]))
    if "$ref" in schema and depth:
        target = resolve(schema["$ref"])
        ways += [] if target is None else [again(target)]
    ways = [way for way in ways if way is not False]
    if not ways:
        return False
    return ways[0] if len(ways) == 1 else {"anyOf": ways}


def kind(value: object) -> str:
    """Return the JSON type of a value; every number is a "number"."""
    if isinstance(value, bool):
        return "boolean"
    names = {type(None): "null", str: "string", int: "number", float: "number", list: "array"}
    return names.get(type(value), "object")


def kinds(schema: Schema) -> set[str]:
    """Return the types that a schema may accept, judged by `type`, `const` and `enum` alone."""
    if isinstance(schema, bool):
        return set(TYPES) if schema else set()
    found = set(TYPES)
    if "type" in schema:
        named = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        found &= {"number" if name == "integer" else name for name in named}
    for values in listed(schema):
        found &= {kind(value) for value in values}
    return found


def listed(schema: dict[str, Any]) -> list[list[Any]]:
    """Return the lists of values that `const` and `enum` name."""
    values = [schema["enum"]] if "enum" in schema else []
    return [*values, [schema["const"]]] if "const" in schema else values


def disjoint(one: Schema, other: Schema) -> bool:
    """Tell whether two schemas surely have no common instance: by type, by value, or by a required property."""
    if not kinds(one) & kinds(other):
        return True
    if isinstance(one, bool) or isinstance(other, bool):
        return False
    if any(
        all(a != b for a in left for b in right) for left in listed(one) for right in listed(other)
    ):
        return True
    if kinds(one) & kinds(other) != {"object"}:
        return False
    both = set(one.get("required", [])) & set(other.get("required", []))
    mine, theirs = one.get("properties", {}), other.get("properties", {})
    return any(disjoint(mine[n], theirs[n]) for n in both if n in mine and n in theirs)


def _types(value: Any, again: Any) -> list[Schema]:
    named = {value} if isinstance(value, str) else set(value)
    left = [t for t in TYPES if t not in named and not (t == "number" and "integer" in named)]
    return [{"type": left}] if left else []


def _values(values: list[Any], again: Any) -> list[Schema]:
    """Other types; longer strings; greater numbers."""
    left = [t for t in TYPES if t not in {kind(value) for value in values}]
    ways: list[Schema] = [{"type": left}] if left else []
    lengths = [len(value) for value in values if isinstance(value, str)]
    numbers = [value for value in values if kind(value) == "number"]
    if lengths:
        ways.append({"type": "string", "minLength": max(lengths) + 1})
    if numbers:
        ways.append({"type": "number", "exclusiveMinimum": max(numbers)})
        ways.append({"type": "number", "exclusiveMaximum": min(numbers)})
    if {True, False} - {value for value in values if isinstance(value, bool)}:
        ways += [{"const": not v} for v in values if isinstance(v, bool)][:1]
    return ways


def _bound(type: str, opposite: str, step: int = 0) -> Callable[[Any, Any], list[Schema]]:
    def rule(value: Any, again: Any) -> list[Schema]:
        bound = value + step if not step else int(value) + step
        return [] if step and bound < 0 else [{"type": type, opposite: bound}]

    return rule


def _properties(value: dict[str, Schema], again: Callable[[Schema], Schema]) -> list[Schema]:
    refused = {name: again(part) for name, part in value.items()}
    return [
        {"type": "object", "required": [name], "properties": {name: part}}
        for name, part in refused.items()
        if part is not False
    ]


def _prefix(value: list[Schema], again: Callable[[Schema], Schema]) -> list[Schema]:
    refused = [again(part) for part in value]
    return [
        {"type": "array", "prefixItems": [True] * place + [part], "minItems": place + 1}
        for place, part in enumerate(refused)
        if part is not False
    ]


def _any(value: list[Schema], again: Callable[[Schema], Schema]) -> list[Schema]:
    parts = [again(part) for part in value]
    return [] if False in parts else [{"allOf": parts}]


# Keyword -> schemas of what this keyword alone refuses.
RULES: dict[str, Callable[[Any, Any], list[Schema]]] = {
    "type": _types,
    "const": lambda value, again: _values([value], again),
    "enum": _values,
    "minimum": _bound("number", "exclusiveMaximum"),
    "maximum": _bound("number", "exclusiveMinimum"),
    "exclusiveMinimum": _bound("number", "maximum"),
    "exclusiveMaximum": _bound("number", "minimum"),
    "minLength": _bound("string", "maxLength", -1),
    "maxLength": _bound("string", "minLength", 1),
    "minItems": _bound("array", "maxItems", -1),
    "maxItems": _bound("array", "minItems", 1),
    "minProperties": _bound("object", "maxProperties", -1),
    "maxProperties": _bound("object", "minProperties", 1),
    "required": lambda value, again: [
        {"type": "object", "properties": {name: False}} for name in value
    ],
    "properties": _properties,
    "prefixItems": _prefix,
    "allOf": lambda value, again: [again(part) for part in value],
    "anyOf": _any,
    "oneOf": _any,
}

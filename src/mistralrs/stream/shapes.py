"""Grammars that make a model call tools, in its own way of writing calls and with arguments that fit the schemas."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]
Rule: TypeAlias = str  # an expression in llguidance's Lark
Quote: TypeAlias = Callable[[str], Rule]

MOST = 8  # calls in one answer
ANYTHING: Schema = {"type": "object"}
ONE_LINE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


@dataclass(frozen=True)
class Shape:
    """An answer of calls: `first`, calls with `between` them, `last`; a call is `head`, its arguments, `tail`."""

    head: str  # with NAME where the name belongs
    tail: str = ""
    first: str = ""
    last: str = ""
    between: str = "\n"
    arguments: Callable[[Schema, Quote], Rule] = lambda schema, quote: value(schema)
    several: bool = True


def forced(
    shape: Shape, tools: Mapping[str, Schema], once: bool, special: Mapping[str, int]
) -> str:
    """The Lark grammar of an answer that calls some of the tools."""
    quote = partial(quoted, special=special)
    more = "" if once or not shape.several else f"({quote(shape.between)} call){{0,{MOST - 1}}}"
    start = f"start: {quote(shape.first)} call {more} {quote(shape.last)}"
    return "\n".join([start, *calls(shape, "", tools, quote)])


def guarded(
    shape: Shape,
    mark: str,
    tools: Mapping[str, Schema],
    strict: Collection[str],
    special: Mapping[str, int],
) -> str | None:
    """The Lark grammar of an answer with calls among text, where calls of `strict` tools fit their schemas.

    None where nothing is strict, or calls of this shape do not begin with a mark of their own.
    """
    if not strict or shape.first or not mark or not shape.head.startswith(mark):
        return None
    quote = partial(quoted, special=special)
    schemas = {name: schema if name in strict else ANYTHING for name, schema in tools.items()}
    begin = (
        [f"begun: TEXT {quote(mark)}"] if mark in special else [f"begun[lazy]: TEXT {quote(mark)}"]
    )
    text = ["start: (begun call)* end", "end: TEXT", "TEXT: /(.|\\n)*/", *begin]
    return "\n".join([*text, *calls(shape, mark, schemas, quote)])


def calls(shape: Shape, begun: str, tools: Mapping[str, Schema], quote: Quote) -> list[str]:
    """The rules of a call, from behind what has `begun` it."""
    heads = [shape.head.removeprefix(begun).replace("NAME", name) for name in tools]
    rules = [
        f"call_{i}: {quote(head)} {shape.arguments(schema, quote)} {quote(shape.tail)}"
        for i, (head, schema) in enumerate(zip(heads, tools.values(), strict=True))
    ]
    return ["call: " + " | ".join(f"call_{i}" for i in range(len(rules))), *rules]


def quoted(text: str, special: Mapping[str, int]) -> Rule:
    """A text as an expression; special tokens in it by their ids."""
    found = [
        (text.index(token), -len(token), token) for token in special if token and token in text
    ]
    if not found:
        return json.dumps(text, ensure_ascii=False) if text else ""
    at, _, token = min(found)
    before, behind = text[:at], text[at + len(token) :]
    return f"{quoted(before, special)} <[{special[token]}]> {quoted(behind, special)}".strip()


def value(schema: Schema) -> Rule:
    """A JSON value."""
    return "%json " + json.dumps({"x-guidance": ONE_LINE, **schema}, ensure_ascii=False)


def properties(schema: Schema) -> list[tuple[str, Schema, bool]]:
    """Name, schema and whether it is needed, of every parameter; those that are needed first."""
    needed = schema.get("required") or ()
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    found = [(k, {**shared, **v}, k in needed) for k, v in (schema.get("properties") or {}).items()]
    return sorted(found, key=lambda item: not item[2])


def marked(before: str, middle: str, end: str) -> Callable[[Schema, Quote], Rule]:
    """Every parameter between marks, strings as they are; `before` has KEY, and KIND where it tells of strings."""

    def rule(schema: Schema, quote: Quote) -> Rule:
        parts = []
        for key, one, needed in properties(schema):
            string = "true" if one.get("type") == "string" else "false"
            head = before.replace("KEY", key).replace("KIND", string) + middle
            expression = f"{quote(head)} {plain(one)} {quote(end)}"
            parts.append(expression if needed else f"({expression})?")
        return " ".join(parts)

    return rule


def plain(schema: Schema) -> Rule:
    """A value that is written without quotes if it is a string."""
    choices = schema.get("enum")
    if choices and all(isinstance(choice, str) for choice in choices):
        return "(" + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices) + ")"
    if schema.get("type") != "string":
        return value(schema)
    least, most = max(schema.get("minLength", 1), 1), schema.get("maxLength", "")
    return f"/[^<\\]\\n]{{{least},{most}}}/"


def keywords(schema: Schema, quote: Quote) -> Rule:
    """key=value, ..."""
    return joined(schema, "=", ", ", quote, value)


def joined(
    schema: Schema, equals: str, comma: str, quote: Quote, of: Callable[[Schema], Rule]
) -> Rule:
    """Parameters with something between key and value, and between one and the next; `of` makes the values."""
    rule, pairs = "", properties(schema)
    for key, one, needed in reversed(pairs):
        first = key == pairs[0][0]
        expression = f"{quote(('' if first else comma) + key + equals)} {of(one)}"
        rule = (
            f"{expression} {rule}"
            if needed
            else f"({expression})? {rule}"
            if not first
            else f"({expression} {rule})?"
        )
    return rule


def quoted_in(mark: str) -> Callable[[Schema, Quote], Rule]:
    """{key:value,...} with strings between two marks."""

    def rule(schema: Schema, quote: Quote) -> Rule:
        return f"{quote('{')} {joined(schema, ':', ',', quote, partial(one, quote=quote))} {quote('}')}"

    def one(schema: Schema, quote: Quote) -> Rule:
        if schema.get("type") == "object" and schema.get("properties"):
            return rule(schema, quote)
        if schema.get("type") == "array":
            items = several(one(schema.get("items") or {}, quote), quote(","), schema)
            return f"{quote('[')} {items} {quote(']')}"
        if schema.get("type") in ("integer", "number", "boolean", "null"):
            return value(schema)
        return f"{quote(mark)} {plain({'type': 'string', **schema})} {quote(mark)}"

    return rule


def elements(mark: str) -> Callable[[Schema, Quote], Rule]:
    """A tag behind a mark for every parameter, and so on for what is in them."""

    def rule(schema: Schema, quote: Quote) -> Rule:
        parts = []
        for key, one, needed in properties(schema):
            expression = element(key, one, quote)
            parts.append(expression if needed else f"({expression})?")
        return " ".join(parts)

    def element(key: str, schema: Schema, quote: Quote) -> Rule:
        return f"{quote(f'{mark}<{key}>')} {inner(schema, quote)} {quote(f'{mark}</{key}>')}"

    def inner(schema: Schema, quote: Quote) -> Rule:
        if schema.get("type") == "object":
            return rule(schema, quote)
        if schema.get("type") == "array":
            return several(element("item", schema.get("items") or {}, quote), "", schema)
        return plain({"type": "string", **schema})

    return rule


def several(item: Rule, comma: Rule, schema: Schema) -> Rule:
    """The items of an array."""
    least, most = schema.get("minItems", 0), schema.get("maxItems", MOST)
    if not most:
        return ""
    rest = f"{item} ({comma} {item}){{{max(least - 1, 0)},{most - 1}}}"
    return rest if least else f"({rest})?"

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
    """Every parameter between marks, strings as they are; `before` has KEY."""

    def rule(schema: Schema, quote: Quote) -> Rule:
        parts = []
        for key, one, needed in properties(schema):
            expression = f"{quote(before.replace('KEY', key) + middle)} {plain(one)} {quote(end)}"
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
    return f"/[^<\\n]{{{least},{most}}}/"


def keywords(schema: Schema, quote: Quote) -> Rule:
    """key=value, ..."""
    rule = ""
    for key, one, needed in reversed(properties(schema)):
        first = key == properties(schema)[0][0]
        expression = f"{quote(key + '=' if first else ', ' + key + '=')} {value(one)}"
        rule = (
            f"{expression} {rule}"
            if needed
            else f"({expression})? {rule}"
            if not first
            else f"({expression} {rule})?"
        )
    return rule

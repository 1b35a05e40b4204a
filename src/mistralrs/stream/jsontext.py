"""JSON as models write it: read strictly, except that raw line breaks and tabs in strings are escaped."""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

DEEPEST = 100  # levels of arrays and objects; what is deeper is no call
SURROGATE = re.compile("[\ud800-\udfff]")


class Malformed(Exception):
    """The text is not what a parser expects."""


def loads(text: str) -> Any:
    """The value of a JSON text; Malformed for anything else, such as NaN, Infinity or endless nesting."""
    if text.count("[") + text.count("{") > DEEPEST and Extent().deep(text):
        raise Malformed(f"more than {DEEPEST} levels")
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no JSON ({error})") from None


def dumps(value: Any) -> str:
    """A value as JSON; Malformed where JSON has no such value."""
    try:
        return encodable(json.dumps(value, ensure_ascii=False, allow_nan=False))
    except (ValueError, TypeError, RecursionError) as error:
        raise Malformed(f"no value of JSON ({error})") from None


def encodable(text: str) -> str:
    """A JSON text with halves of UTF-16 pairs, which UTF-8 cannot write, as escapes."""
    return SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def unquoted(text: str) -> str:
    """The JSON that a JSON string spells, {} for null; other JSON as it is."""
    value = loads(text)
    return encodable(value) if isinstance(value, str) else "{}" if value is None else text


def kind(value: Any) -> str:
    """What JSON Schema calls the type of a value."""
    if isinstance(value, bool):
        return "boolean"
    names = {dict: "object", list: "array", str: "string", int: "integer", float: "number"}
    return names.get(type(value), "null")


def kinds(schema: Any) -> frozenset[str]:
    """The types that a schema names; empty where it does not tell."""
    if not isinstance(schema, Mapping):
        return frozenset()
    named = schema.get("type") or ()
    found = {named} if isinstance(named, str) else set(named)
    if not found and isinstance(schema.get("enum"), list):
        found = {kind(choice) for choice in schema["enum"]}
    for part in (*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())):
        found |= kinds(part)
    return frozenset(found | ({"integer"} if "number" in found else set()))


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


class Extent:
    """Follows a text to the end of the array, object or string that it begins with."""

    def __init__(self) -> None:
        self.depth, self.quoted, self.escaped = 0, False, False

    def __call__(self, text: str) -> tuple[int, bool, str]:
        """How much of the text belongs to the value, whether that ends there, and the part as strict JSON."""
        parts = []
        for i, char in enumerate(text):
            parts.append(self.step(char))
            if self.over or not (self.depth or self.quoted):
                return i + 1, True, "".join(parts)
        return len(text), False, "".join(parts)

    @property
    def over(self) -> bool:
        """Whether the value is nested too deeply."""
        return self.depth > DEEPEST

    def deep(self, text: str) -> bool:
        """Whether a whole text is nested too deeply."""
        return any(self.over for char in text if self.step(char))

    def step(self, char: str) -> str:
        """Take one character and return it as strict JSON."""
        if self.quoted:
            return self._inside(char)
        if char == '"':
            self.quoted = True
        else:
            self.depth += (char in "{[") - (char in "}]")
        return char

    def _inside(self, char: str) -> str:
        after = self.escaped
        self.quoted = char != '"' or after
        self.escaped = char == "\\" and not after
        if char >= " ":
            return char
        return json.dumps(char)[2 if after else 1 : -1]

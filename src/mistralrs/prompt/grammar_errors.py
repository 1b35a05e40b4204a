"""What is wrong with a grammar, and where: messages of llguidance, shortened and with a position."""

import json
import re
from collections.abc import Callable

from mistralrs.api.prompt import Grammar
from mistralrs.api.schema import parts

CARET = re.compile(r"regex parse error:\n {4}(.*)\n {4}( *)\^+\nerror: (.*)")
PLACE = re.compile(r"^(?:at )?(\d+)\((\d+)\): (.*)", re.DOTALL)


def explain(grammar: Grammar, message: str, trial: Callable[[Grammar], str]) -> str:
    """Return the text of the error; `trial` tells what compiling another grammar would say."""
    if grammar.kind == "regex":
        return regex(message)
    if grammar.kind == "json_schema":
        return json_schema(grammar, message, trial)
    return lark(grammar, message)


def regex(message: str) -> str:
    """Return the message for a regular expression, with the character where it fails."""
    if found := CARET.search(message):
        pattern, before, reason = found.groups()
        at = len(before)
        return (
            f"grammar: the regex is invalid at character {at + 1}, {pattern[at:][:12]!r}: {reason}"
        )
    found = PLACE.match(message)
    return f"grammar: the regex is invalid: {first_line(found[3] if found else message)}"


def lark(grammar: Grammar, message: str) -> str:
    """Return the message for a grammar, with line and column."""
    found = PLACE.match(message)
    inner = CARET.search(message)
    if not found:
        return f"grammar: the {grammar.kind} grammar is invalid: {first_line(message)}"
    line, column, reason = found.groups()
    detail = f" (character {len(inner[2]) + 1}: {inner[3]})" if inner else ""
    reason = first_line(reason).removesuffix(" (in regex): regex parse error:")
    return f"grammar: line {line}, column {column}: {reason}{detail}"


def json_schema(grammar: Grammar, message: str, trial: Callable[[Grammar], str]) -> str:
    """Return the message for a schema, with the JSON pointer of the smallest part that fails in the same way."""
    pointer, part = "", json.loads(grammar.text)
    while True:
        failing = (
            (keys, child)
            for keys, child in parts(part)
            if trial(Grammar("json_schema", json.dumps(child))) == message
        )
        found = next(failing, None)
        if found is None:
            break
        pointer, part = pointer + "".join(f"/{escape(key)}" for key in found[0]), found[1]
    inner = CARET.search(message)
    reason = f"pattern, character {len(inner[2]) + 1}: {inner[3]}" if inner else first_line(message)
    return f"grammar: the JSON schema cannot be used, at {pointer or 'its top'}: {reason}"


def escape(key: str) -> str:
    """Return a key as it stands in a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def first_line(text: str) -> str:
    """Return a text up to its first line break."""
    return text.strip().split("\n")[0]

"""`response_format`: what an answer has to look like, as a grammar and as what reads the answer."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mistralrs.api import check
from mistralrs.api.errors import GrammarError
from mistralrs.api.schema import read, schema

FORMS = ("text", "json_object", "json_schema")


def response_format(where: str, value: Any) -> Any:
    """A pydantic model, a dataclass or another type, or one of the objects of the OpenAI API."""
    if isinstance(value, Mapping):
        check.one_of(*FORMS)(f"{where}['type']", value.get("type"))
        if value["type"] == "json_schema":
            described(where, value)
        return dict(value)
    if isinstance(value, type) or hasattr(value, "__origin__") or hasattr(value, "__args__"):
        return value
    raise check.wrong_type(where, "a type, or a mapping as in the OpenAI API", value)


def described(where: str, value: Mapping[str, Any]) -> Any:
    """Return the schema inside {"type": "json_schema", "json_schema": {"name": ..., "schema": ...}}."""
    inner = value.get("json_schema")
    if not isinstance(inner, Mapping) or not isinstance(inner.get("schema"), (Mapping, bool)):
        raise GrammarError(
            f"{where}: has no schema; write "
            '{"type": "json_schema", "json_schema": {"name": "answer", "schema": {...}}}'
        )
    return inner["schema"]


def json_schema(format: Any) -> str | None:
    """Return the JSON schema of a checked `response_format`; None for free text."""
    if not isinstance(format, dict):
        return json.dumps(schema(format))
    if format["type"] == "json_schema":
        return json.dumps(described("response_format", format))
    return '{"type": "object"}' if format["type"] == "json_object" else None


def reader(format: Any, grammar_type: str | None) -> Callable[[str], Any] | None:
    """Return what turns a complete answer into a value; None where the answer is not JSON."""
    if format is not None and not isinstance(format, dict):
        return partial(read, format)
    return json.loads if grammar_type == "json_schema" else None

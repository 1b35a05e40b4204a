"""Values with the JSON shape of the OpenAI API."""

import dataclasses
import json
from enum import Enum
from typing import Any, TypeVar

T = TypeVar("T")

# These are present even when they are null; any other null is left out, as clients expect.
_ALWAYS = frozenset({"content", "finish_reason", "logprobs"})


class Record:
    """A frozen dataclass that turns into OpenAI JSON, also under the names that pydantic uses."""

    def to_dict(self) -> dict[str, Any]:
        """Return nested dicts and lists, enums as their values, in the shape of the OpenAI API."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        pairs = ((f.name, getattr(self, f.name)) for f in fields)
        return {name: plain(v) for name, v in pairs if v is not None or name in _ALWAYS}

    def to_json(self) -> str:
        """Return `to_dict()` as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def model_dump(self) -> dict[str, Any]:
        """Return `to_dict()`."""
        return self.to_dict()

    def model_dump_json(self) -> str:
        """Return `to_json()`."""
        return self.to_json()


def quick(kind: type[T], **values: Any) -> T:
    """Return a record of all its `values` without calling its constructor: streams make three for every token."""
    record = object.__new__(kind)
    record.__dict__.update(values)
    return record


def plain(value: Any) -> Any:
    """Return `value` built of dicts, lists and scalars only."""
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value

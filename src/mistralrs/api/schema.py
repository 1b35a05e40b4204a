"""Python types as JSON schemas, and JSON text as values of those types."""

import dataclasses
import json
import types
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from mistralrs.api.errors import GrammarError

SCALARS: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
    None: "null",
}
# Keywords whose value is a schema, a list of schemas, or schemas by name.
SINGLE = ("items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames")
LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")

Schema = dict[str, Any]


def schema(kind: Any) -> Schema:
    """Return the JSON schema of a pydantic model, dataclass or other type; GrammarError names what has none.

    Objects are closed: nothing but their fields may occur.
    """
    definitions: dict[str, Schema] = {}
    top = refer(kind, definitions, getattr(kind, "__name__", "response_format"))
    return closed(top | {"$defs": definitions} if definitions else top)


def refer(kind: Any, definitions: dict[str, Schema], where: str) -> Schema:
    """Return a schema; classes go into `definitions`. `where` is for errors."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_pydantic(kind):
        return hoist(kind.model_json_schema(), definitions)
    if dataclasses.is_dataclass(kind):
        return record(kind, definitions)
    if kind in (Any, object):
        return {}
    if is_enum(kind):
        return {"enum": [member.value for member in kind]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is Annotated:
        return refer(arguments[0], definitions, where)
    if origin in (Union, types.UnionType):
        return {"anyOf": [refer(part, definitions, where) for part in arguments]}
    if (origin or kind) in COLLECTIONS:
        inner = [refer(part, definitions, where) for part in arguments if part is not Ellipsis]
        return COLLECTIONS[origin or kind](inner, Ellipsis in arguments)
    if kind in SCALARS:
        return {"type": SCALARS[kind]}
    raise GrammarError(
        f"response_format: {where} has the type {kind!r}, which has no JSON schema here; use str, int, float, bool, "
        "list, tuple, dict, Literal, Enum, unions and dataclasses of these, or a pydantic model"
    )


def record(kind: Any, definitions: dict[str, Schema]) -> Schema:
    """Return a reference to the schema of a dataclass; fields without a default are required."""
    if kind.__qualname__ not in definitions:
        definitions[kind.__qualname__] = {}  # it may contain itself
        hints = hints_of(kind)
        fields = [field for field in dataclasses.fields(kind) if field.init]
        definitions[kind.__qualname__] = {
            "type": "object",
            "properties": {
                f.name: refer(hints[f.name], definitions, f"{kind.__qualname__}.{f.name}")
                for f in fields
            },
            "required": [f.name for f in fields if not has_default(f)],
        }
    return {"$ref": f"#/$defs/{kind.__qualname__}"}


def sequence(inner: list[Schema], open_ended: bool) -> Schema:
    """Return the schema of a list or set."""
    return {"type": "array", "items": inner[0] if inner else {}}


def row(inner: list[Schema], open_ended: bool) -> Schema:
    """Return the schema of a tuple, of one type throughout or of one for each place."""
    if open_ended or not inner:
        return sequence(inner, open_ended)
    return {"type": "array", "prefixItems": inner, "items": False, "minItems": len(inner)}


def mapping(inner: list[Schema], open_ended: bool) -> Schema:
    """Return the schema of a dict; the keys of JSON are strings."""
    return {"type": "object", "additionalProperties": inner[1] if inner else {}}


COLLECTIONS: dict[Any, Callable[[list[Schema], bool], Schema]] = {
    list: sequence,
    tuple: row,
    dict: mapping,
}


def hoist(own: Schema, definitions: dict[str, Schema]) -> Schema:
    """Return a schema whose definitions were moved to those of the whole."""
    definitions.update(own.pop("$defs", {}))
    return own


def closed(part: Any) -> Any:
    """Return a schema with objects that have no other properties than those named, and unions that a tag tells
    apart as plain unions.
    """
    if not isinstance(part, dict):
        return part
    result = dict(part)
    if "properties" in result:
        result.setdefault("additionalProperties", False)
    if result.pop("discriminator", None) and "oneOf" in result:
        result["anyOf"] = result.pop("oneOf")
    for key, value in result.items():
        if key in SINGLE:
            result[key] = closed(value)
        elif key in LISTED:
            result[key] = [closed(child) for child in value]
        elif key in NAMED:
            result[key] = {name: closed(child) for name, child in value.items()}
    return result


def parts(whole: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the schemas directly inside a schema, each with the keys that lead there."""
    for key, value in whole.items() if isinstance(whole, dict) else ():
        if key in SINGLE and isinstance(value, dict):
            yield (key,), value
        elif key in LISTED and isinstance(value, list):
            yield from (((key, str(i)), child) for i, child in enumerate(value))
        elif key in NAMED and isinstance(value, dict):
            yield from (((key, name), child) for name, child in value.items())


def read(kind: Any, text: str) -> Any:
    """Return JSON text as a value of a type that has a `schema`; ValueError if it is none."""
    if is_pydantic(kind):
        return kind.model_validate_json(text)
    return convert(kind, json.loads(text))


def convert(kind: Any, value: Any) -> Any:
    """Return a JSON value as a value of a type; ValueError if it is none."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_pydantic(kind):
        return kind.model_validate(value)
    if kind in (Any, object):
        return value
    if is_enum(kind):
        return kind(value)
    if origin is Annotated:
        return convert(arguments[0], value)
    if origin in (Union, types.UnionType):
        return first_of(arguments, value)
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return build(kind, value)
    if (origin or kind) is dict and isinstance(value, dict):
        each = arguments[1] if arguments else Any
        return {key: convert(each, item) for key, item in value.items()}
    if (origin or kind) is list and isinstance(value, list):
        return [convert(arguments[0] if arguments else Any, item) for item in value]
    if (origin or kind) is tuple and isinstance(value, list):
        return tuple(map(convert, each_kind(arguments, len(value)), value))
    if kind is float and type(value) in (int, float):
        return float(value)
    if value in arguments if origin is Literal else type(value) is kind or value is kind is None:
        return value
    raise ValueError(f"{value!r} is no {kind!r}")


def build(kind: Any, value: Mapping[str, Any]) -> Any:
    """Return a dataclass from its fields; TypeError if one is missing."""
    hints = hints_of(kind)
    if unknown := value.keys() - hints.keys():
        raise ValueError(f"{kind.__qualname__} has no {min(unknown)!r}")
    return kind(**{name: convert(hints[name], item) for name, item in value.items()})


def each_kind(arguments: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """Return the types of the items of a list or tuple."""
    if not arguments or Ellipsis in arguments:
        return (arguments[0] if arguments else Any,) * count
    if len(arguments) != count:
        raise ValueError(f"{count} items where there should be {len(arguments)}")
    return arguments


def first_of(kinds: tuple[Any, ...], value: Any) -> Any:
    """Return a value as the first member of a union that it fits."""
    for kind in kinds:
        try:
            return convert(kind, value)
        except (ValueError, TypeError):
            continue
    raise ValueError(f"{value!r} is none of {kinds!r}")


def is_pydantic(kind: Any) -> bool:
    """Tell whether a class is a pydantic model, without importing pydantic."""
    return isinstance(kind, type) and hasattr(kind, "model_json_schema")


def is_enum(kind: Any) -> bool:
    """Tell whether a class is an Enum."""
    return isinstance(kind, type) and issubclass(kind, Enum)


def has_default(field: "dataclasses.Field[Any]") -> bool:
    """Tell whether a field may be left out."""
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


def hints_of(kind: Any) -> dict[str, Any]:
    """Return the types of the fields of a class."""
    try:
        return get_type_hints(kind, include_extras=True)
    except NameError as error:
        raise GrammarError(
            f"response_format: a field of {kind.__qualname__} has a type that is not defined at the top of its "
            f"module ({error}); move it there"
        ) from None

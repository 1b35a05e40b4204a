"""Python types as schemas and back, judged by pydantic and jsonschema."""

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Literal, Optional, Union

import pydantic
import pytest
from jsonschema import Draft202012Validator

from mistralrs.api.errors import GrammarError
from mistralrs.api.schema import read, schema


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: float = 0.0


@dataclass
class Node:
    point: Point
    next: Optional["Node"]
    tags: list[str] = field(default_factory=list)


class Model(pydantic.BaseModel):
    point: Point
    colors: list[Color]
    inner: "Model | None" = None


@dataclass
class Mixed:
    model: Model
    pair: tuple[int, str]


# type -> values in JSON, good and bad
KINDS: dict[str, tuple[Any, list[Any]]] = {
    "str": (str, ["a", "", 1, None]),
    "int": (int, [1, -5, 1.5, True, "1"]),
    "float": (float, [1.5, 2, True, "1"]),
    "bool": (bool, [True, 1, None]),
    "none": (None, [None, 0]),
    "literal": (Literal["a", 2], ["a", 2, "b"]),
    "enum": (Color, ["red", "green"]),
    "optional": (Optional[int], [1, None, "a"]),  # noqa: UP045
    "union": (Union[int, list[str]], [1, ["a"], [1], "a"]),  # noqa: UP007
    "list": (list[int], [[], [1, 2], [1, "a"], {}]),
    "bare list": (list, [[], [1, "a"], {}]),
    "list of points": (list[Point], [[{"x": 1}], [{"y": 1}]]),
    "tuple": (tuple[int, str], [[1, "a"], [1], [1, "a", 2], ["a", 1]]),
    "long tuple": (tuple[int, ...], [[], [1, 2, 3], ["a"]]),
    "dict": (dict[str, int], [{}, {"a": 1}, {"a": "b"}]),
    "annotated": (Annotated[int, "years"], [1, "a"]),
    "any": (Any, [1, None, {"a": []}]),
    "dataclass": (Point, [{"x": 1}, {"x": 1, "y": 2.5}, {"y": 1}, {"x": "a"}, {"x": 1, "z": 1}, 3]),
    "recursive": (
        Node,
        [
            {"point": {"x": 1}, "next": None},
            {"point": {"x": 1}, "next": {"point": {"x": 2}, "next": None, "tags": ["a"]}},
            {"point": {"x": 1}},
            {"point": {"x": 1}, "next": {"point": {}}},
        ],
    ),
    "model": (
        Model,
        [
            {"point": {"x": 1}, "colors": ["red"]},
            {"point": {"x": 1}, "colors": [], "inner": {"point": {"x": 2}, "colors": []}},
            {"point": {"x": 1}, "colors": ["green"]},
        ],
    ),
    "mixed": (
        Mixed,
        [
            {"model": {"point": {"x": 1}, "colors": []}, "pair": [1, "a"]},
            {"model": {"point": {"x": 1}, "colors": [3]}, "pair": [1, "a"]},
        ],
    ),
}
CASES = [(name, i) for name, (_, values) in KINDS.items() for i in range(len(values))]


@pytest.mark.parametrize(("name", "i"), CASES)
def test_the_schema_reads_what_it_allows(name, i):
    kind, values = KINDS[name]
    text = json.dumps(values[i])
    allowed = Draft202012Validator(schema(kind)).is_valid(values[i])
    if not allowed:
        with pytest.raises((ValueError, TypeError)):
            read(kind, text)
        return
    assert read(kind, text) == pydantic.TypeAdapter(kind).validate_json(text)


@pytest.mark.parametrize("name", KINDS)
def test_pydantic_allows_the_same(name):
    """pydantic is laxer only with extra fields, which it drops."""
    kind, values = KINDS[name]
    theirs = Draft202012Validator(pydantic.TypeAdapter(kind).json_schema())
    ours = Draft202012Validator(schema(kind))
    extra = [v for v in values if isinstance(v, dict) and "z" in v]
    assert [ours.is_valid(v) for v in values if v not in extra] == [
        theirs.is_valid(v) for v in values if v not in extra
    ]


def test_a_tagged_union_is_a_plain_one():
    class Cat(pydantic.BaseModel):
        kind: Literal["cat"]

    class Dog(pydantic.BaseModel):
        kind: Literal["dog"]

    class Owner(pydantic.BaseModel):
        pet: Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]

    pet = schema(Owner)["properties"]["pet"]
    assert set(pet) == {"anyOf", "title"} or set(pet) == {"anyOf"}


@dataclass
class Wave:
    sound: complex


@dataclass
class Lost:
    other: "Nowhere"  # noqa: F821


@pytest.mark.parametrize(
    ("kind", "message"),
    [(Wave, "Wave.sound has the type"), (Lost, "not defined"), (set[int], "has no JSON schema")],
)
def test_types_without_a_schema(kind, message):
    with pytest.raises(GrammarError, match=message):
        schema(kind)

"""Checks of single arguments: (where, value) -> the value as it is stored, or an error."""

import dataclasses
import math
import numbers
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mistralrs.api.enums import Spelled
from mistralrs.api.errors import RequestError, RequestTypeError
from mistralrs.api.strict import did_you_mean

Check = Callable[[str, Any], Any]


def apply(self: Any, checks: Mapping[str, Check]) -> None:
    """Check and convert the fields of a frozen dataclass; None stands for a field's default."""
    for field in dataclasses.fields(self):
        value = getattr(self, field.name)
        if value is None:
            value = _default(field)
        if value is not None and field.name in checks:
            value = checks[field.name](field.name, value)
        object.__setattr__(self, field.name, value)


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    if field.default is dataclasses.MISSING:
        raise RequestTypeError(f"{field.name}: is required, not None")
    return field.default


def wrong_type(where: str, expected: str, value: Any) -> RequestTypeError:
    """Return the error for a value of another type than `expected`."""
    return RequestTypeError(f"{where}: must be {expected}, not {_show(value)}")


def text(where: str, value: Any) -> str:
    """A string of valid Unicode, possibly empty."""
    given = _string(where, value)
    try:
        given.isascii() or given.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"{where}: is not valid Unicode at character {error.start}; remove its unpaired surrogates, "
            "for example with text.encode('utf-8', 'replace').decode()"
        ) from None
    return given


def name(where: str, value: Any) -> str:
    """A string with something in it."""
    return _filled(where, text(where, value))


def path(where: str, value: Any) -> str:
    """A hub id or file path, also as pathlib.Path; names of files may be no Unicode."""
    return _filled(
        where, _string(where, os.fspath(value) if isinstance(value, os.PathLike) else value)
    )


def _string(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise wrong_type(where, "a string", value)
    return value


def _filled(where: str, value: str) -> str:
    if not value.strip():
        raise RequestError(f"{where}: is empty")
    return value


def flag(where: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool) and type(value).__name__ not in ("bool_", "bool"):  # numpy.bool_
        raise wrong_type(where, "True or False", value)
    return bool(value)


def count(low: int | None = None, high: int | None = None) -> Check:
    """A whole number of at least `low` and at most `high`."""

    def check(where: str, value: Any) -> int:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise wrong_type(where, "a whole number", value)
        number = operator.index(value)
        _in_range(where, number, low, high)
        return number

    return check


def number(
    low: float | None = None, high: float | None = None, above: float | None = None
) -> Check:
    """A finite number of at least `low`, at most `high` and greater than `above`."""

    def check(where: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise wrong_type(where, "a number", value)
        if not math.isfinite(value):
            raise RequestError(f"{where}: must be finite, not {value}")
        if above is not None and value <= above:
            raise RequestError(f"{where}: must be greater than {above}, not {value}")
        _in_range(where, value, low, high)
        return float(value)

    return check


def _in_range(where: str, value: Any, low: float | None, high: float | None) -> None:
    if low is not None and value < low:
        raise RequestError(f"{where}: must be at least {low}, not {value}")
    if high is not None and value > high:
        raise RequestError(f"{where}: must be at most {high}, not {value}")


def choice(kind: type[Spelled]) -> Check:
    """A member of the enum or one of its spellings."""

    def check(where: str, value: Any) -> Spelled:
        if not isinstance(value, (kind, str, int)):
            raise wrong_type(where, f"a member of {kind.__name__}", value)
        try:
            return kind(value)
        except RequestError as error:
            raise RequestError(f"{where}: {error}") from None

    return check


def one_of(*words: str) -> Check:
    """One of the words, in any case and with blanks around it; stored in the given spelling."""
    by_fold = {word.casefold(): word for word in words}

    def check(where: str, value: Any) -> str:
        found = by_fold.get(text(where, value).strip().casefold())
        if found is None:
            hint = did_you_mean(value, words)
            raise RequestError(
                f"{where}: {value!r} is unknown{hint or '.'} Accepted: {', '.join(words)}"
            )
        return found

    return check


def instance(*kinds: type) -> Check:
    """A value of one of the classes."""

    def check(where: str, value: Any) -> Any:
        if not isinstance(value, kinds):
            raise wrong_type(where, " or ".join(kind.__qualname__ for kind in kinds), value)
        return value

    return check


def function(where: str, value: Any) -> Any:
    """Something that can be called."""
    if not callable(value):
        raise wrong_type(where, "a function", value)
    return value


def items(each: Check) -> Check:
    """A list whose items pass `each`; the stored list is a copy."""

    def check(where: str, value: Any) -> list[Any]:
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
            raise wrong_type(where, "a list", value)
        return [each(f"{where}[{i}]", item) for i, item in enumerate(value)]

    return check


def names(where: str, value: Any) -> list[str]:
    """A list of strings, none empty; a single string is a list of one."""
    value = [value] if isinstance(value, str) else value
    strings: list[str] = items(text)(where, value)
    if "" in strings:
        raise RequestError(f"{where}[{strings.index('')}]: is empty")
    return strings


def table(key: Check, each: Check) -> Check:
    """A mapping whose keys and values pass; the stored dict is a copy."""

    def check(where: str, value: Any) -> dict[Any, Any]:
        if not isinstance(value, Mapping):
            raise wrong_type(where, "a mapping", value)
        return {key(f"{where} key", k): each(f"{where}[{k!r}]", v) for k, v in value.items()}

    return check


def filled(check: Check) -> Check:
    """What `check` returns, which must not be empty."""

    def checked(where: str, value: Any) -> Any:
        stored = check(where, value)
        if not stored:
            raise RequestError(f"{where}: is empty; give at least one")
        return stored

    return checked


def frozen(check: Check) -> Check:
    """The list that `check` returns, as a hashable tuple."""
    return lambda where, value: tuple(check(where, value))


def url(*schemes: str) -> Check:
    """An address that begins with one of `schemes`, by default http:// and https://."""
    accepted = schemes or ("http://", "https://")

    def check(where: str, value: Any) -> str:
        address = name(where, value).strip()
        if not address.lower().startswith(accepted):
            raise RequestError(f"{where}: {address!r} must begin with {' or '.join(accepted)}")
        return address

    return check


def _show(value: Any) -> str:
    shown = repr(value)
    return f"{shown[:57]}..." if len(shown) > 60 else shown

"""Constructors that explain a misspelled argument, and a repr that shows only what was set."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the closest of `choices`, or "" when none is close."""
    import difflib  # only needed for an error

    folded = {choice.casefold(): choice for choice in choices}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def strict(cls: type[T]) -> type[T]:
    """Let `cls(...)` explain unknown keywords, and give dataclasses a repr without defaults."""
    init: Any = cls.__init__
    code = init.__code__
    names = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]

    @functools.wraps(init)
    def checked(self: T, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)
        except TypeError:  # looked into only now: responses are made for every token
            for name in kwargs:
                if name not in names:
                    raise TypeError(_unknown_argument(cls.__qualname__, name, names)) from None
            raise

    cls.__init__ = checked  # type: ignore[method-assign, assignment]
    if dataclasses.is_dataclass(cls):
        cls.__repr__ = _short_repr  # type: ignore[method-assign]
    return cls


def aliases(**canonical: str) -> Callable[[type[T]], type[T]]:
    """Let `cls(alias=...)` stand for `cls(canonical=...)`; put it above `strict`."""

    def decorate(cls: type[T]) -> type[T]:
        init: Callable[..., None] = cls.__init__

        @functools.wraps(init)
        def renamed(self: T, *args: Any, **kwargs: Any) -> None:
            for alias, name in canonical.items():
                if alias in kwargs:
                    if name in kwargs:
                        raise TypeError(
                            f"{cls.__qualname__}: {alias!r} is another name of {name!r}; give one"
                        )
                    kwargs[name] = kwargs.pop(alias)
            init(self, *args, **kwargs)

        cls.__init__ = renamed  # type: ignore[method-assign, assignment]
        return cls

    return decorate


def _unknown_argument(owner: str, name: str, names: tuple[str, ...]) -> str:
    hint = did_you_mean(name, names) or f"; its arguments are: {', '.join(names)}"
    return f"{owner} has no argument {name!r}{hint}"


def _short_repr(self: Any) -> str:
    shown = (
        f for f in dataclasses.fields(self) if f.repr and not _is_default(f, getattr(self, f.name))
    )
    arguments = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in shown)
    return f"{type(self).__qualname__}({arguments})"


def _is_default(field: "dataclasses.Field[Any]", value: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return field.default is not dataclasses.MISSING and bool(value == field.default)

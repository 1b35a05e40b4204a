"""The Jinja environment of chat templates: untrusted code from a model repository, rendering like transformers."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

FILE = "chat template"  # what a line of the template is called in tracebacks


class Refusal(Exception):
    """The template called raise_exception."""


class Generation(Extension):
    """`{% generation %}` marks text for training; here its body just renders."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        """Wrap the body in a scope, as the caller block of transformers does."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


class Names(Namespace):
    """`namespace()` without underscored names, which could reach into the interpreter."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # `self` stays free as a template's keyword
        self, *rest = args
        attributes = dict(*rest, **kwargs)
        for name in attributes:
            _check(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check(name)
        super().__setitem__(name, value)


class Dict:
    """`dict()` as a function: the class itself would offer more than its constructor."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """Return what `dict.fromkeys` returns."""
        return dict.fromkeys(*args)


@lru_cache(maxsize=64)
def compiled(source: str) -> jinja2.Template:
    """Parse a template; the same text is parsed once. Raises jinja2.TemplateSyntaxError."""
    code = _ENVIRONMENT.compile(source, name=FILE, filename=FILE)
    return jinja2.Template.from_code(_ENVIRONMENT, code, _ENVIRONMENT.make_globals(None))


def plain(value: Any) -> Any:
    """Return `value` rebuilt from JSON types only, so that a template meets no object with methods of its own."""
    if value is None or type(value) in (str, bool, int, float):
        return value
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    for kind in (str, int, float):  # enum members and other subclasses
        if isinstance(value, kind):
            return kind(value.value if hasattr(value, "value") else value)
    return f"<{type(value).__name__}>"


def _check(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace cannot hold {name!r}")


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes HTML; a prompt is not HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _refuse(message: object) -> NoReturn:
    raise Refusal(str(message))


def _now(format: str) -> str:
    return datetime.now().strftime(format)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {
        "raise_exception": _refuse,
        "strftime_now": _now,
        "dict": Dict(),
        "namespace": Names,
    }
    return environment


_ENVIRONMENT = _environment()

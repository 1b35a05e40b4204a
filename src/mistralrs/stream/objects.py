"""Parsers of calls that are JSON objects: alone, in arrays, and with marks around them.

Published templates and model cards are the source; bodies vary within a family, so closing marks may be missing
and white space is free.
"""

from collections.abc import Callable
from typing import Any

from mistralrs.stream.calls import Writer
from mistralrs.stream.jsontext import Malformed, loads, unquoted
from mistralrs.stream.pythonic import python_calls
from mistralrs.stream.reader import Reader, Steps

Parser = Callable[[Reader, Writer], Steps[None]]

NAMES = {"name", "tool_name", "tool", "function"}
ARGUMENTS = {"arguments", "parameters", "args", "tool_parameters"}
OTHERS = {"id", "type", "index", "tool_call_id", "call_id"}


class Object:
    """One call: {"name": ..., "arguments": {...}}, its keys in any order."""

    def __init__(self, r: Reader, w: Writer, known: bool, nested: bool = False) -> None:
        """`known`: only a tool that was offered; `nested`: the value of "function" in OpenAI's form."""
        self.r, self.w, self.known, self.nested = r, w, known, nested
        self.name: Any = None
        self.id: str | None = None
        self.held: str | None = None  # arguments that came before the name
        self.done = False  # arguments were written

    def read(self) -> Steps[None]:
        """Read the object up to its brace."""
        r = self.r
        yield from r.expect("{")
        while (yield from r.space()) != "}":
            yield from r.word(",")
            if (yield from r.space()) != '"':
                raise Malformed("no key")
            key = loads((yield from r.json()))
            yield from r.space()
            yield from r.expect(":")
            yield from self.field(key, (yield from r.space()))
        if not self.done:
            self.w.open(self.name, self.id)
            self.w.write(self.held or "{}")
        r.take(1)
        if self.w.arguments is not None:
            self.w.close()

    def field(self, key: str, opening: str) -> Steps[None]:
        """Read the value of a key."""
        r, w = self.r, self.w
        if key in NAMES and opening == "{":
            yield from self.inner()
        elif key in NAMES:
            self.name = offered(loads((yield from r.json())), w, self.known)
        elif key in ARGUMENTS and opening == "{" and self.name and not self.done:
            w.open(self.name, self.id)
            yield from r.json(w.write)
            self.done = True
        elif key in ARGUMENTS:
            self.held = yield from (quoted(r) if opening == '"' else plain(r))
        elif key in OTHERS or not self.known:
            value = yield from r.json()
            self.id = loads(value) if key == "id" and value.startswith('"') else self.id
        else:
            raise Malformed(f"a key {key!r}")

    def inner(self) -> Steps[None]:
        """Read OpenAI's form: {"type": "function", "function": {"name": ...}}."""
        if self.nested or self.done:
            raise Malformed("a call within a call")
        call = Object(self.r, self.w, self.known, nested=True)
        call.id = self.id
        yield from call.read()
        self.done = True


def plain(r: Reader) -> Steps[str]:
    """Arguments that are an object, or null."""
    return unquoted((yield from r.json()))


def quoted(r: Reader) -> Steps[str]:
    """Arguments within a string, whose own quotes many models forget to escape: "{"city": "Oslo"}"."""
    r.take(1)
    while not r.over and not r.text.lstrip().removeprefix("{").lstrip():
        yield
    forgotten = r.text.lstrip().removeprefix("{").lstrip().startswith('"')
    if not r.text.lstrip().startswith("{") or not forgotten:
        r.back('"')
        return unquoted((yield from r.json()))
    text = yield from r.json()
    yield from r.word('"')
    return text


def offered(name: Any, w: Writer, known: bool) -> Any:
    """The name, which must be that of a tool if it must be known."""
    if known and (not isinstance(name, str) or name not in w.tools):
        raise Malformed(f"no tool is called {name!r}")
    return name


def objects(r: Reader, w: Writer, known: bool = False) -> Steps[None]:
    """One call, an array of calls, or calls one behind the other."""
    before = w.complete
    array = yield from r.ending("[")
    found = yield from r.ending("{")
    while found:
        r.back("{")
        yield from Object(r, w, known).read()
        between = yield from r.ending(",", ";")
        found = yield from r.ending("{")
        if between and not found and not array:
            r.back(between)
    if w.complete == before or (array and not (yield from r.ending("]"))):
        raise Malformed(f"{r.text[:20]!r} is no call")
    w.forget()


def closed(*ends: str) -> Parser:
    """JSON calls, and perhaps one of the closing marks."""

    def parse(r: Reader, w: Writer) -> Steps[None]:
        yield from objects(r, w)
        yield from r.ending(*ends)

    return parse


def unmarked(r: Reader, w: Writer) -> Steps[None]:
    """Nothing but calls of known tools, behind `<|python_tag|>` or not."""
    tagged, opening = bool(r.read), (yield from r.space())
    if opening in ("{", "["):
        yield from objects(r, w, known=True)
        yield from r.ending("</tool_call>")
    elif not tagged:
        raise Malformed("no call")
    else:
        text = yield from r.rest()
        for name, arguments in python_calls(text.replace(".call(", "(", 1)):
            w.whole(name, arguments)


def fenced(r: Reader, w: Writer) -> Steps[None]:
    """Command R+: an array of calls of known tools in a block of code."""
    yield from r.space()
    yield from r.expect("```json")
    yield from objects(r, w, known=True)
    yield from r.ending("```")


def keyed(end: str) -> Parser:
    """Apertus: an array of {NAME: arguments}."""

    def parse(r: Reader, w: Writer) -> Steps[None]:
        before = w.complete
        yield from r.space()
        yield from r.expect("[")
        found = yield from r.ending("{", "]")
        while found == "{":
            yield from r.space()
            name = loads((yield from r.json()))
            yield from r.space()
            yield from r.expect(":")
            yield from body(r, w, name)
            yield from r.space()
            yield from r.expect("}")
            w.close()
            yield from r.ending(",")
            found = yield from r.ending("{", "]")
        if found is None or w.complete == before:
            raise Malformed("no call")
        yield from r.ending(end)

    return parse


def body(r: Reader, w: Writer, name: Any, id: str | None = None) -> Steps[None]:
    """The arguments of a call, which must be an object."""
    if (yield from r.space()) != "{":
        raise Malformed("no arguments")
    w.open(name, id)
    yield from r.json(w.write)

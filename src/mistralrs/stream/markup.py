"""Parsers of calls as tags around raw values; the schema of a tool tells which values are strings."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mistralrs.stream.calls import Writer
from mistralrs.stream.jsontext import DEEPEST, Malformed, dumps, kind, kinds, loads
from mistralrs.stream.reader import Reader, Steps

STRING = frozenset({"string"})


@dataclass(frozen=True)
class Tags:
    """`call` is before a name, behind it, and the end; `argument` is before a key, behind it, and the end.

    Calling it parses; without anything behind a name, the next tag or line break ends it.
    """

    call: tuple[str, str, str]
    argument: tuple[str, str, str]
    closes: tuple[str, ...] = ()  # what may stand behind the last call
    value: str = ""  # before a value
    lines: bool = False  # values stand in lines of their own
    cdata: bool = False  # values may stand in CDATA sections
    inner: bool = True  # `call[0]` comes behind the mark that opens the block; else it is that mark

    def __call__(self, r: Reader, w: Writer) -> Steps[None]:
        """Read calls up to the end of their block."""
        if self.inner and not r.read.endswith(self.call[0]):
            yield from r.space()
            yield from r.expect(self.call[0])
        while True:
            yield from self.one(r, w)
            if not self.inner or (yield from r.ending(self.call[0], *self.closes)) != self.call[0]:
                return

    def one(self, r: Reader, w: Writer) -> Steps[None]:
        """Read one call behind the tag before its name."""
        _, middle, end = self.call
        name, found = yield from r.until(*([middle] if middle else ["\n", self.argument[0], end]))
        if not middle:
            r.back(found)
        w.open(name.strip())
        properties = w.tools.get(name.strip(), {}).get("properties") or {}
        before = "{"
        yield from r.space()
        while (yield from r.expect(self.argument[0], end)) != end:
            key, value = yield from self.pair(r, properties)
            w.write(f"{before}{dumps(key)}: {value}")
            before = ", "
            yield from r.space()
        w.write("{}" if before == "{" else "}")
        w.close()

    def pair(self, r: Reader, properties: Mapping[str, Any]) -> Steps[tuple[str, str]]:
        """Read an argument behind the tag before its key; return the key, and the value as JSON."""
        key, _ = yield from r.until(self.argument[1])
        key, declared, string = key.strip().partition('" string="')
        if self.value:
            yield from r.space()
            yield from r.expect(self.value)
        if self.cdata and (yield from r.word("<![CDATA[")):
            text, _ = yield from r.until("]]>")
            yield from r.expect(self.argument[2])
            return key, dumps(text)
        text, _ = yield from r.until(self.argument[2])
        if self.lines:
            text = text.removeprefix("\n").removesuffix("\n")
        if declared:
            return key, dumps(text) if string == "true" else dumps(loads(text))
        return key, typed(text, properties.get(key))


def typed(text: str, schema: Any) -> str:
    """A value that came as text, as JSON of a type that the schema wants."""
    wanted = kinds(schema)
    if wanted == STRING:
        return dumps(text)
    try:
        value = loads(text)
    except Malformed:
        return dumps(text if not wanted or "string" in wanted else python(text))
    return dumps(text) if "string" in wanted and kind(value) not in wanted else text.strip()


def python(text: str) -> Any:
    """The value of a Python literal, which models write now and then; other text as it is."""
    try:
        value = ast.literal_eval(text.strip())
        dumps(value)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError, Malformed):
        return text
    return value


@dataclass(frozen=True)
class Tree:
    """MiniMax M3: every tag behind a mark, one tag for each key, `item` for what is in an array."""

    mark: str
    close: str

    def __call__(self, r: Reader, w: Writer) -> Steps[None]:
        """Read calls up to the end of their block."""
        head = f'{self.mark}<invoke name="'
        yield from r.space()
        yield from r.expect(head)
        while True:
            name, _ = yield from r.until('">')
            schema = w.tools.get(name, {})
            arguments = yield from self.element(r, "invoke", {"type": "object", **schema}, 1)
            w.whole(name, arguments)
            if (yield from r.ending(head, self.close)) != head:
                return

    def element(self, r: Reader, tag: str, schema: Any, depth: int) -> Steps[Any]:
        """Read up to the end of a tag; return what is in it."""
        if depth > DEEPEST:
            raise Malformed(f"more than {DEEPEST} levels")
        schema = schema if isinstance(schema, Mapping) else {}
        text, pairs = "", []
        while True:
            before, _ = yield from r.until(f"{self.mark}<")
            text += before
            key, _ = yield from r.until(">")
            if key == f"/{tag}":
                break
            if key.startswith("/"):
                raise Malformed(f"<{key}> instead of </{tag}>")
            inner = schema.get("items") if key == "item" else None
            inner = inner or (schema.get("properties") or {}).get(key)
            pairs.append((key, (yield from self.element(r, key, inner, depth + 1))))
        return self.made(text, pairs, kinds(schema))

    def made(self, text: str, pairs: list[tuple[str, Any]], wanted: frozenset[str]) -> Any:
        """The value of an element."""
        if pairs and text.strip():
            raise Malformed("text between tags")
        if not text.strip():
            items = "object" not in wanted and all(key == "item" for key, _ in pairs)
            if "array" in wanted or (pairs and items):
                return [value for _, value in pairs]
            if pairs or "object" in wanted:
                return dict(pairs)
        return loads(typed(text, {"type": list(wanted)}))

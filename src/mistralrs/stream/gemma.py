"""Parser of calls as Gemma writes them: call:NAME{city:<|"|>Oslo<|"|>,days:3}, a JSON with quotes of its own."""

from dataclasses import dataclass
from typing import Any

from mistralrs.stream.calls import Writer
from mistralrs.stream.jsontext import DEEPEST, Malformed, loads
from mistralrs.stream.reader import Reader, Steps


@dataclass(frozen=True)
class Quoted:
    """Calls with strings between two `quote`, each up to `close`. Calling it parses one."""

    quote: str
    close: str

    def __call__(self, r: Reader, w: Writer) -> Steps[None]:
        """Read one call."""
        yield from r.expect("call:")
        name, _ = yield from r.until("{")
        arguments = yield from self.mapping(r, 1)
        yield from r.ending(self.close)
        w.whole(name.strip(), arguments)

    def mapping(self, r: Reader, depth: int) -> Steps[dict[str, Any]]:
        """Read key:value pairs up to a brace."""
        found: dict[str, Any] = {}
        while (yield from r.ending("}")) is None:
            if found:
                yield from r.expect(",")
            yield from r.space()
            quoted = yield from r.word(self.quote)
            key, _ = yield from r.until(self.quote if quoted else ":")
            if quoted:
                yield from r.space()
                yield from r.expect(":")
            found[key.strip()] = yield from self.value(r, depth)
            yield from r.space()
        return found

    def array(self, r: Reader, depth: int) -> Steps[list[Any]]:
        """Read values up to a bracket."""
        found: list[Any] = []
        while (yield from r.ending("]")) is None:
            if found:
                yield from r.expect(",")
            found.append((yield from self.value(r, depth)))
            yield from r.space()
        return found

    def value(self, r: Reader, depth: int) -> Steps[Any]:
        """Read a value."""
        if depth > DEEPEST:
            raise Malformed(f"more than {DEEPEST} levels")
        yield from r.space()
        opening = yield from r.word(self.quote, "{", "[")
        if opening == "{":
            return (yield from self.mapping(r, depth + 1))
        if opening == "[":
            return (yield from self.array(r, depth + 1))
        if opening:
            return (yield from r.until(self.quote))[0]
        return loads((yield from r.json()))

"""Parsers of calls whose name stands before the JSON of the arguments, perhaps with marks between them."""

import re
import secrets
import string
from collections.abc import Callable
from typing import Any

from mistralrs.stream.calls import Writer
from mistralrs.stream.jsontext import Malformed, loads
from mistralrs.stream.objects import Parser, body, objects
from mistralrs.stream.reader import Reader, Steps


def bodied(r: Reader, w: Writer) -> Steps[None]:
    """Functionary 3.1: <function=NAME>{...}</function>, and code behind <|python_tag|>."""
    if r.read.endswith("<|python_tag|>"):
        code = yield from r.rest()
        return w.whole("python", program(code))
    name, _ = yield from r.until(">")
    yield from body(r, w, name.strip())
    yield from r.ending("</function>")
    w.close()


def program(text: str) -> dict[str, Any]:
    """The arguments of a tool that runs code: an object as it is, anything else as the code."""
    try:
        value = loads(text)
    except Malformed:
        return {"code": text}
    return value if isinstance(value, dict) else {"code": value if isinstance(value, str) else text}


def named(r: Reader, w: Writer) -> Steps[None]:
    """GLM 4: a tool's name in a line of its own, then its arguments."""
    names, before = tuple(f"{name}\n" for name in w.tools), w.complete
    while found := (yield from (r.ending if w.complete > before else r.word)(*names)):
        yield from body(r, w, found.strip())
        w.close()
    if w.complete == before:
        raise Malformed("no name of a tool")


def addressed(r: Reader, w: Writer) -> Steps[None]:
    """Functionary 3.2: >>>NAME and a line break before arguments, >>>all before text; the prompt ends with >>>."""
    names = tuple(f"{name}\n" for name in w.tools)
    if (yield from r.expect("all\n", *names)) == "all\n":
        return w.forget()
    yield from body(r, w, r.read.removeprefix(">>>").strip())
    w.close()


def mistral(r: Reader, w: Writer) -> Steps[None]:
    """An array behind [TOOL_CALLS], or since version 11 NAME[ARGS]{...}, perhaps with a [CALL_ID]."""
    if (yield from r.space()) in ("[", "{"):
        return (yield from objects(r, w))
    name, mark = yield from r.until("[ARGS]", "[CALL_ID]", "{")
    id = None
    if mark == "[CALL_ID]":
        id, mark = yield from r.until("[ARGS]")
    if mark == "{":
        r.back("{")
    yield from body(r, w, name.strip(), id)
    w.close()


def mistral_id() -> str:
    """Nine letters and digits, which Mistral's templates insist on."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))


DEEPSEEK = (
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁calls▁end｜>",
)
KIMI = (
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
    "<|tool_calls_section_end|>",
)


def sections(
    marks: tuple[str, str, str, str], head: Callable[[Reader, Writer, str], Any]
) -> Parser:
    """Calls of a head and arguments between marks, and a mark behind the last; `head` opens the call."""
    begin, middle, end, last = marks

    def parse(r: Reader, w: Writer) -> Steps[None]:
        before = w.complete
        if r.read.endswith(begin):
            r.back(begin)
        while (yield from r.ending(begin, last)) == begin:
            text, _ = yield from r.until(middle)
            yield from head(r, w, text.strip())
            yield from r.ending("```")
            yield from r.ending(end)
            w.close()
        if w.complete == before:
            raise Malformed("no call")

    return parse


def deepseek_head(r: Reader, w: Writer, text: str) -> Steps[None]:
    """NAME, or in V3 and R1 the word function, then the name and a JSON fence."""
    if text == "function":
        text, _ = yield from r.until("\n")
        yield from r.space()
        yield from r.word("```json")
    yield from body(r, w, text.strip())


def kimi_head(r: Reader, w: Writer, text: str) -> Steps[None]:
    """functions.NAME:0 is both the id and the name."""
    yield from body(r, w, re.sub(r"^functions\.|:\d+$", "", text), text)


deepseek, kimi = sections(DEEPSEEK, deepseek_head), sections(KIMI, kimi_head)

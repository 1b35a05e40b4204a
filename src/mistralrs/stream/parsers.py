"""Parsers of tool calls, one for each way of writing them.

Published templates and model cards are the source; bodies vary within a family, so closing marks may be missing
and white space is free.
"""

import ast
import json
import re
import secrets
import string
from collections.abc import Iterator, Mapping
from typing import Any

from mistralrs.stream.calls import Writer
from mistralrs.stream.reader import Malformed, Reader, Steps

NAMES = {"name", "tool_name", "tool", "function"}
ARGUMENTS = {"arguments", "parameters", "args", "tool_parameters"}
OTHERS = {"id", "type", "index", "tool_call_id", "call_id"}

# --- JSON -----------------------------------------------------------------------------------------


def one_object(r: Reader, w: Writer, known: bool = False) -> Steps[None]:
    """{"name": ..., "arguments": {...}} in any order; with `known`, only of a tool that was offered."""
    name = id = held = None
    yield from r.expect("{")
    while (yield from r.space()) != "}":
        yield from r.word(",")
        if (yield from r.space()) != '"':
            raise Malformed("no key")
        key = loads((yield from r.json()))
        yield from r.space()
        yield from r.expect(":")
        opening = yield from r.space()
        if key in NAMES and opening == "{":  # OpenAI's form: {"function": {"name": ...}}
            yield from one_object(r, w, known)
            name = None
            held = ""
        elif key in NAMES:
            name = offered(loads((yield from r.json())), w, known)
        elif key in ARGUMENTS and opening == "{" and name:
            w.open(name, id)
            yield from r.json(w.write)
            held = ""
        elif key in ARGUMENTS:
            held = yield from r.json()
        elif key in OTHERS or not known:
            value = yield from r.json()
            id = loads(value) if key == "id" and value.startswith('"') else id
        else:
            raise Malformed(f"a key {key!r}")
    if held == "" and w.arguments is None:  # the nested call is complete
        r.take(1)
        return w.forget()
    if w.arguments is None:
        if name is None:
            raise Malformed("a call without a name")
        w.open(name, id)
        w.write(unquoted(held or "{}"))
    r.take(1)
    return w.close()


def offered(name: Any, w: Writer, known: bool) -> Any:
    """The name, which must be that of a tool if it must be known."""
    if known and name not in w.tools:
        raise Malformed(f"no tool is called {name!r}")
    return name


def loads(text: str) -> Any:
    """JSON, or Malformed."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise Malformed(str(error)) from None


def unquoted(text: str) -> str:
    """Arguments that came as JSON within a string."""
    value = loads(text)
    return value if isinstance(value, str) else "{}" if value is None else text


def objects(r: Reader, w: Writer, known: bool = False) -> Steps[None]:
    """One call, an array of calls, or calls one behind the other."""
    array, before = (yield from r.space()), w.complete
    if array == "[":
        r.take(1)
    while True:
        char = yield from r.peek()
        if char.isspace():
            yield from r.space()
        elif char in (",", ";") and w.complete > before:
            r.take(1)
        elif char == "{":
            yield from one_object(r, w, known)
        elif array == "[" and char == "]":
            r.take(1)
            return w.forget()
        elif array != "[" and w.complete > before:
            return
        else:
            raise Malformed(f"{r.text[:20]!r} is no call")


def closed(*ends: str) -> Any:
    """JSON calls, and perhaps one of the closing marks."""

    def parse(r: Reader, w: Writer) -> Steps[None]:
        yield from objects(r, w)
        yield from r.ending(*ends)

    return parse


def unmarked(r: Reader, w: Writer) -> Steps[None]:
    """The answer is nothing but calls of known tools, behind `<|python_tag|>` or not."""
    tagged, opening = bool(r.read), (yield from r.space())
    if opening in ("{", "["):
        yield from objects(r, w, known=True)
        return (yield from r.ending("</tool_call>"))
    if not tagged:
        raise Malformed("no call")
    text = yield from r.rest()
    for name, arguments in python_calls(text.replace(".call(", "(", 1)):
        w.whole(name, arguments)


def named(r: Reader, w: Writer) -> Steps[None]:
    """A tool's name in a line of its own, then its arguments."""
    names, before = tuple(f"{name}\n" for name in w.tools), w.complete
    while found := (yield from r.word(*names)):
        if (yield from r.space()) != "{":
            raise Malformed("no arguments")
        w.open(found.strip())
        yield from r.json(w.write)
        w.close()
        yield from r.space()
    if w.complete == before:
        raise Malformed("no name of a tool")


# --- marks between name and arguments ---------------------------------------------------------------


def mistral(r: Reader, w: Writer) -> Steps[None]:
    """An array behind [TOOL_CALLS], or since version 11 NAME[ARGS]{...}, perhaps with a [CALL_ID]."""
    if (yield from r.space()) in ("[", "{"):
        return (yield from objects(r, w))
    name, mark = yield from r.until("[ARGS]", "[CALL_ID]", "{")
    id = None
    if mark == "[CALL_ID]":
        id, mark = yield from r.until("[ARGS]")
    if mark == "{":
        r.text, r.read = "{" + r.text, r.read[:-1]
    w.open(name.strip(), id)
    yield from r.json(w.write)
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


def deepseek(r: Reader, w: Writer) -> Steps[None]:
    """NAME and arguments with a mark between them; V3 and R1 write `function`, the name, and a JSON fence."""
    begin, middle, end, last = DEEPSEEK
    before = w.complete
    while True:
        yield from r.space()
        if (yield from r.word(begin, last)) != begin:
            break
        name, _ = yield from r.until(middle)
        fenced = name.strip() == "function"
        if fenced:
            name, _ = yield from r.until("\n")
            yield from r.space()
            yield from r.word("```json")
        w.open(name.strip())
        yield from r.json(w.write)
        yield from r.ending("```")
        yield from r.ending(end)
        w.close()
    if w.complete == before:
        raise Malformed("no call")


KIMI = (
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
    "<|tool_calls_section_end|>",
)


def kimi(r: Reader, w: Writer) -> Steps[None]:
    """functions.NAME:0 is both the id and the name."""
    begin, middle, end, last = KIMI
    before = w.complete
    while True:
        yield from r.space()
        if (yield from r.word(begin, last)) != begin:
            break
        id, _ = yield from r.until(middle)
        name = re.sub(r"^functions\.|:\d+$", "", id.strip())
        w.open(name, id.strip())
        yield from r.json(w.write)
        yield from r.ending(end)
        w.close()
    if w.complete == before:
        raise Malformed("no call")


# --- XML --------------------------------------------------------------------------------------------


def typed(w: Writer, name: str, key: str, text: str) -> Any:
    """A value that came as text, as the schema wants it."""
    schema = (w.tools.get(name, {}).get("properties") or {}).get(key) or {}
    if schema.get("type") == "string":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def argument_writer(w: Writer, name: str) -> Any:
    """Write arguments one by one as an object."""
    count = 0

    def write(key: str, text: str) -> None:
        nonlocal count
        value = json.dumps(typed(w, name, key, text), ensure_ascii=False)
        w.write(f"{', ' if count else '{'}{json.dumps(key)}: {value}")
        count += 1

    def close() -> None:
        w.write("}" if count else "{}")
        w.close()

    return write, close


def glm(r: Reader, w: Writer) -> Steps[None]:
    """NAME, then pairs of <arg_key> and <arg_value>."""
    yield from r.space()
    name, mark = yield from r.until("<arg_key>", "</tool_call>", "\n")
    w.open(name.strip())
    write, close = argument_writer(w, name.strip())
    while mark != "</tool_call>":
        if mark != "<arg_key>":
            yield from r.space()
            mark = yield from r.expect("<arg_key>", "</tool_call>")
            continue
        key, _ = yield from r.until("</arg_key>")
        yield from r.space()
        yield from r.expect("<arg_value>")
        value, mark = yield from r.until("</arg_value>")
        write(key.strip(), value)
    close()


def functions(r: Reader, w: Writer) -> Steps[None]:
    """<function=NAME>, then <parameter=KEY>VALUE</parameter>."""
    if not r.read.startswith("<function="):
        yield from r.space()
        yield from r.expect("<function=")
    name, _ = yield from r.until(">")
    w.open(name.strip())
    write, close = argument_writer(w, name.strip())
    while True:
        yield from r.space()
        if (yield from r.expect("<parameter=", "</function>")) == "</function>":
            break
        key, _ = yield from r.until(">")
        value, _ = yield from r.until("</parameter>")
        write(key.strip(), value.removeprefix("\n").removesuffix("\n"))
    yield from r.ending("</tool_call>", "</seed:tool_call>")
    close()


# --- Python -----------------------------------------------------------------------------------------


def pythonic(end: str) -> Any:
    """[f(a=1), g(b="x")] up to a closing mark."""

    def parse(r: Reader, w: Writer) -> Steps[None]:
        text, _ = yield from r.until(end)
        for name, arguments in list(python_calls(text)):
            w.whole(name, arguments)

    return parse


LITERALS = {"true": True, "false": False, "null": None}


def python_calls(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The calls in Python code that consists of calls, in a list, one by one, or printed."""
    try:
        body = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise Malformed(f"no Python ({error})") from None
    if not body:
        raise Malformed("no call")
    for line in body:
        value = getattr(line, "value", None)
        for call in value.elts if isinstance(value, (ast.List, ast.Tuple)) else [value]:
            yield python_call(call)


def python_call(node: Any) -> tuple[str, Mapping[str, Any]]:
    """One call with literal keyword arguments."""
    if not isinstance(node, ast.Call):
        raise Malformed("no call")
    name = ast.unparse(node.func)
    if name == "print" and len(node.args) == 1:
        return python_call(node.args[0])
    if node.args or not all(word.arg for word in node.keywords):
        raise Malformed("arguments without names")
    return name, {str(word.arg): literal(word.value) for word in node.keywords}


def literal(node: ast.expr) -> Any:
    """The value of a literal, in Python's or JSON's spelling."""
    if isinstance(node, ast.Name) and node.id in LITERALS:
        return LITERALS[node.id]
    try:
        return json.loads(json.dumps(ast.literal_eval(node)))
    except (ValueError, TypeError) as error:
        raise Malformed(f"no literal ({error})") from None

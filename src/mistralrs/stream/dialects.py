"""How families of models write tool calls: one parser each, and which chat template tells of it.

Published templates and model cards are the source; bodies vary within a family, so closing marks may be missing
and white space is free.
"""

import ast
import json
import re
import secrets
import string
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from mistralrs.stream.calls import Dialect, Writer
from mistralrs.stream.reader import Malformed, Reader, Steps
from mistralrs.stream.shapes import Shape, keywords, marked

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


# --- which ------------------------------------------------------------------------------------------

TAG, END = "<tool_call>", "</tool_call>"
NAME_FIRST = '{"name": "NAME", "arguments": '
FENCED = Shape(
    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\n", "\n```<｜tool▁call▁end｜>",
    "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>",
)  # fmt: skip
UNFENCED = replace(
    FENCED, head="<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>", tail="<｜tool▁call▁end｜>", between=""
)

ARRAY = Dialect(
    "mistral", ("[TOOL_CALLS]",), mistral, Shape(NAME_FIRST, "}", "[TOOL_CALLS][", "]", ", "),
    ("[ARGS]", "[CALL_ID]"), new_id=mistral_id,
)  # fmt: skip
FENCES = Dialect("deepseek", ("<｜tool▁calls▁begin｜>",), deepseek, FENCED, DEEPSEEK)
HERMES = Dialect("hermes", (TAG,), closed(END), Shape(f"{TAG}\n{NAME_FIRST}", "}\n" + END), (END,))
JSON = Dialect("json", (TAG,), unmarked, Shape(NAME_FIRST, "}", between="; "), (END,), bare=True)
PYTHONIC = Dialect(
    "pythonic", ("<|tool_call_start|>",), pythonic("<|tool_call_end|>"),
    Shape("NAME(", ")", "<|tool_call_start|>[", "]<|tool_call_end|>", ", ", keywords), ("<|tool_call_end|>",),
)  # fmt: skip
GRANITE = Dialect(
    "granite", ("<|tool_call|>", TAG), closed("<|/tool_call|>", END),
    Shape(NAME_FIRST, "}", "<|tool_call|>[", "]", ", "), ("<|/tool_call|>", END),
)  # fmt: skip
HARMONY = Dialect(
    "harmony", (), unmarked,
    Shape("<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>", "<|call|>", several=False),
)  # fmt: skip

# Words that a chat template has all of, and the dialect; the first row that fits counts.
DIALECTS: tuple[tuple[tuple[str, ...], Dialect], ...] = (
    (("<|tool_calls_section_begin|>",), Dialect(
        "kimi", ("<|tool_calls_section_begin|>",), kimi,
        Shape("<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>", "<|tool_call_end|>",
              "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", several=False),
        KIMI,
    )),
    (("<｜tool▁calls▁begin｜>", "```json"), FENCES),
    (("<｜tool▁calls▁begin｜>",), replace(FENCES, shape=UNFENCED)),
    (("[TOOL_CALLS]", "[ARGS]"), replace(ARRAY, shape=Shape("[TOOL_CALLS]NAME[ARGS]", between=""))),
    (("[TOOL_CALLS]",), ARRAY),
    (("<arg_key>", TAG), Dialect(
        "glm", (TAG,), glm,
        Shape(f"{TAG}NAME\n", END,
              arguments=marked("<arg_key>KEY</arg_key>\n", "<arg_value>", "</arg_value>\n")),
        (END, "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    )),
    (("<function=", "<parameter="), Dialect(
        "functions", (TAG, "<seed:tool_call>", "<function="), functions,
        Shape(f"{TAG}\n<function=NAME>\n", f"</function>\n{END}",
              arguments=marked("<parameter=KEY>\n", "", "\n</parameter>\n")),
        (END, "</seed:tool_call>"),
    )),
    (("<|tool_call_start|>",), PYTHONIC),
    (("<|tool_list_start|>",), PYTHONIC),
    (("<|tool_call|>",), GRANITE),
    (("<|START_ACTION|>",), Dialect(
        "cohere", ("<|START_ACTION|>",), closed("<|END_ACTION|>"),
        Shape('{"tool_call_id": "0", "tool_name": "NAME", "parameters": ', "}", "<|START_ACTION|>[",
              "]<|END_ACTION|>", several=False),
        ("<|END_ACTION|>",),
    )),
    (("functools",), Dialect(
        "functools", ("functools",), objects, Shape(NAME_FIRST, "}", "functools[", "]", ", "),
    )),
    (("tool_code",), Dialect(
        "gemma", ("```tool_code",), pythonic("```"),
        Shape("NAME(", ")", "```tool_code\n", "\n```", "\n", keywords),
    )),
    ((TAG,), HERMES),
    (("<|python_tag|>",), Dialect(
        "llama", ("<|python_tag|>",), unmarked,
        Shape('{"name": "NAME", "parameters": ', "}", between="; "), bare=True,
    )),
    (("<|observation|>",), Dialect("glm4", (), named, Shape("NAME\n", several=False), bare=True)),
)  # fmt: skip


def dialect_of(template: str) -> Dialect:
    """The dialect that a chat template names; JSON calls alone where it names none."""
    return next((d for words, d in DIALECTS if all(word in template for word in words)), JSON)

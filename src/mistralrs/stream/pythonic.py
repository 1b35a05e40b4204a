"""Parsers of calls as Python code, which is read and never run."""

import ast
from collections.abc import Callable, Mapping
from typing import Any

from mistralrs.stream.calls import Writer
from mistralrs.stream.jsontext import Malformed
from mistralrs.stream.reader import Reader, Steps

LITERALS = {"true": True, "false": False, "null": None}
BAD = (SyntaxError, ValueError, TypeError, MemoryError, RecursionError)


def pythonic(end: str) -> Callable[[Reader, Writer], Steps[None]]:
    """[f(a=1), g(b="x")] up to a closing mark."""

    def parse(r: Reader, w: Writer) -> Steps[None]:
        text, _ = yield from r.until(end)
        for name, arguments in python_calls(text):
            w.whole(name, arguments)

    return parse


def python_calls(text: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The calls in Python code that consists of calls, in a list, one by one, or printed."""
    try:
        body = ast.parse(text.strip()).body
    except BAD as error:
        raise Malformed(f"no Python ({error})") from None
    calls = [python_call(call) for line in body for call in listed(getattr(line, "value", None))]
    if not calls:
        raise Malformed("no call")
    return calls


def listed(value: Any) -> list[Any]:
    """What is in a list, or the value itself."""
    return value.elts if isinstance(value, (ast.List, ast.Tuple)) else [value]


def python_call(node: Any, printed: bool = False) -> tuple[str, Mapping[str, Any]]:
    """One call with literal keyword arguments."""
    if not isinstance(node, ast.Call):
        raise Malformed("no call")
    name = dotted(node.func)
    if name == "print" and len(node.args) == 1 and not printed:
        return python_call(node.args[0], printed=True)
    if node.args or not all(word.arg for word in node.keywords):
        raise Malformed("arguments without names")
    return name, {str(word.arg): literal(word.value) for word in node.keywords}


def dotted(node: ast.expr) -> str:
    """A name, perhaps with dots."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise Malformed("a call without a name")
    return ".".join([node.id, *reversed(parts)])


def literal(node: ast.expr) -> Any:
    """The value of a literal, in Python's or JSON's spelling."""
    try:
        return ast.literal_eval(_Constants().visit(node))
    except BAD as error:
        raise Malformed(f"no literal ({error})") from None


class _Constants(ast.NodeTransformer):
    """Turns the constants of JSON into those of Python."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(LITERALS[node.id]) if node.id in LITERALS else node

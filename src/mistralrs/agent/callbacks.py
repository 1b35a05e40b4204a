"""The user's own functions as tools."""

import asyncio
import inspect
import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from mistralrs.api import check, tools
from mistralrs.api.errors import ToolError
from mistralrs.api.toolbox import Outcome, Tool

Callback = Callable[[str, dict[str, Any]], Any]


def callback_tools(plain: Any, described: Any) -> list[Tool]:
    """Check `Runner(tool_callbacks=..., tool_callbacks_with_tools=...)` and make tools of them."""
    where, also = "tool_callbacks", "tool_callbacks_with_tools"
    found = [
        Tool(name, partial(start, checked(f"{where}[{name!r}]", function), name))
        for name, function in table(where, plain).items()
    ]
    names = {tool.name for tool in found}
    for name, pair in table(also, described).items():
        if name in names:
            raise ToolError(f"{also}[{name!r}]: {where} has this name too; give it once")
        found.append(with_schema(f"{also}[{name!r}]", name, pair))
    return found


def table(where: str, value: Any) -> dict[str, Any]:
    """A mapping from names; nothing for None."""
    found: dict[str, Any] = check.table(check.name, lambda _, v: v)(where, value or {})
    return found


def with_schema(where: str, name: str, pair: Any) -> Tool:
    """A tool of a function and its schema."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise check.wrong_type(where, "a pair (function, schema)", pair)
    schema = json.loads(tools.schemas(f"{where}[1]", pair[1])[0])
    if (named := schema["function"]["name"]) != name:
        raise ToolError(
            f"{where}[1].function.name: is {named!r}; write {name!r}, the key it has here"
        )
    return Tool(name, partial(start, checked(f"{where}[0]", pair[0]), name), schema)


def checked(where: str, function: Any) -> Callback:
    """A function that can be called with a name and a dict of arguments."""
    check.function(where, function)
    try:
        inspect.signature(function).bind("name", {})
    except TypeError as error:
        raise ToolError(
            f"{where}: is called as function(name, arguments) and does not take that ({error}); "
            "write def tool(name: str, arguments: dict) -> str"
        ) from None
    except ValueError:  # a builtin without a known signature
        pass
    return function


def start(function: Callback, name: str, arguments: dict[str, Any]) -> "Future[Outcome]":
    """Call a function in a thread of its own, which does not keep Python from ending."""
    return in_thread(lambda: Outcome(as_text(name, function(name, arguments))), f"tool-{name}")


def in_thread(work: Callable[[], Outcome], name: str) -> "Future[Outcome]":
    """Do `work` in a daemon thread."""
    future: Future[Outcome] = Future()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except BaseException as error:  # told to the model, whatever it is
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def as_text(name: str, result: Any) -> str:
    """What a function returned, as text: strings as they are, anything else as JSON."""
    if inspect.iscoroutine(result):
        result = asyncio.run(result)
    if isinstance(result, str):
        return result
    try:
        return json.dumps(result, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ToolError(f"tool '{name}' returned what is neither text nor JSON: {error}") from None

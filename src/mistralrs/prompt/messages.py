"""Messages and tools of a request, in the one form that chat templates read.

The request checked their shape when it was made; what depends on the model is checked here.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mistralrs.api.errors import MediaError, RequestError

Message = dict[str, Any]
BUILTIN = ("browser", "python", "code_interpreter", "web_search", "brave_search", "wolfram_alpha")


def normalize(messages: str | Sequence[Mapping[str, Any]]) -> list[Message]:
    """Return messages with text contents; a plain string is one user message."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    return [_message(index, message) for index, message in enumerate(messages)]


def parse_tools(schemas: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return tool schemas, each a JSON text, as objects; `arguments` is another name for `parameters`."""
    return [_tool(schema) for schema in schemas or ()]


def builtin_tools(tools: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the tools that some models were trained to know without a schema."""
    names = [tool["function"]["name"] for tool in tools]
    return [name for name in BUILTIN if name in names]


def with_arguments(messages: Sequence[Message], form: Callable[[Any], Any]) -> list[Message]:
    """Return messages with the arguments of every earlier tool call passed through `form`."""
    return [
        {**message, "tool_calls": [_call(call, form) for call in message["tool_calls"]]}
        if message.get("tool_calls")
        else message
        for message in messages
    ]


def as_object(arguments: Any) -> Any:
    """Return JSON text as the value it spells; anything else as it is."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def as_text(arguments: Any) -> Any:
    """Return arguments as JSON text."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _message(index: int, message: Mapping[str, Any]) -> Message:
    content = message.get("content")
    if not isinstance(content, list):
        return dict(message)
    return {**message, "content": _joined(index, message["role"], content)}


def _joined(index: int, role: str, parts: Sequence[Mapping[str, Any]]) -> str:
    """Return the texts of a part list, joined with one space; only a user's list may have several parts."""
    if len(parts) > 1 and role != "user":
        raise RequestError(
            f"messages[{index}] has {len(parts)} content parts, which only the role user may have; "
            f"join them into one text for the role {role}"
        )
    return " ".join(_text(index, part) for part in parts)


def _text(index: int, part: Mapping[str, Any]) -> str:
    kind = part["type"]
    if kind != "text":
        raise MediaError(
            f"messages[{index}] has a part of type {kind}, but this model reads only text; remove the part "
            "or load a model for this kind of media with Which.VisionPlain"
        )
    return part["text"]


def _tool(schema: str) -> dict[str, Any]:
    tool = json.loads(schema)
    function = tool["function"].items()
    renamed = {"parameters" if key == "arguments" else key: value for key, value in function}
    return {**tool, "function": renamed}


def _call(call: Any, form: Callable[[Any], Any]) -> Any:
    """Return one tool call, in the nested or the flat form, with its arguments passed through `form`."""
    if not isinstance(call, Mapping):
        return call
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": _call(call["function"], form)}
    return {**call, "arguments": form(call["arguments"])} if "arguments" in call else call

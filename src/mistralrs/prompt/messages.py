"""Messages and tools as users write them, in the one form that chat templates read."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mistralrs.api.errors import MediaError, RequestError, ToolError

Message = dict[str, Any]
MEDIA = {"image_url": "images", "image": "images", "audio_url": "audio", "input_audio": "audio"}
MEDIA |= {"audio": "audio", "video_url": "video", "video": "video"}
BUILTIN = ("browser", "python", "code_interpreter", "web_search", "brave_search", "wolfram_alpha")


def normalize(messages: str | Sequence[Mapping[str, Any]]) -> list[Message]:
    """Return messages with text contents; a plain string is one user message."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if not messages:
        raise RequestError("messages is empty; send at least one message")
    return [_message(index, message) for index, message in enumerate(messages)]


def parse_tools(schemas: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return tool schemas, each a JSON text, as objects; `arguments` is another name for `parameters`."""
    return [_tool(index, schema) for index, schema in enumerate(schemas or ())]


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
    role = message.get("role") if isinstance(message, Mapping) else None
    if not isinstance(role, str):
        raise RequestError(
            f'messages[{index}] needs a role, for example {{"role": "user", "content": "Hello"}}'
        )
    content = message.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        return {**message, "content": _joined(index, role, content)}
    if isinstance(content, str) or (content is None and role == "assistant"):
        return dict(message)
    raise RequestError(f"messages[{index}] needs content: a string or a list of parts")


def _joined(index: int, role: str, parts: Sequence[Any]) -> str:
    """Return the texts of a part list, joined with one space; only a user's list may have several parts."""
    texts = [_text(index, part) for part in parts]
    if not texts:
        raise RequestError(f"messages[{index}] has no content parts; add one or send a string")
    if len(texts) > 1 and role != "user":
        raise RequestError(
            f"messages[{index}] has {len(texts)} content parts, which only the role user may have; "
            f"join them into one text for the role {role}"
        )
    return " ".join(texts)


def _text(index: int, part: Any) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in MEDIA:
        raise MediaError(
            f"messages[{index}] has a part of type {kind}, but this model takes no {MEDIA[kind]}; remove "
            "the part or load a model that does, such as a Which.VisionPlain"
        )
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return part["text"]
    raise RequestError(
        f'messages[{index}] has a part without text; write parts as {{"type": "text", "text": "..."}}'
    )


def _tool(index: int, schema: str) -> dict[str, Any]:
    try:
        tool = json.loads(schema)
    except (TypeError, ValueError) as error:
        raise ToolError(
            f"tool_schemas[{index}] is not JSON ({error}); pass each tool as json.dumps(...)"
        ) from error
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ToolError(
            f"tool_schemas[{index}] needs a function with a name, for example "
            '{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}'
        )
    renamed = {
        "parameters" if key == "arguments" else key: value for key, value in function.items()
    }
    return {**tool, "function": renamed}


def _call(call: Any, form: Callable[[Any], Any]) -> Any:
    """Return one tool call, in the nested or the flat form, with its arguments passed through `form`."""
    if not isinstance(call, Mapping):
        return call
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": _call(call["function"], form)}
    return {**call, "arguments": form(call["arguments"])} if "arguments" in call else call

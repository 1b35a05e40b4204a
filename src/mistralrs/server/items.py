"""Input items of the Responses API as messages, tools and formats of chats."""

import json
from typing import Any

from mistralrs.api.errors import RequestError
from mistralrs.server.bodies import Json

ROLES = {"developer": "system"}


def messages(given: str | list[Json]) -> list[Json]:
    """Return input items as messages."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return [message(item) for item in given if item.get("type") != "item_reference"]


def message(item: Json) -> Json:
    """Return one input item as a message."""
    match item.get("type", "message"):
        case "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments", "{}")}
            call = {"id": item.get("call_id"), "type": "function", "function": function}
            return {"role": "assistant", "content": None, "tool_calls": [call]}
        case "function_call_output":
            output = item.get("output")
            text = output if isinstance(output, str) else json.dumps(output)
            return {"role": "tool", "tool_call_id": item.get("call_id"), "content": text}
        case "message":
            content = item.get("content")
            parts = [part(p) for p in content] if isinstance(content, list) else content
            role: Any = ROLES.get(str(item.get("role")), item.get("role"))
            return {"role": role, "content": joined(parts)}
    raise RequestError(f"input: an item of type {item.get('type')!r} is not known")


def joined(parts: Any) -> Any:
    """Return parts that are all texts as one text."""
    if isinstance(parts, list) and all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def part(given: Json) -> Json:
    """Return a part of an input message in the form of chats."""
    match given.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": str(given.get("text", ""))}
        case "input_image":
            url = given.get("image_url") or f"data:image/png;base64,{given.get('image_data')}"
            return {
                "type": "image_url",
                "image_url": url if isinstance(url, dict) else {"url": url},
            }
        case "image_url" | "audio_url" | "input_audio" | "video_url":
            return given
    raise RequestError(f"input: a part of type {given.get('type')!r} is not known")


def tool(given: Json) -> Json:
    """Return a tool in the nested form of chats."""
    if given.get("type") != "function" or "function" in given:
        return given
    return {"type": "function", "function": {k: v for k, v in given.items() if k != "type"}}


def choice(given: Any) -> Any:
    """Return a tool choice in the nested form of chats."""
    return tool(given) if isinstance(given, dict) else given


def text_format(given: Json | None) -> Json | None:
    """Return what the text must look like as chats say it."""
    wanted = (given or {}).get("format") or {}
    if wanted.get("type") != "json_schema":
        return wanted or None
    return {"type": "json_schema", "json_schema": {k: v for k, v in wanted.items() if k != "type"}}

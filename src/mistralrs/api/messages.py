"""Checks of chat messages: roles, contents, parts and earlier tool calls."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from mistralrs.api import check
from mistralrs.api.errors import RequestError
from mistralrs.api.record import plain
from mistralrs.api.strict import did_you_mean

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
MEDIA = ("image_url", "image", "audio_url", "input_audio", "video_url", "video")
PARTS = ("text", *MEDIA)


def messages(where: str, value: Any) -> str | list[dict[str, Any]]:
    """A string, or a list of messages; the stored list is a copy without null entries."""
    if isinstance(value, str):
        return check.text(where, value)
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise check.wrong_type(where, "a string or a list of messages", value)
    return list(check.filled(check.items(_message))(where, value))


def _message(where: str, value: Any) -> dict[str, Any]:
    given = _mapping(where, value)
    role = _word(f"{where}.role", given.get("role"), ROLES, "role")
    message = {key: plain(v) for key, v in given.items() if v is not None}
    if "tool_calls" in message:
        message["tool_calls"] = check.items(_tool_call)(
            f"{where}.tool_calls", message["tool_calls"]
        )
    calls_tools = message.get("tool_calls") or message.get("function_call")
    if "content" not in message and role == "assistant" and calls_tools:
        return message | {"content": None}
    return message | {"content": _content(f"{where}.content", message.get("content"), role)}


def _mapping(where: str, value: Any) -> Mapping[str, Any]:
    if hasattr(value, "model_dump"):  # a message of ours or of the openai package, sent back
        value = value.model_dump()
    if not isinstance(value, Mapping):
        raise check.wrong_type(where, "a dict with 'role' and 'content'", value)
    return value


def _word(where: str, value: Any, words: tuple[str, ...], kind: str) -> str:
    if value not in words:
        listed = f"{kind.capitalize()}s: {', '.join(words)}"
        if not isinstance(value, str):
            raise RequestError(f"{where}: must be a {kind}, not {value!r}. {listed}")
        hint = did_you_mean(value, words)
        raise RequestError(f"{where}: {value!r} is not a {kind}{hint or '.'} {listed}")
    return str(value)


def _content(where: str, value: Any, role: str) -> str | list[dict[str, Any]]:
    if value is None:
        raise RequestError(
            f"{where}: is missing; only an assistant message with tool_calls goes without"
        )
    if isinstance(value, str):
        return check.text(where, value)
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise check.wrong_type(where, "a string or a list of parts", value)
    parts = [
        _part(f"{where}[{i}]", v) for i, v in enumerate(check.items(lambda _, v: v)(where, value))
    ]
    for i, part in enumerate(parts):
        if part["type"] != "text" and role != "user":
            raise RequestError(
                f"{where}[{i}]: only user messages hold {part['type']} parts, not {role!r}"
            )
    return list(check.filled(lambda _, v: v)(where, parts))


def _part(where: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"type": "text", "text": check.text(where, value)}
    part = dict(_mapping(where, value))
    kind = _word(f"{where}.type", part.get("type") or _only_known(part), PARTS, "part type")
    if kind not in part:
        raise RequestError(f"{where}: a part of type {kind!r} needs the key {kind!r}")
    if kind == "video" and "fps" in part:
        part["fps"] = RATE(f"{where}.fps", part["fps"])
    return part | {"type": kind, kind: READERS[kind](f"{where}.{kind}", part[kind])}


def _only_known(part: Mapping[str, Any]) -> str | None:
    known = [key for key in part if key in PARTS]
    return known[0] if len(known) == 1 else None


def _text(where: str, value: Any) -> str:
    return check.text(where, value)


def _url(where: str, value: Any) -> dict[str, Any]:
    media = {"url": value} if isinstance(value, str) else dict(_mapping(where, value))
    return media | {"url": check.name(f"{where}.url", media.get("url")).strip()}


def _audio(where: str, value: Any) -> dict[str, Any]:
    audio = dict(_mapping(where, value))
    return audio | {"data": check.name(f"{where}.data", audio.get("data"))}


def _image(where: str, value: Any) -> Any:
    """A picture in memory (Pillow's, an array, the bytes of a file), a path or a URL."""
    if isinstance(value, (str, os.PathLike)):
        return check.path(where, value)
    pixels = hasattr(value, "__array_interface__")
    if not pixels and not isinstance(value, (bytes, bytearray)):
        raise check.wrong_type(where, "a PIL image, a numpy array, bytes, a path or a URL", value)
    return value


def _film(where: str, value: Any) -> dict[str, Any]:
    film = _url(where, value)
    return film | {"fps": RATE(f"{where}.fps", film["fps"])} if "fps" in film else film


def _video(where: str, value: Any) -> Any:
    """Frames in memory (a list, an array), the bytes of a file, a path or a URL."""
    if isinstance(value, (list, tuple)):
        return [_frame(f"{where}[{i}]", frame) for i, frame in enumerate(value)]
    if hasattr(value, "__array_interface__") and getattr(value, "ndim", 0) == 4:
        return list(value)
    if not isinstance(value, (str, os.PathLike, bytes, bytearray)):
        raise check.wrong_type(
            where,
            "a list of frames, an array [frames, height, width, 3], bytes, a path or a URL",
            value,
        )
    return value if isinstance(value, (bytes, bytearray)) else check.path(where, value)


def _frame(where: str, value: Any) -> Any:
    if not hasattr(value, "__array_interface__"):
        raise check.wrong_type(where, "a PIL image or a numpy array", value)
    return value


RATE = check.number(above=0)
READERS: Mapping[str, check.Check] = {
    "text": _text,
    "image_url": _url,
    "image": _image,
    "audio_url": _url,
    "input_audio": _audio,
    "video_url": _film,
    "video": _video,
}


def _tool_call(where: str, value: Any) -> dict[str, Any]:
    call = dict(_mapping(where, value))
    function = dict(_mapping(f"{where}.function", call.get("function")))
    check.name(f"{where}.function.name", function.get("name"))
    if not isinstance(function.get("arguments", ""), (str, Mapping)):
        raise check.wrong_type(
            f"{where}.function.arguments", "JSON text or a dict", function["arguments"]
        )
    return call | {"function": function}

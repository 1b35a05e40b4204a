"""Ids of earlier tool calls, for templates that are particular about them."""

import re
import string
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from mistralrs.prompt.messages import Message

MISTRAL = "[TOOL_CALLS]"  # in templates that want ids of nine letters and digits
NINE = re.compile(r"[A-Za-z0-9]{9}")
LETTERS = string.ascii_letters + string.digits


def with_ids(messages: Sequence[Message]) -> list[Message]:
    """Return messages whose calls and results have ids of nine letters and digits, the same for the same id.

    A call without an id gets one, and a result without one belongs to the first call still without a result.
    """
    waiting: list[str] = []
    return [_message(number, message, waiting) for number, message in enumerate(messages)]


def nine(id: str) -> str:
    """Return an id of nine letters and digits as it is, and one like that for any other."""
    if NINE.fullmatch(id):
        return id
    number = int.from_bytes(sha256(id.encode(errors="replace")).digest(), "big")
    return "".join(LETTERS[number // 62**place % 62] for place in range(9))


def _message(number: int, message: Message, waiting: list[str]) -> Message:
    calls = message.get("tool_calls")
    if calls:
        named = [_call(f"call {number} {i}", call) for i, call in enumerate(calls)]
        waiting[:] = [call["id"] for call in named if isinstance(call, Mapping)]
        return {**message, "tool_calls": named}
    if message.get("role") != "tool":
        return message
    given = message.get("tool_call_id")
    id = nine(str(given)) if given else (waiting or [nine(f"result {number}")])[0]
    if id in waiting:
        waiting.remove(id)
    return {**message, "tool_call_id": id}


def _call(unnamed: str, call: Any) -> Any:
    return (
        {**call, "id": nine(str(call.get("id") or unnamed))} if isinstance(call, Mapping) else call
    )

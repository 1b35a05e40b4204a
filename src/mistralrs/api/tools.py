"""Checks of tool schemas and of the choice between tools."""

import json
from collections.abc import Mapping
from typing import Any

from mistralrs.api import check
from mistralrs.api.enums import ToolChoice
from mistralrs.api.errors import ToolError

_EXAMPLE = '{"type": "function", "function": {"name": ..., "parameters": {...}}}'


def schemas(where: str, value: Any) -> list[str]:
    """Tool schemas as JSON texts, or dicts that become JSON texts, with different names."""
    value = [value] if isinstance(value, (str, Mapping)) else value
    texts: list[str] = check.items(_schema)(where, value)
    names = [json.loads(text)["function"]["name"] for text in texts]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ToolError(f"{where}[{i}]: a tool named {name!r} is given already; rename one")
    return texts


def _schema(where: str, value: Any) -> str:
    text = (
        json.dumps(value, ensure_ascii=False)
        if isinstance(value, Mapping)
        else check.text(where, value)
    )
    try:
        tool = json.loads(text)
    except ValueError as error:
        raise ToolError(f"{where}: is not valid JSON ({error})") from None
    _function(where, tool)
    return text


def _function(where: str, tool: Any) -> None:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or tool.get("type", "function") != "function":
        raise ToolError(f"{where}: must have the form {_EXAMPLE}")
    name = function.get("name")
    if not isinstance(name, str) or not name.strip():
        raise ToolError(f"{where}.function.name: is missing; write {_EXAMPLE}")
    for key in ("parameters", "arguments"):
        if not isinstance(function.get(key) or {}, dict):
            raise ToolError(f"{where}.function.{key}: must be a JSON schema object")


def choice(where: str, value: Any) -> ToolChoice | str | dict[str, Any]:
    """A ToolChoice, "auto", "none", "required", a tool to force, or allowed tools."""
    if isinstance(value, Mapping):
        tool = dict(value)
        if tool.get("type") == "allowed_tools":
            _allowed(where, tool.get("allowed_tools"))
        else:
            _function(where, tool)
        return tool
    if isinstance(value, ToolChoice):
        return value
    word = check.one_of("auto", "none", "required")(where, value)
    return word if word == "required" else ToolChoice(word)


def _allowed(where: str, allowed: Any) -> None:
    if not isinstance(allowed, Mapping) or allowed.get("mode", "auto") not in ("auto", "required"):
        raise ToolError(
            f'{where}.allowed_tools: must be {{"mode": "auto" or "required", "tools": [...]}}'
        )
    for i, tool in enumerate(allowed.get("tools") or ()):
        _function(f"{where}.allowed_tools.tools[{i}]", tool)

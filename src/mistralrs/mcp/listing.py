"""What a server offers, page by page."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

log = logging.getLogger("mistralrs")

Ask = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]  # method, parameters -> result

PAGES = 1000  # a server that never ends its list is cut off here
METHOD_NOT_FOUND = -32601


async def everything(ask: Ask, method: str, key: str) -> list[Any]:
    """All items of a list that comes in pages; none where the server does not know the method."""
    items: list[Any] = []
    cursor = None
    for _ in range(PAGES):
        try:
            page = await ask(method, {} if cursor is None else {"cursor": cursor})
        except Exception as error:
            if getattr(error, "code", None) == METHOD_NOT_FOUND and cursor is None:
                return []
            raise
        found = page.get(key)
        items += found if isinstance(found, list) else []
        following = page.get("nextCursor")
        if following is None or following == cursor:
            return items
        cursor = following
    log.warning("a list of more than %d pages was cut off: %s", PAGES, method)
    return items


def sound_tools(server: str, listed: list[Any]) -> dict[str, dict[str, Any]]:
    """The tools by name, without those that no model could be told about."""
    tools: dict[str, dict[str, Any]] = {}
    for tool in listed:
        if (flaw := flaw_of(tool)) is None:
            tools[tool["name"]] = tool
        else:
            log.warning("MCP server '%s': a tool is left out, because %s", server, flaw)
    return tools


def flaw_of(tool: Any) -> str | None:
    """What is wrong with the listing of a tool."""
    name = tool.get("name") if isinstance(tool, dict) else None
    if not isinstance(name, str) or not name.strip():
        return "it has no name"
    schema = tool.get("inputSchema")
    if not isinstance(schema, dict):
        return f"the inputSchema of '{name}' is no JSON object"
    if schema.get("type", "object") != "object":
        return f"the inputSchema of '{name}' is of type {schema['type']!r} instead of 'object'"
    if not isinstance(schema.get("properties", {}), dict):
        return f"the properties in the inputSchema of '{name}' are no JSON object"
    return None

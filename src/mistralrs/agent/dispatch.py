"""Tools behind `tool_dispatch_url`: every call is a POST."""

import json
import urllib.error
import urllib.request
from concurrent.futures import Future
from functools import partial
from typing import Any

from mistralrs.agent.callbacks import in_thread
from mistralrs.api.enums import AgentToolKind, AgentToolSource
from mistralrs.api.errors import ToolError
from mistralrs.api.toolbox import Outcome, Tool

SECONDS = 60.0  # for an answer
LARGEST = 16 << 20  # bytes


def dispatched(name: str, url: str) -> Tool:
    """A tool that runs behind an address."""
    return Tool(
        name,
        partial(start, url, name),
        source=AgentToolSource.External,
        kind=AgentToolKind.External,
    )


def start(url: str, name: str, arguments: dict[str, Any]) -> "Future[Outcome]":
    """Send a call in a thread."""
    return in_thread(lambda: Outcome(post(url, name, arguments)), f"tool-{name}")


def post(url: str, name: str, arguments: dict[str, Any]) -> str:
    """POST `{"name", "arguments"}`; the answer is a text, a JSON string, or `{"content": text}`."""
    body = json.dumps({"name": name, "arguments": arguments}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            return answer(response.read(LARGEST).decode(errors="replace"))
    except urllib.error.HTTPError as error:
        raise ToolError(f"{url} answered HTTP {error.code}: {error.read(500).decode()}") from None
    except OSError as error:
        raise ToolError(f"{url} cannot be reached: {error}") from None


def answer(text: str) -> str:
    """The result in the body of an answer."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    content = value.get("content", value) if isinstance(value, dict) else value
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)

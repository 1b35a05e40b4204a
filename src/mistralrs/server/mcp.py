"""The chat as a tool of MCP, on a port of its own. Needs the extra `mcp`.

The protocol, its versions and the transport (streamable HTTP without sessions) are the official package's.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
from fastapi import FastAPI
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mistralrs import __version__
from mistralrs.aio import AsyncRunner
from mistralrs.api.errors import MistralRsError, RequestError
from mistralrs.api.responses import ChatCompletionResponse
from mistralrs.server.bodies import ChatBody
from mistralrs.server.metrics import Metrics
from mistralrs.server.work import count, left

ABOUT = "This server runs language models on its own machine. The tool `chat` asks one."
MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"type": "string", "enum": ["user", "assistant", "system"]},
        "content": {"type": "string"},
    },
    "required": ["role", "content"],
}
INPUT = {
    "type": "object",
    "properties": {
        "messages": {"type": "array", "items": MESSAGE, "description": "The chat so far."},
        "maxTokens": {"type": "integer", "minimum": 1, "description": "Longest answer in tokens."},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "model": {
            "type": "string",
            "description": "One of the server's models; default: its default.",
        },
    },
    "required": ["messages"],
}
CHAT = types.Tool(name="chat", description="Ask a language model.", input_schema=INPUT)


class Tools:
    """What the server offers and does."""

    def __init__(self, runner: AsyncRunner, metrics: Metrics) -> None:
        self.runner, self.metrics = runner, metrics

    async def list(self, context: Any, page: Any) -> types.ListToolsResult:
        """List the tools: the chat, if a model here writes text."""
        ids = [id for id, _ in self.runner.list_models_with_status()]
        does = [self.runner.runner.modalities(id) for id in ids]
        speaks = any(one is None or "text" in one["output"] for one in does)
        return types.ListToolsResult(tools=[CHAT] if speaks else [])

    async def call(self, context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Run a tool."""
        if params.name != CHAT.name:
            raise MCPError(types.METHOD_NOT_FOUND, f"there is no tool '{params.name}', only 'chat'")
        try:
            body = wanted(params.arguments or {})
            answer = await self.runner.send_chat_completion_request(body.request())
        except (RequestError, ValidationError) as error:
            raise MCPError(types.INVALID_PARAMS, f"chat: {first_line(error)}") from error
        except MistralRsError as error:
            raise MCPError(types.INTERNAL_ERROR, f"Tool execution error: {error}") from error
        assert isinstance(answer, ChatCompletionResponse)
        count(self.metrics, answer.usage)
        text = "\n".join(one.message.content or "" for one in answer.choices)
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


def wanted(arguments: dict[str, Any]) -> ChatBody:
    """Return the arguments of the tool as a body of the chat."""
    names = {"maxTokens": "max_tokens"}
    return ChatBody.model_validate(
        {names.get(k, k): v for k, v in arguments.items()} | {"stream": False}
    )


def first_line(error: Exception) -> str:
    """Return what is wrong with the arguments, and where."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


class Door:
    """An ASGI middleware that answers requests to one port with the MCP server, and passes on the others."""

    def __init__(self, app: ASGIApp, server: ASGIApp, port: int) -> None:
        self.app, self.server, self.port = app, server, port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or (scope.get("server") or (None, None))[1] != self.port:
            await self.app(scope, receive, send)
        elif scope["method"] == "POST":
            await cancelable(self.server, scope, receive, send)
        else:  # as the protocol says: a server without sessions has nothing to tell unasked
            await Response(status_code=405, headers={"Allow": "POST"})(scope, receive, send)


async def cancelable(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one request whose body has arrived, until the client leaves: the package does not look."""
    first = [await receive()]
    gone = asyncio.ensure_future(left(receive))

    async def hear() -> Message:
        if first:
            return first.pop()
        await asyncio.shield(gone)
        return {"type": "http.disconnect"}

    work = asyncio.ensure_future(app(scope, hear, send))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


def add(
    app: FastAPI, runner: AsyncRunner, metrics: Metrics, host: str, port: int, most: int
) -> None:
    """Serve MCP at /mcp of a port; bodies have at most `most` bytes."""
    tools = Tools(runner, metrics)
    server: Server[Any] = Server(
        "mistralrs",
        version=__version__,
        instructions=ABOUT,
        on_list_tools=tools.list,
        on_call_tool=tools.call,
    )
    inner = server.streamable_http_app(
        json_response=True, stateless_http=True, host=host, max_request_body_size=most
    )

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncGenerator[None]:
        async with server.session_manager.run():
            yield

    app.router.lifespan_context = life
    app.add_middleware(Door, server=inner, port=port)

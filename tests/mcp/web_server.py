"""An MCP server of the official package over HTTP: `web_server.py streamable-http|sse PORT`; its token is "secret"."""

import sys

import uvicorn
from mcp.server.mcpserver import MCPServer

server = MCPServer("web")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


app = server.streamable_http_app() if sys.argv[1] == "streamable-http" else server.sse_app()


async def guarded(scope, receive, send):
    """Let in who brings the token."""
    headers = dict(scope.get("headers", ()))
    if scope["type"] == "http" and headers.get(b"authorization") != b"Bearer secret":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})
        return
    await app(scope, receive, send)


uvicorn.run(guarded, host="127.0.0.1", port=int(sys.argv[2]), log_level="error")

"""The chat as a tool of MCP, tried with the official client and with ours."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx
import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from mistralrs import ChatCompletionRequest, McpClientConfigPy, McpServerConfigPy, McpServerSourcePy
from mistralrs.mcp.client import McpClient
from mistralrs.server.guard import Limits
from tests.server.conftest import Live
from tests.server.test_http import settled

SUM = [{"role": "user", "content": "What is 12 plus 7?"}]
HEADERS = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def server(demo):
    with Live(demo, mcp=True) as live:
        yield live


def talk(url, work, mode="auto", **headers):
    """What `work(client)` returns."""

    async def run():
        http = httpx2.AsyncClient(headers=headers, timeout=60)
        transport = streamable_http_client(url, http_client=http)
        async with http, Client(transport, mode=mode) as client:
            return await work(client)

    return asyncio.run(run())


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_official_client(server, demo, mode):
    """Both generations of the protocol."""

    async def work(client):
        (tool,) = (await client.list_tools()).tools
        arguments = {"messages": SUM, "temperature": 0}
        whole = await client.call_tool("chat", arguments)
        short = await client.call_tool("chat", arguments | {"maxTokens": 2, "model": "default"})
        return client.server_info, tool, whole, short

    info, tool, whole, short = talk(server.mcp_url, work, mode)
    assert (info.name, tool.name, tool.input_schema["required"]) == (
        "mistralrs",
        "chat",
        ["messages"],
    )
    request = ChatCompletionRequest(SUM, temperature=0.0)
    text = demo.send_chat_completion_request(request).choices[0].message.content
    assert (whole.is_error, [part.text for part in whole.content]) == (False, [text])
    assert text.startswith(short.content[0].text)
    assert short.content[0].text != text


WRONG = [  # name, arguments, code, part of the message
    ("chut", {}, -32601, "there is no tool 'chut'"),
    ("chat", {}, -32602, "messages: Field required"),
    ("chat", {"messages": SUM, "maxTokens": "9"}, -32602, "max_tokens"),
    ("chat", {"messages": SUM, "temperature": 9e99}, -32602, "temperature"),
    ("chat", {"messages": [{"role": "nobody", "content": "x"}]}, -32602, "role"),
    (
        "chat",
        {"messages": SUM, "model": "nobody"},
        -32603,
        "Tool execution error: no model 'nobody'",
    ),
    ("chat", {"messages": [{"role": "user", "content": "x " * 9000}]}, -32602, "maximum length"),
]


@pytest.mark.parametrize(("name", "arguments", "code", "message"), WRONG)
def test_mistakes(server, name, arguments, code, message):
    async def work(client):
        with pytest.raises(MCPError, match=message) as refused:
            await client.call_tool(name, arguments)
        return refused.value.code

    assert talk(server.mcp_url, work, "legacy") == code


def test_our_own_client(server):
    source = McpServerSourcePy.Http(server.mcp_url)
    config = McpClientConfigPy(servers=[McpServerConfigPy("chat", "Chat", source)])
    with McpClient(config) as client:
        client.wait()
        assert client.call("chat", {"messages": SUM, "temperature": 0}).text


RAW = [  # method, body, status, part of the answer
    ("GET", "", 405, ""),
    ("DELETE", "", 405, ""),
    ("POST", "{", 400, "-32700"),
    ("POST", '{"jsonrpc": "2.0", "id": 1, "method": "nothing"}', 200, "-32601"),
    ("POST", '{"jsonrpc": "2.0", "method": "notifications/initialized"}', 202, ""),
    ("POST", '{"jsonrpc": "2.0", "id": 7, "method": "ping"}', 200, '"result":{}'),
]


@pytest.mark.parametrize(("method", "body", "status", "message"), RAW)
def test_bare_requests(server, method, body, status, message):
    headers = HEADERS | {"Content-Type": "application/json"}
    found = httpx.request(method, server.mcp_url, content=body, headers=headers, timeout=60)
    assert (found.status_code, message in found.text) == (status, True), found.text


def test_every_port_has_its_own_paths(server):
    ping = {"jsonrpc": "2.0", "id": 7, "method": "ping"}
    base = server.mcp_url.removesuffix("/mcp")
    assert httpx.post(f"{server.url}/mcp", json=ping, headers=HEADERS).status_code == 404
    assert httpx.get(f"{server.url}/health").status_code == 200
    assert httpx.post(f"{base}/v1/chat/completions", json={"messages": "x"}).status_code == 404


def test_pages_of_other_names_are_refused(server):
    """A page that lets its own name lead to this machine."""
    ping = {"jsonrpc": "2.0", "id": 7, "method": "ping"}
    headers = HEADERS | {"Host": "evil.example"}
    assert httpx.post(server.mcp_url, json=ping, headers=headers).status_code == 421


def test_keys(demo):
    with Live(demo, mcp=True, limits=Limits(keys=("secret",))) as live:
        work = lambda client: client.call_tool("chat", {"messages": SUM, "maxTokens": 1})  # noqa: E731
        assert not talk(live.mcp_url, work, Authorization="Bearer secret").is_error
        with pytest.raises(Exception):  # noqa: B017, PT011
            talk(live.mcp_url, work, Authorization="Bearer wrong")
        assert httpx.post(live.mcp_url, json={}, headers=HEADERS).status_code == 401


def test_a_client_that_leaves_costs_nothing(server, demo):
    engine = demo._pipeline(None).engine
    story = {"messages": [{"role": "user", "content": "Tell me a story."}], "maxTokens": 4000}
    params = {"name": "chat", "arguments": story | {"ignore_eos": True}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}

    impatient = httpx.Timeout(10, read=0.5)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(
            httpx.post, server.mcp_url, json=body, headers=HEADERS, timeout=impatient
        )
        assert settled(lambda: engine.scheduler.running)
        with pytest.raises(httpx.ReadTimeout):
            asked.result()
    assert settled(lambda: not engine.scheduler.running)

"""The MCP client against real servers in child processes, sound and faulty ones."""

import gc
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mistralrs import McpClientConfigPy, McpServerConfigPy, McpServerSourcePy
from mistralrs.api import errors
from mistralrs.mcp.client import McpClient
from tests.mcp.odd_server import PIXEL, SCHEMA, TOOLS

HERE = Path(__file__).parent
NAMES = [tool["name"] for tool in TOOLS]


def odd(id="odd", fault="none", *more, **options):
    """A server with a fault."""
    given = {key: options.pop(key) for key in ("env", "work_dir") if key in options}
    args = [str(HERE / "odd_server.py"), fault, *map(str, more)]
    source = McpServerSourcePy.Process(sys.executable, args, **given)
    return McpServerConfigPy(id, id, source, **options)


@pytest.fixture
def connect():
    """Make clients that are closed afterwards."""
    clients = []

    def make(*servers, **options):
        clients.append(McpClient(McpClientConfigPy(list(servers), **options)))
        clients[-1].wait()
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def until(condition, seconds=15):
    """Wait for something that happens in another thread or process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (
        Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if sys.platform == "linux" else True
    )


def pids(file):
    return [int(line) for line in file.read_text().split()] if file.exists() else []


# What is offered.


def test_tools_reach_the_model_unchanged(connect):
    (tool, *_) = connect(odd(tool_prefix="p")).tools()
    function = {"name": "p_echo", "description": "The tool echo.", "parameters": SCHEMA}
    assert tool.schema == {"type": "function", "function": function}


@pytest.mark.parametrize("fault", ["none", "pages", "broken", "garbage"])
def test_tools_are_found(connect, fault, caplog):
    assert [tool.name for tool in connect(odd(fault=fault)).tools()] == NAMES
    if fault == "broken":
        told = [r.getMessage() for r in caplog.records]
        assert len(told) == 6
        assert all("a tool is left out, because" in line for line in told)


def test_changed_lists_are_read_again(connect):
    client = connect(odd(fault="changing"))
    until(lambda: "new" in [tool.name for tool in client.tools()])


def test_of_one_name_the_last_server_counts(connect, caplog):
    client = connect(odd("one", env={"ODD": "1"}), odd("two", env={"ODD": "2"}))
    assert len(client.tools()) == len(client.tools()) == len(NAMES)
    assert json.loads(client.call("environment").text)[0] == "2"
    warnings = [r for r in caplog.records if "'echo'; that of 'two' is used" in r.getMessage()]
    assert len(warnings) == 1, "told once"


def test_prefixes_keep_names_apart(connect):
    client = connect(odd("one", tool_prefix="a"), odd("two", tool_prefix="b"))
    assert [t.name for t in client.tools()] == [f"{p}_{n}" for p in "ab" for n in NAMES]


def test_disabled_servers_stay_off(connect):
    assert connect(odd(enabled=False)).status() == {}


# Calls.

RESULTS = {
    "echo": ({"a": 1, "ä": [None]}, '{"a": 1, "\\u00e4": [null]}'),
    "odd": (
        {},
        "one\n[Image: image/png]\n[Audio: audio/wav]\ninside\n[Resource: mem://b]\n[Resource: mem://c]",
    ),
    "structured": ({}, '{"a": 1}'),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results(connect, name):
    arguments, text = RESULTS[name]
    outcome = connect(odd()).call(name, arguments)
    assert outcome.text == text
    assert outcome.images == ((PIXEL,) if name == "odd" else ())


def test_environment_and_folder(connect, tmp_path):
    client = connect(odd(env={"ODD": "yes"}, work_dir=str(tmp_path)))
    assert json.loads(client.call("environment").text) == ["yes", str(tmp_path), True]


def test_calls_are_limited(connect):
    client = connect(odd(), max_concurrent_calls=2)
    slow = next(tool for tool in client.tools() if tool.name == "slow")
    futures = [slow.start({"a": 50}) for _ in range(6)]
    assert max(int(future.result().text) for future in futures) == 2


def test_resources(connect):
    client = connect(odd("all"), odd("some", resources=["mem://a*"]))
    assert [r["uri"] for r in client.resources()] == ["mem://a", "mem://b", "mem://a"]
    assert client.read_resource("all", "mem://b")[0].text == "text of mem://b"
    with pytest.raises(errors.ToolError, match="matches no pattern"):
        client.read_resource("some", "mem://b")
    with pytest.raises(errors.ToolError, match="no MCP server 'none'"):
        client.read_resource("none", "mem://b")


# Faults.

FAILING = {
    "fail": ("none", "fail", "it failed"),
    "slow": ("none", "slow", "MCP server 'odd', tool 'slow': no answer within 0.5 s"),
    "die": ("none", "die", "MCP server 'odd', tool 'die': the server went away during the call"),
    "broken result": ("broken", "echo", "the server's answer is not valid MCP"),
    "unknown": ("none", "nothing", "no MCP tool 'nothing'; there are: echo, fail"),
}


@pytest.mark.parametrize(("fault", "name", "message"), FAILING.values(), ids=FAILING)
def test_failing_calls(connect, fault, name, message):
    client = connect(odd(fault=fault), tool_timeout_secs=0.5)
    with pytest.raises(errors.ToolError, match=message):
        client.call(name, {"a": 5000})


ABSENT = {
    "no program": (McpServerSourcePy.Process("/no/such/program"), "No such file"),
    "exits": (odd(fault="exits").source, "ODD_KEY is not set"),
    "no http server": (
        McpServerSourcePy.Http("http://127.0.0.1:9/mcp"),
        "connection attempts failed",
    ),
    "no WebSocket server": (
        McpServerSourcePy.WebSocket("ws://127.0.0.1:9/"),
        "Connect call failed",
    ),
}


@pytest.mark.parametrize(("source", "why"), ABSENT.values(), ids=ABSENT)
def test_an_absent_server_does_not_stop_the_others(connect, source, why, caplog):
    bad = McpServerConfigPy("bad", "bad", source)
    client = connect(bad, odd("good"))
    assert [tool.name for tool in client.tools()] == NAMES
    status = client.status()
    assert status["good"] == "connected"
    assert why in status["bad"]
    assert any(
        "MCP server 'bad'" in r.getMessage() and why in r.getMessage() for r in caplog.records
    )


@pytest.mark.parametrize("fault", ["silent", "silent list"])
def test_a_silent_server_is_given_up(fault, monkeypatch):
    monkeypatch.setattr("mistralrs.mcp.connection.patience", lambda source: 1.0)
    with McpClient(McpClientConfigPy([odd("bad", fault), odd("good")])) as client:
        client.wait()
        assert client.status()["good"] == "connected"
        assert (
            "no connection within 1 s" in client.status()["bad"]
            or "timed out" in client.status()["bad"]
        )
        assert client.call("echo", {"a": 1}).text == '{"a": 1}'


@pytest.mark.parametrize("fault", ["flood", "endless"])
def test_floods_leave_the_others_alone(connect, fault):
    client = connect(odd("bad", fault, tool_prefix="bad"), odd("good"), tool_timeout_secs=5)
    for _ in range(20):
        assert client.call("echo", {"a": 1}).text == '{"a": 1}'
    if fault == "flood":
        assert client.call("bad_echo", {"a": 1}).text == '{"a": 1}'


def test_a_server_that_died_comes_back(connect, tmp_path):
    log = tmp_path / "starts"
    client = connect(odd("odd", "none", log))
    with pytest.raises(errors.ToolError, match="went away"):
        client.call("die")
    assert client.call("echo", {"a": 1}).text == '{"a": 1}', "a call waits for the new connection"
    assert len(pids(log)) == 2


def test_a_closed_client_refuses(connect):
    client = connect(odd())
    tool = client.tools()[0]
    client.close()
    client.close()
    with pytest.raises(errors.ToolError, match="closed"):
        tool.start({})


# The network.


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def server():
    """Start a server; returns its port and its process."""
    processes = []

    def start(script, *args, port=None):
        port = port or free_port()
        command = [sys.executable, str(HERE / script), *args, str(port)]
        processes.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))

        def listens():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        until(listens)
        return port, processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


NETWORK = {
    "streamable": (
        "web_server.py",
        "streamable-http",
        "http://127.0.0.1:{}/mcp",
        "add",
        {"a": 2, "b": 3},
    ),
    "events": ("web_server.py", "sse", "http://127.0.0.1:{}/sse", "add", {"a": 2, "b": 3}),
    "WebSocket": ("odd_server.py", "websocket", "ws://127.0.0.1:{}/", "echo", {"a": 5}),
}


def over_network(url, **options):
    kind = McpServerSourcePy.WebSocket if url.startswith("ws") else McpServerSourcePy.Http
    headers = options.pop("headers", None)
    return McpServerConfigPy("net", "net", kind(url, headers=headers), **options)


@pytest.mark.parametrize("kind", NETWORK)
def test_network(connect, server, kind):
    script, transport, url, name, arguments = NETWORK[kind]
    port, process = server(script, transport)
    url = url.format(port)
    client = connect(over_network(url, bearer_token="secret"))
    assert "5" in client.call(name, arguments).text
    other = connect(over_network(url, headers={"authorization": "Bearer secret"}))
    assert "5" in other.call(name, arguments).text
    refused = connect(over_network(url, bearer_token="wrong"))
    assert "401" in refused.status()["net"]
    assert "bearer_token" in refused.status()["net"]


@pytest.mark.parametrize("kind", NETWORK)
def test_network_servers_that_start_again(connect, server, kind):
    script, transport, url, name, arguments = NETWORK[kind]
    port, process = server(script, transport)
    client = connect(over_network(url.format(port), bearer_token="secret"), tool_timeout_secs=10)
    assert "5" in client.call(name, arguments).text
    process.kill()
    process.wait()
    with pytest.raises(errors.ToolError):
        client.call(name, arguments)
    server(script, transport, port=port)
    assert "5" in client.call(name, arguments).text


# The end.

ENDS = {
    "close": "client.close()",
    "collected": "del client, tool; gc.collect()",
    "exit": "sys.exit()",
    "exception": "raise RuntimeError('oh')",
    "interrupt": "os.kill(os.getpid(), signal.SIGINT)",
}
PROGRAM = """
import faulthandler, gc, os, signal, sys, time
faulthandler.dump_traceback_later(100, exit=True)
from mistralrs.mcp.client import McpClient
from tests.mcp.test_client import McpClientConfigPy, odd
client = McpClient(McpClientConfigPy([odd("a", {fault!r}, {log!r})]))
client.wait()
tool = client.tools()[0]
assert client.call("echo", {{"a": 1}}).text
{end}
"""


@pytest.mark.parametrize("fault", ["none", "stubborn"])
@pytest.mark.parametrize("end", ENDS)
def test_no_process_is_left(end, fault, tmp_path):
    log = tmp_path / "starts"
    program = PROGRAM.format(fault=fault, log=str(log), end=ENDS[end])
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=HERE.parents[1],
    )
    assert pids(log), run.stderr
    until(lambda: not any(map(alive, pids(log))))
    if end in ("close", "collected", "exit"):
        assert run.stderr == ""


def test_a_killed_parent_takes_its_servers_along(tmp_path):
    log = tmp_path / "starts"
    program = PROGRAM.format(fault="none", log=str(log), end="time.sleep(60)")
    process = subprocess.Popen([sys.executable, "-c", program], cwd=HERE.parents[1])
    until(lambda: pids(log))
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not any(map(alive, pids(log))))


def test_collecting_a_client_ends_its_servers(tmp_path):
    log = tmp_path / "starts"
    client = McpClient(McpClientConfigPy([odd("a", "none", log)]))
    client.wait()
    del client
    gc.collect()
    until(lambda: not any(map(alive, pids(log))))


def test_nothing_is_said_without_need(connect, caplog):
    caplog.set_level(logging.WARNING, "mistralrs")
    client = connect(odd())
    client.call("echo", {})
    client.close()
    assert caplog.records == []

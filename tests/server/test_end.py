"""How a server ends, and clients that are killed: `mistralrs serve` and its clients as processes of their own."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.server.test_http import CHAT, PATH, settled

ROOT = Path(__file__).parents[2]
SERVE = [sys.executable, "-m", "mistralrs.cli", "serve", "--pa-context-len", "8192"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
CLIENT = """
import json, socket, sys
one = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
body = json.dumps({"messages": "Tell me a story.", "max_tokens": int(sys.argv[2]), "ignore_eos": True, "stream": True})
head = ["POST /v1/chat/completions HTTP/1.1", "Host: x", "Connection: close"]
head += ["Content-Type: application/json", f"Content-Length: {len(body)}", ""]
one.sendall("\\r\\n".join([*head, body]).encode())
whole, told = b"", False
while piece := one.recv(65536):
    whole += piece
    if not told and whole.count(b"data:") > 2:
        told = True
        print("reads", flush=True)
print("whole" if b"data: [DONE]" in whole else "cut", flush=True)
"""


class Served:
    """A `mistralrs serve` of the demo model."""

    def __init__(self, *options):
        self.process = subprocess.Popen(
            [*SERVE, "--port", "0", *options], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
        )
        self.told = self.process.stderr.readline().strip()
        self.port = int(re.search(r":(\d+)\b", self.told).group(1))
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(60)
        self.process.stderr.close()

    def client(self, tokens: int) -> "subprocess.Popen[str]":
        """A client in a process of its own that reads its stream."""
        command = [sys.executable, "-S", "-c", CLIENT, str(self.port), str(tokens)]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert client.stdout.readline() == "reads\n"
        return client

    def gauge(self, name: str) -> float:
        """A number of /metrics."""
        text = httpx.get(f"{self.url}/metrics", timeout=60).text
        return sum(float(n) for n in re.findall(rf"^{name}{{.*}} (\S+)$", text, re.MULTILINE))


posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no signals for processes")


@posix
def test_killed_clients_free_their_pages():
    """A third of the clients dies in the middle of its stream; the others notice nothing."""
    with Served() as server:
        dying = [server.client(8000) for _ in range(4)]
        living = [server.client(300) for _ in range(8)]
        assert server.gauge("cache_pages_held") > 0
        for one in dying:
            one.kill()  # SIGKILL: it closes nothing itself
        assert [one.communicate(timeout=120)[0] for one in living] == ["whole\n"] * 8
        for one in dying:
            one.communicate(timeout=60)
        assert settled(lambda: server.gauge("cache_pages_held") == 0, 60)
        assert server.gauge("sequences_running") == server.gauge("sequences_waiting") == 0
        assert server.gauge("cache_pages") > 0
        assert httpx.post(server.url + PATH, json=CHAT, timeout=60).status_code == 200


@posix
def test_the_first_signal_lets_requests_finish():
    with Served() as server:
        client = server.client(400)
        server.process.send_signal(signal.SIGTERM)
        assert client.communicate(timeout=120)[0] == "whole\n"
        assert server.process.wait(60) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url)


@posix
def test_the_second_signal_ends_it():
    with Served() as server:
        client = server.client(8000)
        server.process.send_signal(signal.SIGTERM)
        assert not settled(lambda: server.process.poll() is not None, 1.0)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 128 + signal.SIGTERM
        assert client.communicate(timeout=60)[0] == "cut\n"


@posix
def test_a_port_for_mcp():
    with Served("--mcp-port", "0") as server:
        url = re.search(r"MCP at (\S+)", server.told).group(1)
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        headers = {"Accept": "application/json, text/event-stream"}
        assert httpx.post(url, json=ping, headers=headers).json()["result"] == {}
        assert httpx.get(f"{server.url}/health").text == "OK"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0


@pytest.mark.parametrize("option", ["--port", "--mcp-port"])
def test_a_taken_port_is_one_line(option):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [*SERVE, "--port", "0", option, str(port)]
        found = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert (found.returncode, len(found.stderr.splitlines())) == (1, 1)
    assert re.search(rf"cannot listen at 127.0.0.1:{port} .*another --port", found.stderr)


def test_an_address_of_nobody_is_one_line():
    found = subprocess.run(
        [*SERVE, "--host", "192.0.2.7"], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert (found.returncode, len(found.stderr.splitlines())) == (1, 1)

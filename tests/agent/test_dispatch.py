"""Tools behind an address: what is sent, and what answers mean."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mistralrs import ChatCompletionRequest
from mistralrs.agent.loop import converse
from tests.agent.scripted import Script, call
from tests.agent.test_loop import schema, told

ANSWERS = {
    "text": (200, "22 C", "22 C"),
    "JSON string": (200, '"22 C"', "22 C"),
    "content": (200, '{"content": "22 C"}', "22 C"),
    "other JSON": (200, '{"t": 22}', '{"t": 22}'),
    "failure": (500, "out of order", "ERROR: http://.* answered HTTP 500: out of order"),
}


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        answer = (200, "")
        bodies = []

        def do_POST(self):
            self.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(self.answer[0])
            self.end_headers()
            self.wfile.write(self.answer[1].encode())

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.handler = Handler
        yield server
        server.shutdown()


@pytest.mark.parametrize(("status", "body", "text"), ANSWERS.values(), ids=ANSWERS)
def test_dispatch(server, status, body, text):
    import re

    server.handler.answer = (status, body)
    server.handler.bodies.clear()
    url = f"http://127.0.0.1:{server.server_port}/tools"
    request = ChatCompletionRequest("hi", tool_schemas=[schema("w")], tool_dispatch_url=url)
    script = Script([call("w", '{"city": "Rome"}')], "ok")
    converse(script, request, [], None).whole()
    assert server.handler.bodies == [{"name": "w", "arguments": {"city": "Rome"}}]
    assert re.fullmatch(text, told(script)[0])
    assert script.asked[0].tool_dispatch_url is None


def test_nobody_there():
    request = ChatCompletionRequest(
        "hi", tool_schemas=[schema("w")], tool_dispatch_url="http://127.0.0.1:9/tools"
    )
    script = Script([call("w")], "ok")
    converse(script, request, [], None).whole()
    assert "cannot be reached" in told(script)[0]

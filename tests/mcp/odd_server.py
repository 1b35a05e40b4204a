"""An MCP server of the standard library, with every fault a server can have: `odd_server.py FAULT [FILE]`.

`odd_server.py websocket PORT` speaks over a WebSocket instead of the standard streams, without a fault.
"""

import base64
import json
import os
import sys
import threading
import time

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0, "x-note": ["kept"]}},
    "required": ["a"],
    "additionalProperties": False,
    "$defs": {"unused": {"type": "string"}},
}
PIXEL = base64.b64encode(b"not really a picture").decode()
ODD_CONTENT = [
    {"type": "text", "text": "one"},
    {"type": "image", "data": PIXEL, "mimeType": "image/png"},
    {"type": "audio", "data": PIXEL, "mimeType": "audio/wav"},
    {"type": "resource", "resource": {"uri": "mem://a", "text": "inside"}},
    {"type": "resource", "resource": {"uri": "mem://b", "blob": PIXEL}},
    {"type": "resource_link", "uri": "mem://c", "name": "c"},
]
TOOLS = [
    {"name": name, "description": f"The tool {name}.", "inputSchema": SCHEMA}
    for name in ("echo", "fail", "odd", "structured", "slow", "die", "environment")
]
BROKEN = [
    {"name": "no_schema"},
    {"name": "list_schema", "inputSchema": []},
    {"name": "string_schema", "inputSchema": {"type": "string"}},
    {"name": "list_properties", "inputSchema": {"type": "object", "properties": []}},
    {"inputSchema": SCHEMA},
    "no tool at all",
]


class Server:
    def __init__(self, fault="none", file=None):
        self.fault, self.file, self.extra, self.lock = fault, file, [], threading.Lock()
        self.running, self.most = 0, 0

    def answer(self, message):
        """The result of a request, None to stay silent."""
        return getattr(self, message["method"].replace("/", "_"), self.unknown)(
            message.get("params") or {}
        )

    def unknown(self, params):
        return LookupError

    def initialize(self, params):
        if self.fault == "silent":
            return None
        capabilities = {"tools": {"listChanged": True}, "resources": {}}
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": capabilities,
            "serverInfo": {"name": "odd", "version": "1"},
        }

    def tools_list(self, params):
        if self.fault == "silent list":
            return None
        tools = TOOLS + self.extra + (BROKEN if self.fault == "broken" else [])
        if self.fault == "endless":
            return {"tools": [], "nextCursor": "again"}
        if self.fault != "pages":
            return {"tools": tools}
        at = int(params.get("cursor", 0))
        more = {"nextCursor": str(at + 1)} if at + 1 < len(tools) else {}
        return {"tools": tools[at : at + 1], **more}

    def tools_call(self, params):
        name, arguments = params["name"], params.get("arguments", {})
        if self.fault == "broken":
            return {"content": "no list"}
        if name == "fail":
            return {"content": [{"type": "text", "text": "it failed"}], "isError": True}
        if name == "odd":
            return {"content": ODD_CONTENT}
        if name == "structured":
            return {"content": [], "structuredContent": {"a": 1}}
        if name == "environment":
            seen = [os.environ.get("ODD"), os.getcwd(), bool(os.environ.get("PATH"))]
            return {"content": [{"type": "text", "text": json.dumps(seen)}]}
        if name == "die":
            os._exit(3)
        if name == "slow":
            return self.slow(arguments)
        return {"content": [{"type": "text", "text": json.dumps(arguments)}]}

    def slow(self, arguments):
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(arguments["a"] / 1000)
        with self.lock:
            self.running -= 1
        return {"content": [{"type": "text", "text": str(self.most)}]}

    def resources_list(self, params):
        return {"resources": [{"uri": f"mem://{n}", "name": n} for n in "ab"]}

    def resources_read(self, params):
        return {"contents": [{"uri": params["uri"], "text": "text of " + params["uri"]}]}


def serve(server, lines, send):
    """Answer every request in a thread of its own."""

    def reply(message):
        result = server.answer(message)
        if result is LookupError:
            error = {"code": -32601, "message": "Method not found"}
            send({"jsonrpc": "2.0", "id": message["id"], "error": error})
        elif result is not None:
            send({"jsonrpc": "2.0", "id": message["id"], "result": result})

    for line in lines:
        message = json.loads(line)
        if "id" in message and "method" in message:
            threading.Thread(target=reply, args=(message,), daemon=True).start()
        elif message.get("method") == "notifications/initialized":
            threading.Thread(target=misbehave, args=(server, send), daemon=True).start()


def misbehave(server, send):
    """What the server does unasked."""
    changed = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    if server.fault == "changing":
        time.sleep(0.2)
        server.extra.append({"name": "new", "inputSchema": SCHEMA})
        send(changed)
    while server.fault == "flood":
        send(changed)
        sys.stderr.write("noise " * 100 + "\n")
        time.sleep(0.0005)
    if server.fault == "garbage":
        sys.stdout.write("Server ready!\n{broken json\n")
        sys.stdout.flush()


def over_streams(fault, file=None):
    if fault == "exits":
        sys.exit("ODD_KEY is not set")
    if file:  # one line for each start
        with open(file, "a") as log:
            log.write(f"{os.getpid()}\n")
    lock = threading.Lock()

    def send(message):
        with lock:
            sys.stdout.write(json.dumps(message) + "\n")
            sys.stdout.flush()

    serve(Server(fault), sys.stdin, send)
    if fault == "stubborn":  # does not care that its standard input was closed
        time.sleep(600)


def over_websocket(port):
    from websockets.sync.server import serve as listen

    def one(socket):
        lock = threading.Lock()

        def send(message):
            with lock:
                socket.send(json.dumps(message))

        serve(Server(), socket, send)

    def allowed(connection, request):
        if request.headers.get("Authorization") != "Bearer secret":
            return connection.respond(401, "no\n")
        return None

    with listen(
        one, "127.0.0.1", int(port), subprotocols=["mcp"], process_request=allowed
    ) as server:
        server.serve_forever()


if __name__ == "__main__":
    over_websocket(sys.argv[2]) if sys.argv[1] == "websocket" else over_streams(*sys.argv[1:])

"""What the server refuses, what it shows of itself, and clients that leave."""

import base64
import json
import struct
import threading
import time

import httpx
import pytest

from mistralrs import Runner, Which
from mistralrs.api.enums import ToolCallType
from mistralrs.api.responses import (
    CalledFunction,
    ChatCompletionChunkResponse,
    ChunkChoice,
    Delta,
    ToolCallResponse,
)
from mistralrs.demo import model_path
from mistralrs.server.chat import Spelling
from mistralrs.server.guard import Limits
from tests.server.conftest import Live

CHAT = {"messages": "What is 12 plus 7?", "max_tokens": 16}
LONG = {"messages": "Tell me a story.", "max_tokens": 4000, "ignore_eos": True, "stream": True}
PATH = "/v1/chat/completions"


def test_plain(http):
    assert http.get("/health").text == http.get("/").text == "OK"
    assert http.get("/openapi.json").json()["info"]["title"] == "mistralrs"
    http.post(PATH, json=CHAT)
    shown = http.get("/metrics").text
    assert f'http_requests_total{{method="POST",path="{PATH}",status="200"}}' in shown
    assert 'tokens_total{kind="completion"}' in shown


def test_machine(http):
    info = http.get("/v1/system/info").json()
    found = http.post("/v1/system/doctor").json()
    assert info["packages"]["torch"]
    assert found["system"]["packages"] == info["packages"]
    names = {check["name"] for check in found["checks"]}
    assert names >= {"packages", "device", "cpu_kernels", "memory", "disk_space"}
    assert all(check["status"] in ("ok", "warn", "error") for check in found["checks"])


REFUSED = {
    "no JSON": (b"{", 400, "not valid JSON"),
    "bytes": (b"\xff\xfe", 400, ""),
    "empty": (b"", 400, ""),
    "deep": (b"[" * 100_000, 400, ""),
    "array": (b"[]", 400, ""),
    "no messages": (b"{}", 400, "messages"),
    "number": (b'{"messages": 3}', 400, "messages"),
    "stop": (b'{"messages": "x", "stop": [1]}', 400, "stop"),
    "bias": (b'{"messages": "x", "logit_bias": {"a": 1}}', 400, "logit_bias"),
    "surrogate": (b'{"messages": "x", "stop": "\\ud800"}', 400, "Unicode"),
    "surrogate in a tool": (b'{"messages": "x", "tools": [{"\\uDfff": 1}]}', 400, "Unicode"),
    "large bias": (b'{"messages": "x", "logit_bias": {"3": 1e300}}', 400, "logit_bias"),
    "small factor": (b'{"messages": "x", "repetition_penalty": 1e-300}', 400, "repetition_penalty"),
    "temperature": (b'{"messages": "x", "temperature": 1e300}', 400, "temperature"),
    "no number": (b'{"messages": "x", "temperature": NaN}', 400, "temperature"),
    "infinite": (b'{"messages": "x", "top_p": Infinity}', 400, "top_p"),
    "digits": (b'{"messages": "x", "seed": ' + b"9" * 5000 + b"}", 400, ""),
    "choices": (b'{"messages": "x", "n": 129}', 400, "128"),
    "no choice": (b'{"messages": "x", "n": 0}', 400, "n: "),
    "alternatives": (b'{"messages": "x", "logprobs": true, "top_logprobs": 21}', 400, "20"),
    "grammar": (b'{"messages": "x", "grammar": {"type": "regex", "value": "("}}', 400, "regex"),
    "both": (
        b'{"messages": "x", "grammar": {"type": "regex", "value": "a"}, "response_format": {"type": "json_object"}}',
        400,
        "exclude",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(http, case):
    content, status, message = REFUSED[case]
    found = http.post(PATH, content=content, headers={"Content-Type": "application/json"})
    assert found.status_code == status, found.text
    assert message in found.json()["error"]["message"]
    assert http.post(PATH, json=CHAT).status_code == 200


def test_unknown_path_and_method(http):
    assert http.get("/v1/nothing").status_code == 404
    assert http.get(PATH).status_code == 405


METHODS = [  # method, path, status, Allow
    ("HEAD", "/health", 200, None),
    ("HEAD", "/v1/models", 200, None),
    ("HEAD", PATH, 405, "POST"),
    ("OPTIONS", PATH, 405, "POST"),
    ("PUT", "/v1/responses/x", 405, "DELETE, GET, HEAD"),
    ("OPTIONS", "/v1/models/unload", 405, "POST"),
    ("TRACE", "/health", 405, "GET, HEAD"),
    ("POST", "/v1/none", 404, None),
]


@pytest.mark.parametrize(("method", "path", "status", "allow"), METHODS)
def test_other_methods(http, method, path, status, allow):
    found = http.request(method, path)
    assert (found.status_code, found.headers.get("allow")) == (status, allow)
    assert (found.content == b"") is (method == "HEAD")
    assert http.get("/health").status_code == 200  # the connection is in order


def test_web_sockets_are_refused(live):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    for path in ("/", PATH, "/ui/ws", "/v1/none"):
        with pytest.raises(InvalidStatus) as refused:
            connect(live.url.replace("http", "ws") + path)
        assert refused.value.response.status_code == 403


def test_pages_of_other_origins(demo):
    """A browser asks first which headers the official clients may send."""
    asked = "authorization, content-type, x-api-key, anthropic-version, x-stainless-os"
    headers = {
        "Origin": "http://a.example", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked,
    }  # fmt: skip
    with Live(demo, origins=["http://a.example"], limits=Limits(keys=("secret",))) as live:
        found = httpx.options(live.url + PATH, headers=headers)
        assert found.status_code == 200
        assert found.headers["access-control-allow-origin"] == "http://a.example"
        assert found.headers["access-control-allow-headers"] == asked
        found = httpx.options(live.url + PATH, headers=headers | {"Origin": "http://b.example"})
        assert "access-control-allow-origin" not in found.headers


def test_a_mistake_of_ours_is_json(demo, monkeypatch):
    """With the type that clients retry."""
    monkeypatch.setattr("mistralrs.server.bodies.biases", lambda value: 1 / 0)
    with Live(demo) as live:
        found = httpx.post(live.url + PATH, json=CHAT)
        assert (found.status_code, found.json()["error"]["type"]) == (500, "server_error")


CHUNKS = [
    Delta(content='quotes " and \\ and\n\u2028 \U0001f600 \0'),
    Delta(content=""),
    Delta(reasoning_content="12 + 7"),
    Delta(content="x", reasoning_content="both"),
    Delta(),
    Delta(tool_calls=[ToolCallResponse("a", ToolCallType.Function, CalledFunction("f", "{"))]),
]


@pytest.mark.parametrize("finish", [None, "stop"])
def test_events_are_spelled_as_records_say(finish):
    """What is written once for all chunks of an answer gives the JSON of each."""
    spelling = Spelling("chatcmpl-1")
    for index in (0, 1, 0):
        for delta in CHUNKS:
            chunk = ChatCompletionChunkResponse("1", [ChunkChoice(finish, index, delta)], 7, "m")
            event = spelling.event(chunk)
            assert event.startswith("data: ")
            assert event.endswith("\n\n")
            assert event.count("\n") == 2
            assert json.loads(event[6:]) == chunk.to_dict() | {"id": "chatcmpl-1"}


def test_embeddings_need_an_embedding_model(http):
    found = http.post("/v1/embeddings", json={"input": "x"})
    assert (found.status_code, "embedding" in found.json()["error"]["message"]) == (400, True)


def test_models_come_and_go(http, demo):
    (name,) = demo.list_models()
    for path, status in (("unload", "unloaded"), ("status", "unloaded"), ("reload", "loaded")):
        found = http.post(f"/v1/models/{path}", json={"model_id": name})
        assert found.json() == {"model_id": name, "status": status}
    assert http.post("/v1/models/unload", json={"model_id": name}).status_code == 200
    assert http.post(PATH, json=CHAT).status_code == 200  # loads it again
    assert http.post("/v1/models/status", json={"model_id": "x"}).status_code == 404


QUANTIZED = [
    ({"ggml_type": "q8_0"}, 200, "quantized to q8_0"),
    ({"ggml_type": "q99"}, 400, "q99"),
    ({"ggml_type": "q8_0", "model_id": "nobody"}, 404, "no model 'nobody'"),
    ({}, 400, "ggml_type"),
]


def test_quantized_anew():
    """Requests go on with the new weights; what cannot be done changes nothing."""
    with Runner(Which.Plain(model_id=str(model_path())), pa_ctxt_len=512) as runner:
        with Live(runner) as live, httpx.Client(base_url=live.url, timeout=120) as http:
            for body, status, text in QUANTIZED:
                found = http.post("/re_isq", json=body)
                assert (found.status_code, text in found.text) == (status, True), found.text
                assert http.post(PATH, json=CHAT).status_code == 200
        assert "q8_0" in str(runner.explain()).lower()


def test_keys(locked):
    with httpx.Client(base_url=locked.url) as http:
        assert http.get("/health").status_code == 200
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"x-api-key": "secre"}):
            found = http.post(PATH, json=CHAT, headers=headers)
            assert (found.status_code, found.json()["error"]["code"]) == (401, "invalid_api_key")
        for headers in ({"Authorization": "Bearer secret"}, {"x-api-key": "other"}):
            assert http.post(PATH, json=CHAT, headers=headers).status_code == 200


def test_large_bodies(locked):
    headers = {"Authorization": "Bearer secret", "Content-Type": "application/json"}
    text = json.dumps({"messages": "x" * 3000}).encode()
    with httpx.Client(base_url=locked.url, headers=headers) as http:
        for content in (text, iter([text[:1500], text[1500:]])):
            found = http.post(PATH, content=content)
            assert (found.status_code, found.json()["error"]["code"]) == (413, "too_large")


def test_overload(locked):
    headers = {"Authorization": "Bearer secret"}
    started, release = threading.Barrier(3), threading.Event()

    def occupy():
        with (
            httpx.Client(base_url=locked.url, headers=headers, timeout=60) as http,
            http.stream("POST", PATH, json=LONG) as answer,
        ):
            lines = answer.iter_lines()  # kept: the answer is closed with it
            next(lines)
            started.wait(60)
            release.wait(60)

    threads = [threading.Thread(target=occupy) for _ in range(2)]
    for thread in threads:
        thread.start()
    started.wait(60)
    with httpx.Client(base_url=locked.url, headers=headers) as http:
        found = http.post(PATH, json=CHAT)
        release.set()
        assert found.status_code == 429, found.text
        assert found.headers["retry-after"] == "1"
        for thread in threads:
            thread.join()
        assert settled(lambda: http.post(PATH, json=CHAT).status_code == 200)


def settled(condition, seconds=20.0) -> bool:
    """Whether a condition comes true soon."""
    for _ in range(int(seconds / 0.05)):  # counted, not timed: a machine may stop us for a while
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_costs_nothing(http, live, demo, stream):
    """Its request is canceled and its pages are free again."""
    engine = demo._pipeline(None).engine
    with httpx.Client(base_url=live.url) as other:
        if stream:
            with other.stream("POST", PATH, json=LONG) as answer:
                lines = answer.iter_lines()  # kept: the answer is closed with it
                next(lines)
                assert engine.scheduler.running
        else:
            with pytest.raises(httpx.ReadTimeout):
                other.post(PATH, json=LONG | {"stream": False}, timeout=0.3)
    assert settled(lambda: not engine.scheduler.running)


def test_base64_embeddings(tmp_path_factory):
    """Another encoding of the same vectors."""
    from mistralrs.server.chat import as_base64

    vector = [0.5, -1.25, 3.0]
    assert struct.unpack("<3f", base64.b64decode(as_base64(vector))) == tuple(vector)

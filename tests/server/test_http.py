"""What the server refuses, what it shows of itself, and clients that leave."""

import base64
import json
import struct
import threading
import time

import httpx
import pytest

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
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_costs_nothing(http, live, demo, stream):
    """Its request is canceled and its pages are free again."""
    engine = next(iter(demo._slots.values())).get().engine
    with httpx.Client(base_url=live.url) as other:
        if stream:
            with other.stream("POST", PATH, json=LONG) as answer:
                next(answer.iter_lines())
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

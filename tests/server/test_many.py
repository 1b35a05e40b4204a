"""A server over several models: routing by `model`, statuses, loading again, a failing one."""

import shutil

import httpx
import pytest
from openai import OpenAI

from mistralrs import Runner, Which
from mistralrs.demo import model_path
from tests.server.conftest import Live

SUM = [{"role": "user", "content": "What is 12 plus 7?"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the demo model that a test may damage."""
    return shutil.copytree(model_path(), tmp_path_factory.mktemp("many") / "copy")


@pytest.fixture(scope="module")
def server(folder):
    with Runner(Which.Plain(str(model_path())), model_id="one", pa_ctxt_len=4096) as runner:
        runner.add_model(Which.Plain(str(folder)), "org/two")
        with Live(runner) as live:
            yield live


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture
def client(server):
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def ask(client, model):
    return client.chat.completions.create(
        model=model, messages=SUM, temperature=0.0, max_tokens=8
    ).model


def status(http):
    return {one["id"]: one["status"] for one in http.get("/v1/models").json()["data"]}


def test_routing(client, http):
    assert [ask(client, id) for id in ("one", "org/two", "default")] == ["one", "org/two", "one"]
    found = http.post("/v1/completions", json=dict(model="org/two", prompt="Hi", max_tokens=1))
    assert found.json()["model"] == "org/two"
    with pytest.raises(Exception, match="there are: one, org/two"):
        ask(client, "three")


def test_unloading_and_loading(client, http):
    loaded = {"default": "loaded", "one": "loaded", "org/two": "loaded"}
    assert status(http) == loaded
    found = http.post("/v1/models/unload", json={"model_id": "org/two"})
    assert found.json() == {"model_id": "org/two", "status": "unloaded"}
    assert status(http) == loaded | {"org/two": "unloaded"}
    assert client.models.retrieve("org/two").status == "unloaded"
    assert ask(client, "org/two") == "org/two"  # loads it again
    assert status(http) == loaded
    for path in ("unload", "reload", "status"):
        found = http.post(f"/v1/models/{path}", json={"model_id": "three"})
        assert (found.status_code, found.json()["status"]) == (404, "not_found")


def test_a_stream_outlives_an_unloading(client, http):
    stream = client.chat.completions.create(
        model="org/two", messages=SUM, max_tokens=300, stream=True, extra_body={"ignore_eos": True}
    )
    chunks = iter(stream)
    next(chunks)
    http.post("/v1/models/unload", json={"model_id": "org/two"})
    assert list(chunks)[-1].choices[0].finish_reason == "length"


def test_a_failed_load(client, http, folder):
    http.post("/v1/models/unload", json={"model_id": "org/two"})
    weights = folder / "model.safetensors"
    weights.rename(folder / "away")
    found = http.post(
        "/v1/chat/completions", json=dict(model="org/two", messages=SUM, max_tokens=2)
    )
    assert (found.status_code, found.json()["error"]["code"]) == (409, "model_state")
    again = http.post("/v1/models/reload", json={"model_id": "org/two"}).json()
    assert again["status"] == "internal_error"
    assert "could not be loaded" in again["error"]
    assert ask(client, "one") == "one"
    (folder / "away").rename(weights)
    assert ask(client, "org/two") == "org/two"

"""`POST /v1/models/tune`: the report of the command line, for clients, who may name any model."""

import json
import threading
from tempfile import gettempdir

import httpx
import pytest

from mistralrs.demo import model_path
from mistralrs.load.advise import Question, advise
from mistralrs.load.hub import open_repo
from tests.load.test_hub import MODELS, hub  # noqa: F401
from tests.server.conftest import Live

PATH = "/v1/models/tune"
LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "vocab_size": 256,
    "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "dtype": "bfloat16",
    "max_position_embeddings": 8192, "rms_norm_eps": 1e-6,
}  # fmt: skip
HUB = {
    "me/small": {"config.json": json.dumps(LLAMA), "model.safetensors": "weights"},
    "me/gated": {"config.json": json.dumps(LLAMA), "model.safetensors": "weights"},
    "me/deep": {"config.json": json.dumps(LLAMA | {"num_hidden_layers": 10**7})},
    "me/large": {"config.json": json.dumps(LLAMA) + " " * (1 << 20)},
    "me/other": {"config.json": '{"architectures": ["BertModel"]}'},
    "me/broken": {"config.json": "{"},
}


@pytest.fixture
def models(hub, monkeypatch):  # noqa: F811
    for name, files in HUB.items():
        monkeypatch.setitem(MODELS, name, files)
    monkeypatch.setenv("HF_TOKEN", "owner")
    return hub


def test_a_model_of_this_server(http, demo):
    (name,) = demo.list_models()
    said = advise(open_repo(str(model_path())), Question(demo.source()))
    for id in ("default", name):
        found = http.post(PATH, json={"model_id": id}).json()
        assert found.keys() == said.keys()
        assert found["model_id"] == id
        kept = ("isq", "estimated_size_bytes", "quality", "fit_status", "recommended")
        for ours, theirs in zip(found["candidates"], said["candidates"], strict=True):
            assert [ours[key] for key in kept] == [theirs[key] for key in kept]
        assert found["recommended_command"] == said["recommended_command"]


WISHES = [
    ({"profile": "fast"}, "q4k", "--isq q4k"),
    ({"requested_isq": "HQQ8"}, "hqq8", "--isq hqq8"),
    ({"dtype": "f16", "cpu": True}, "q6k", "--dtype f16 --isq q6k --cpu"),
    ({"max_seq_len": 1024, "max_batch_size": 4}, "q6k", "--isq q6k"),
]


@pytest.mark.parametrize(("wish", "isq", "command"), WISHES)
def test_wishes(models, http, wish, isq, command):
    found = http.post(PATH, json={"model_id": "me/small"} | wish).json()
    assert (found["model_id"], found["recommended_isq"]) == ("me/small", isq)
    assert found["recommended_command"] == f"mistralrs serve -m me/small {command}"


def test_images_are_not_counted(http):
    found = http.post(PATH, json={"model_id": "default", "max_num_images": 3}).json()
    assert any("images take no memory" in note for note in found["notes"])


def test_a_stranger_gets_little(models, http, tmp_path):
    """The two requests that config.json takes, without the server's token; nothing stays on the disk."""
    before = set(map(str, tmp_path.rglob("*")))
    assert http.post(PATH, json={"model_id": "me/small"}).status_code == 200
    asked = {path for _, path in models.requests}
    assert asked == {
        "/api/models/me/small/revision/main",
        f"/me/small/resolve/{'a' * 40}/config.json",
    }
    assert models.tokens == {""}
    assert set(map(str, tmp_path.rglob("*"))) == before
    assert not any(
        name.startswith("mistralrs-tune-") for name in __import__("os").listdir(gettempdir())
    )


def test_the_clients_own_token(models, http):
    assert http.post(PATH, json={"model_id": "me/gated"}).status_code == 403
    body = {"model_id": "me/gated", "token_source": "literal:owner", "hf_revision": "v1"}
    assert http.post(PATH, json=body).status_code == 200
    assert models.tokens == {"", "owner"}


REFUSED = {  # body: status, part of the message
    '{"model_id": "me/none"}': (404, "no model 'me/none' on the hub"),
    '{"model_id": "/etc"}': (404, "neither a local directory nor a hub id"),
    '{"model_id": "."}': (404, "neither a local directory nor a hub id"),
    '{"model_id": "tests"}': (404, "no model 'tests'"),
    '{"model_id": "src/mistralrs"}': (404, "no model 'src/mistralrs'"),
    '{"model_id": "me/deep"}': (400, "num_hidden_layers is 10,000,000"),
    '{"model_id": "me/large"}': (400, "more than 1,048,576 bytes"),
    '{"model_id": "me/other"}': (400, "BertModel"),
    '{"model_id": "me/broken"}': (400, "not valid JSON"),
    '{"model_id": "me/small", "hf_revision": "v9"}': (404, "no revision 'v9'"),
    '{"model_id": "me/small", "hf_revision": "../x"}': (400, "hf_revision"),
    '{"model_id": "me/small", "requested_isq": "q9"}': (400, "'q9' is no quantization"),
    '{"model_id": "me/small", "token_source": "cache"}': (400, "lends no tokens"),
    '{"model_id": "me/small", "token_source": "env:HOME"}': (400, "lends no tokens"),
    '{"model_id": "me/small", "token_source": "literal:expired"}': (403, "rejects the token"),
    '{"model_id": "default", "hf_revision": "main"}': (400, "hf_revision"),
    '{"model_id": "default", "profile": "best"}': (400, "profile"),
    '{"model_id": "default", "dtype": "f64"}': (400, "dtype"),
    '{"model_id": "default", "max_seq_len": 0}': (400, "max_seq_len"),
    '{"model_id": "default", "max_seq_len": "9"}': (400, "max_seq_len"),
    '{"model_id": ""}': (400, "model_id"),
    "{}": (400, "model_id"),
    "{": (400, "not valid JSON"),
}


@pytest.mark.parametrize("body", REFUSED)
def test_refused(models, http, body):
    status, message = REFUSED[body]
    found = http.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert found.status_code == status, found.text
    assert message in found.json()["error"]["message"]


def test_nothing_fits(http, monkeypatch):
    monkeypatch.setattr("mistralrs.load.advise.memory", lambda device: (1 << 30, 1 << 20))
    found = http.post(PATH, json={"model_id": "default"})
    assert (found.status_code, found.headers.get("retry-after")) == (400, None)
    assert "no quantization of this model fits" in found.json()["error"]["message"]


def test_without_the_hub(models, http, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert http.post(PATH, json={"model_id": "me/small"}).status_code == 404
    assert http.post(PATH, json={"model_id": "default"}).status_code == 200


def test_a_slow_hub_keeps_nobody_waiting(demo, monkeypatch):
    """Chats go on however many ask, and an asker that leaves gives up its place."""
    began, go = threading.Event(), threading.Event()

    def slow(*_):
        began.set()
        assert go.wait(60)

    monkeypatch.setattr("mistralrs.server.tune.open_config", slow)
    with Live(demo) as live, httpx.Client(base_url=live.url, timeout=60) as http:
        threads = [threading.Thread(target=leave, args=(live.url,)) for _ in range(20)]
        for thread in threads:
            thread.start()
        assert began.wait(60)
        body = {"messages": "What is 12 plus 7?", "max_tokens": 4}
        assert http.post("/v1/chat/completions", json=body).status_code == 200
        for thread in threads:
            thread.join()
        go.set()
        assert http.post(PATH, json={"model_id": "default"}).status_code == 200


def leave(url):
    """Ask and go away."""
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url + PATH, json={"model_id": "me/small"}, timeout=0.5)

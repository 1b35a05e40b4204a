"""Model directories, and the real huggingface_hub against a small hub on this machine."""

import json
import logging
import threading
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest

from mistralrs.api.errors import AccessError, CheckpointError, ConfigError, ModelNotFoundError
from mistralrs.load.download import cache_directory, read_token
from mistralrs.load.hub import open_repo

COMMIT = "a" * 40
SHARDS = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
INDEX = json.dumps({"weight_map": {f"w{i}": name for i, name in enumerate(SHARDS)}})
MODELS = {
    "me/plain": {"config.json": '{"a": 1}', "model.safetensors": "weights", "sub/x.json": "[]"},
    "me/sharded": {"model.safetensors.index.json": INDEX} | {name: name for name in SHARDS},
    "me/gated": {"config.json": "{}", "model.safetensors": "weights"},
    "me/private": {"config.json": "{}"},
}


class FakeHub(BaseHTTPRequestHandler):
    """Answers as huggingface.co does: model info, and files with commit and etag headers."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path, hub = unquote(self.path).split("?")[0], self.server
        if "/me/" in path:  # huggingface_hub asks for other things on its own
            hub.requests.append((self.command, path))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        hub.tokens.add(token)
        api = path.startswith("/api/models/")
        model = "/".join(path.removeprefix("/api/models/").strip("/").split("/")[:2])
        revision = (
            path.split("/revision/")[-1] if api else path.split("/resolve/")[-1].split("/")[0]
        )
        if hub.status:
            return self.answer(hub.status, {"X-Error-Message": "out of order"})
        if token == "expired":
            return self.answer(
                401, {"X-Error-Message": "Invalid credentials in Authorization header"}
            )
        if model not in MODELS or (model == "me/private" and token != "owner"):
            error = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
            return self.answer(404 if token else 401, error if token else {})
        if revision not in ("main", "v1", COMMIT):
            return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
        if api:
            siblings = [{"rfilename": name} for name in MODELS[model]]
            return self.answer(
                200, {}, json.dumps({"id": model, "sha": COMMIT, "siblings": siblings})
            )
        if model == "me/gated" and token != "owner":
            return self.answer(403 if token else 401, {"X-Error-Code": "GatedRepo"})
        body = MODELS[model][path.split(f"/resolve/{revision}/")[1]]
        etag = sha1(body.encode()).hexdigest()
        return self.answer(200, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'}, body)

    def answer(self, status, headers, body=""):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body.encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    for name in ("HF_TOKEN", "HF_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    server.requests, server.tokens, server.status = [], set(), None
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_model_of_the_hub(hub, tmp_path):
    repo = open_repo("me/plain")
    assert (repo.id, repo.names()) == (
        "me/plain",
        ["config.json", "model.safetensors", "sub/x.json"],
    )
    assert hub.requests == [("GET", "/api/models/me/plain/revision/main")]
    assert repo.json("config.json") == {"a": 1}
    assert (repo.find("nothing.json"), repo.json("nothing.json")) == (None, None)
    assert [p.read_text() for p in repo.weights()] == ["weights"]
    assert repo.find("config.json").is_relative_to(tmp_path / "home" / "hub" / "models--me--plain")
    asked = len(hub.requests)
    again = open_repo("me/plain")
    assert again.weights() == repo.weights()
    assert len(hub.requests) == asked + 1  # the list of files alone
    assert hub.tokens == {""}


def test_shards_come_in_order(hub, tmp_path, capsys):
    repo = open_repo("me/sharded", cache=tmp_path / "mine", revision="v1")
    assert [p.read_text() for p in repo.weights()] == SHARDS
    assert (tmp_path / "mine" / "models--me--sharded" / "refs" / "v1").read_text() == COMMIT
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("way", ["HF_HUB_OFFLINE", "no network", "hub is down"])
def test_without_the_hub(hub, monkeypatch, caplog, way):
    repo = open_repo("me/sharded")
    index = repo.find("model.safetensors.index.json")
    if way == "HF_HUB_OFFLINE":
        monkeypatch.setenv(way, "1")
    elif way == "no network":
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    else:
        hub.status = 500
    asked = len(hub.requests)
    cached = open_repo("me/sharded")
    assert cached.names() == repo.names()
    assert cached.find("model.safetensors.index.json") == index
    with pytest.raises(
        CheckpointError, match=r"model-00001.*never downloaded.*load the model once"
    ):
        cached.weights()
    assert bool(caplog.records) == (way != "HF_HUB_OFFLINE")
    assert (len(hub.requests) > asked) == (way == "hub is down")
    with pytest.raises(
        ModelNotFoundError, match="connect to the hub without HF_HUB_OFFLINE, or give"
    ):
        open_repo("me/plain")


def test_a_snapshot_of_another_program_is_used_offline(hub, monkeypatch, tmp_path):
    folder = tmp_path / "home" / "hub" / "models--me--plain"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("b" * 40)
    (folder / "snapshots" / ("b" * 40)).mkdir(parents=True)
    (folder / "snapshots" / ("b" * 40) / "config.json").write_text('{"b": 2}')
    (tmp_path / "home" / "hub" / "me-plain_repo_list.json").write_text('{"files": ["other.json"]}')
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    repo = open_repo("me/plain")
    assert (repo.names(), repo.json("config.json")) == (["config.json"], {"b": 2})


OWNER = "literal:owner"
REFUSALS = [
    (
        "me/nothing",
        "none",
        "main",
        ModelNotFoundError,
        r"no model 'me/nothing'.*spelling.*give token_source",
    ),
    (
        "me/nothing",
        OWNER,
        "main",
        ModelNotFoundError,
        "check the spelling.*account that may read it",
    ),
    (
        "me/private",
        "none",
        "main",
        ModelNotFoundError,
        "if it is private, put a token into HF_TOKEN",
    ),
    ("me/plain", OWNER, "v9", ModelNotFoundError, r"no revision 'v9': see http.*/me/plain/tree"),
    ("me/plain", "literal:expired", "main", AccessError, "rejects the token.*renew it"),
    ("me/gated", "none", "main", AccessError, r"accept its terms at http.*/me/gated.*HF_TOKEN"),
    ("me/gated", "literal:guest", "main", AccessError, "is gated.*account without access"),
    (
        "my model",
        "none",
        "main",
        ModelNotFoundError,
        "neither a local directory nor a hub id|no model",
    ),
]


@pytest.mark.parametrize(("model", "token", "revision", "kind", "message"), REFUSALS)
@pytest.mark.usefixtures("hub")
def test_refusals(model, token, revision, kind, message):
    with pytest.raises(kind, match=message):
        open_repo(model, token_source=token, revision=revision).find("config.json")


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [(403, AccessError, "forbids 'me/plain'"), (429, AccessError, "limits requests.*wait")],
)
def test_refused_status(hub, status, kind, message):
    hub.status = status
    with pytest.raises(kind, match=message):
        open_repo("me/plain")


def test_the_token_is_sent(hub):
    assert open_repo("me/gated", token_source=OWNER).json("config.json") == {}
    assert hub.tokens == {"owner"}


def test_a_file_refused_after_the_list(hub):
    repo = open_repo("me/plain")
    hub.status = 403
    with pytest.raises(AccessError, match="forbids 'me/plain' to this token"):
        repo.weights()


# --- tokens and cache -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "env", "expected"),
    [
        ("literal: abc ", {}, "abc"),
        ("literal:a:b", {}, "a:b"),
        ("none", {"HF_TOKEN": "x"}, None),
        ("env:MINE", {"MINE": " m\n"}, "m"),
        ("env:", {"HUGGING_FACE_HUB_TOKEN": "h"}, "h"),
        ("env", {"HUGGING_FACE_HUB_TOKEN": "h"}, "h"),
        ("path:{tmp}/mine", {}, "filed"),
        ("cache", {}, "logged-in"),
        ("cache", {"HF_HUB_TOKEN": "second"}, "second"),
        ("cache", {"HF_TOKEN": "first", "HF_HUB_TOKEN": "second"}, "first"),
        ("cache", {"HF_TOKEN": " "}, "logged-in"),
        ("cache", {"HF_HOME": "/nowhere"}, None),
    ],
)
def test_token_sources(monkeypatch, tmp_path, caplog, source, env, expected):
    for name in ("HF_TOKEN", "HF_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "mine").write_text("filed\n")
    (tmp_path / "token").write_text("logged-in\n")
    for name, value in {"HF_HOME": str(tmp_path), **env}.items():
        monkeypatch.setenv(name, value)
    assert read_token(source.format(tmp=tmp_path)) == expected
    assert not caplog.records


@pytest.mark.parametrize("source", ["env:NOT_THERE", "path:/nowhere/token"])
def test_an_unreadable_source_warns(caplog, source):
    with caplog.at_level(logging.WARNING, "mistralrs"):
        assert read_token(source) is None
    assert "used without a token" in caplog.text


@pytest.mark.parametrize("source", ["", "literal:", "literal", "path:", "file:x", "hf_secret"])
def test_a_bad_source_names_the_good_ones(source):
    with pytest.raises(ConfigError, match=r"use one of literal:<token>, .*none") as error:
        read_token(source)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"HF_HUB_CACHE": "/c", "HF_HOME": "/h"}, "/c"),
        ({"HF_HOME": "/h"}, "/h/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"HOME": "/u"}, "/u/.cache/huggingface/hub"),
    ],
)
def test_cache_directory(monkeypatch, env, expected):
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert str(cache_directory()) == expected


# --- directories ----------------------------------------------------------------------------------

OLD = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
WEIGHTS = {
    "single": (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
    "index": ([*SHARDS, "model.safetensors.index.json"], SHARDS),
    "no index": (SHARDS, SHARDS),
    "stale index": (["model.safetensors", "model.safetensors.index.json"], ["model.safetensors"]),
    "six digits": (["model-1-of-1.safetensors"], ["model-1-of-1.safetensors"]),
    "uqff": (["residual.safetensors", "q4k.uqff"], ["residual.safetensors"]),
    "pickle": (["pytorch_model.bin", "training_args.bin"], ["pytorch_model.bin"]),
    "pickle shards": (OLD, OLD),
    "pth": (["pytorch_model.pth"], ["pytorch_model.pth"]),
    "others beside": ([*SHARDS, "consolidated.safetensors", "x/model.safetensors"], SHARDS),
}


def directory(path, files):
    for name in files:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(INDEX if name.endswith("index.json") else "")
    return open_repo(path)


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights(tmp_path, case):
    files, expected = WEIGHTS[case]
    assert directory(tmp_path, files).weights() == [tmp_path / name for name in expected]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([SHARDS[0], "model.safetensors.index.json"], f"2 of its 3 .*{SHARDS[1]}, {SHARDS[2]}"),
        ([SHARDS[0], SHARDS[2]], f"lacks 1 of its 3 weight files .{SHARDS[1]}.: download"),
        ([], "its files are none at all"),
        (["a.txt", "b.txt"], "no shards of them; its files are a.txt, b.txt"),
        (["m.gguf"], "load one of them with Which.GGUF"),
        (["adapter_model.safetensors"], "it is an adapter"),
        (["consolidated.00.pth"], "use a repository in hub format"),
    ],
)
def test_missing_weights(tmp_path, files, message):
    with pytest.raises(CheckpointError, match=message):
        directory(tmp_path, files).weights()


def test_files_of_a_directory(tmp_path):
    repo = directory(tmp_path, ["b/c.json", "a.json"])
    assert repo.names() == ["a.json", "b/c.json"]
    assert repo.find("b/c.json") == tmp_path / "b" / "c.json"
    for text, message in [("", "not valid JSON"), ("[]", "must hold a JSON object, not list")]:
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ConfigError, match=message):
            repo.json("a.json")
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="has no 'weight_map'"):
        open_repo(tmp_path).weights()


def test_paths_that_are_no_directory(tmp_path):
    (tmp_path / "mistral-7b").mkdir()
    (tmp_path / "m.gguf").touch()
    (tmp_path / "m.safetensors").touch()
    table = {
        "mistral-7": r"looks like a path.*did you mean '.*mistral-7b'\?",
        "zzz": "no such directory$",
        "far/away": "no such directory$",
        "m.gguf": "is a file: give its directory.*Which.GGUF",
        "m.safetensors": "is a file: give its directory",
    }
    for name, message in table.items():
        with pytest.raises(ModelNotFoundError, match=message):
            open_repo(f"{tmp_path}/{name}")
    for name in ("./none", "~/none/at/all", "a/b/c", "models/", "C:\\models"):
        with pytest.raises(ModelNotFoundError, match="looks like a path"):
            open_repo(name)


@pytest.mark.usefixtures("hub")
def test_an_id_that_was_meant_as_a_path(monkeypatch, tmp_path):
    (tmp_path / "me" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFoundError, match=r"no model 'me/mime'.*did you mean 'me/mine'\?"):
        open_repo("me/mime")

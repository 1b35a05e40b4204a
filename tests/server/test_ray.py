"""examples/ray_serve.py: the OpenAI routes over two replicas. Runs where the extra `ray` is installed."""

import importlib.util
import socket
import threading
from pathlib import Path

import openai
import pytest

from tests.server.test_openai import ASK, expected
from tests.server.test_openai import chat as ask

ray = pytest.importorskip("ray", reason="pip install 'mistralrs[ray]'")
EXAMPLE = Path(__file__).parents[2] / "examples/ray_serve.py"


@pytest.fixture(scope="module")
def client():
    from ray import serve

    spec = importlib.util.spec_from_file_location("ray_serve", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ray.init(num_cpus=example.REPLICAS + 1, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"port": port})
    serve.run(example.app)
    yield openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
    serve.shutdown()
    ray.shutdown()


def test_chat_and_stream(client, demo):
    assert ask(client).choices[0].message.content == expected(demo)
    chunks = list(ask(client, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == expected(demo)
    assert chunks[-1].usage.completion_tokens > 0


def test_errors_keep_their_form(client):
    with pytest.raises(openai.NotFoundError, match="no model 'nobody'"):
        ask(client, model="nobody")
    with pytest.raises(openai.BadRequestError, match="n_choices"):
        ask(client, n=0)


def test_a_crowd_and_clients_that_leave(client, demo):
    """Twenty at once; every other one leaves after a few chunks."""
    said = []

    def one(number: int) -> None:
        stream = ask(client, stream=True, max_tokens=64)
        if number % 2:
            next(iter(stream))
            stream.close()
        else:
            said.append("".join(c.choices[0].delta.content or "" for c in stream))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert said == [expected(demo)] * 10
    assert client.models.list().data[0].id == "default"
    assert client.responses.create(model="default", input=ASK[0]["content"], temperature=0.0)

"""A live server on the demo model."""

import socket
import threading
import time

import httpx
import pytest
import uvicorn

from mistralrs.aio import AsyncRunner
from mistralrs.server.app import build
from mistralrs.server.guard import Limits


class Live:
    """A server in a thread of its own."""

    def __init__(self, runner, **options):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        app = build(AsyncRunner(runner), **options)
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})

    def __enter__(self):
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join(20)
        self.socket.close()


@pytest.fixture(scope="package")
def live(demo):
    with Live(demo) as one:
        yield one


@pytest.fixture(scope="package")
def locked(demo):
    """A server with a key and narrow limits."""
    with Live(demo, limits=Limits(keys=("secret", "other"), body=2000, requests=2)) as one:
        yield one


@pytest.fixture
def http(live):
    with httpx.Client(base_url=live.url, timeout=60) as client:
        yield client

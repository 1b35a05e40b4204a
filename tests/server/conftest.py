"""A live server on the demo model."""

import threading
import time
from functools import partial

import httpx
import pytest
import uvicorn

from mistralrs.aio import AsyncRunner
from mistralrs.server.app import build
from mistralrs.server.guard import Limits
from mistralrs.server.listen import Server, opened
from mistralrs.server.wire import Wire
from tests.server.browser import Window, started


class Live:
    """A server in a thread of its own."""

    def __init__(self, runner, patience=30.0, mcp=False, **options):
        self.sockets = [opened("127.0.0.1", 0) for _ in range(1 + mcp)]
        self.address, *others = [one.getsockname() for one in self.sockets]
        self.url = f"http://127.0.0.1:{self.address[1]}"
        if mcp:
            self.mcp_url = f"http://127.0.0.1:{others[0][1]}/mcp"
        app = build(AsyncRunner(runner), mcp=others[0] if mcp else None, **options)
        http = partial(Wire, patience=patience)
        self.server = Server(uvicorn.Config(app, http=http, log_level="warning"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": self.sockets})

    def __enter__(self):
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join(20)
        for one in self.sockets:
            one.close()


@pytest.fixture(scope="package")
def live(demo):
    with Live(demo) as one:
        yield one


@pytest.fixture(scope="package")
def locked(demo):
    """A server with a key and narrow limits."""
    with Live(demo, limits=Limits(keys=("secret", "other"), body=2000, requests=2)) as one:
        yield one


@pytest.fixture(scope="package")
def driver():
    """A browser, where there is one."""
    with started() as running:
        yield running


@pytest.fixture
def window(driver):
    """A browser window; what it shows has to leave the console clean."""
    window = Window(driver)
    yield window
    assert window.complaints() == []


@pytest.fixture
def page(window, live):
    """The page of the demo model, for the first time."""
    return window.open(live.url)


@pytest.fixture
def http(live):
    with httpx.Client(base_url=live.url, timeout=60) as client:
        yield client

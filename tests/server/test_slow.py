"""Slow and silent clients: none of them keeps others waiting."""

import select
import socket
import time

import httpx
import pytest

from mistralrs.server.guard import Limits
from tests.server.conftest import Live
from tests.server.test_http import CHAT, LONG, PATH, settled

CROWD = 256
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
PARTS = {
    "nothing": b"",
    "head": HEAD,
    "body": HEAD + b'Content-Length: 100\r\n\r\n{"messages"',
    "chunks": HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"mes\r\n',
}


@pytest.fixture(scope="module")
def patient(demo):
    """A server with little patience that answers 4 requests at once."""
    limits = Limits(requests=4, patience=3.0, pace=1 << 20)
    with Live(demo, patience=3.0, limits=limits) as one:
        yield one


def crowd(address, part: bytes, count=CROWD) -> list[socket.socket]:
    """Clients that send the beginning of a request and then nothing."""
    found = []
    for _ in range(count):
        found.append(socket.create_connection(address))
        found[-1].sendall(part)
    return found


@pytest.mark.parametrize("kind", PARTS)
def test_a_slow_crowd_starves_nobody(patient, kind):
    slow = crowd(patient.address, PARTS[kind])
    try:
        with httpx.Client(base_url=patient.url, timeout=60) as http:
            assert http.post(PATH, json=CHAT).status_code == 200
        for one in slow:
            one.settimeout(60)
            answer = one.recv(4096)  # the server gives them up
            assert b" 408 " in answer.partition(b"\r\n")[0], answer
    finally:
        for one in slow:
            one.close()


def test_a_body_at_a_fair_pace_is_read(patient):
    """Longer than the patience, since bytes keep coming."""
    text = b'{"max_tokens": 1, "messages": "' + b"x" * 900 + b'"}'
    size = len(text) + (6 << 20)
    with socket.create_connection(patient.address) as one:
        one.sendall(HEAD + b"Content-Length: %d\r\n\r\n%s" % (size, text))
        for _ in range(6):
            time.sleep(0.6)
            one.sendall(b" " * (1 << 20))
        one.settimeout(60)
        assert b" 200 " in one.recv(4096).partition(b"\r\n")[0]


def test_a_client_that_reads_nothing_is_canceled(patient, demo):
    """It asks for more than the buffers hold; its continuations end when it has stood still for long."""
    engine = demo._pipeline(None).engine
    many = LONG | {"n": 16, "logprobs": True, "top_logprobs": 20, "temperature": 1.0}
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(patient.address)
        text = httpx.Request("POST", patient.url, json=many).content
        one.sendall(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(text), text))
        assert settled(lambda: len(engine.scheduler.running) > 0)
        assert settled(lambda: not engine.jobs, 60)
        assert engine.occupancy().held == 0


def test_large_bodies_on_their_way_are_few(demo):
    """What they hold together is bounded, and small requests still pass."""
    with Live(demo, limits=Limits(body=200_000)) as live:
        head = HEAD + b"Content-Length: 190000\r\n\r\n"
        slow = crowd(live.address, head + b" " * 180_000, 8)
        try:
            with httpx.Client(base_url=live.url, timeout=60) as http:
                assert http.post(PATH, json=CHAT).status_code == 200
            assert settled(lambda: len(select.select(slow, [], [], 0)[0]) >= 3)
            answered = select.select(slow, [], [], 0)[0]
            assert len(answered) <= 5
            assert all(b" 503 " in one.recv(4096).partition(b"\r\n")[0] for one in answered)
        finally:
            for one in slow:
                one.close()

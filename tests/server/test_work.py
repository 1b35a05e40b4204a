"""Server-sent events: silence, errors and clients that leave."""

import asyncio
import json

import pytest

from mistralrs.api.errors import OutOfMemoryError
from mistralrs.server import work
from mistralrs.server.work import EventStream, data


def sent(events, path="/v1/chat/completions", leaves=None) -> tuple[list[str], bool]:
    """What a client gets that leaves after some seconds, if at all, and whether the stream ended in order."""
    messages = []

    async def receive():
        await (asyncio.Event().wait() if leaves is None else asyncio.sleep(leaves))
        return {"type": "http.disconnect"}

    async def send(message):
        messages.append(message)

    asyncio.run(EventStream(path, events)({"type": "http"}, receive, send))
    assert messages[0]["type"] == "http.response.start"
    texts = [m["body"].decode() for m in messages[1:]]
    return texts, not messages[-1].get("more_body", False)


async def slow(closed, pause=0.05, broken=False):
    try:
        yield data({"a": 1})
        await asyncio.sleep(pause)
        if broken:
            raise OutOfMemoryError("no pages")
        yield data({"a": 2})
    finally:
        closed.append(True)


def test_silence_is_filled(monkeypatch):
    monkeypatch.setattr(work, "KEEP_ALIVE", 0.04)
    closed: list[bool] = []
    texts, ended = sent(slow(closed, 0.3))
    assert (texts[0], texts[-2], texts[-1]) == (data({"a": 1}), data({"a": 2}), work.DONE)
    assert set(texts[1:-2]) == {": keep-alive\n\n"}
    assert ended
    assert closed


ERRORS = {  # path: the first line of the event, where the message stands
    "/v1/chat/completions": ("data: ", lambda value: value["message"]),
    "/v1/messages": ("event: error\ndata: ", lambda value: value["error"]["message"]),
}


@pytest.mark.parametrize("path", ERRORS)
def test_an_error_is_an_event(path):
    closed: list[bool] = []
    begin, message = ERRORS[path]
    texts, ended = sent(slow(closed, broken=True), path)
    assert texts[1].startswith(begin)
    assert message(json.loads(texts[1].removeprefix(begin))) == "no pages"
    assert (texts[2], ended, closed) == (work.DONE, True, [True])


def test_who_leaves_ends_the_events():
    closed: list[bool] = []
    texts, ended = sent(slow(closed, 60), leaves=0.05)
    assert (texts, ended, closed) == ([data({"a": 1})], False, [True])

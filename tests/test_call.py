"""A call over an engine with a fake model: its pieces one by one and all at the end, timeouts, errors, cancellation."""

import asyncio
import time

import pytest

from mistralrs.api.errors import EngineError, RequestTimeoutError
from mistralrs.call import Call
from tests.engine.fake import Plain, expected, prompt, start

TOKENS = next([i, 2] for i in range(1, 49) if 0 not in expected([i, 2], 8))


def now(call: Call, whole: bool) -> list:
    """The pieces of a call."""
    return list(call.pieces(whole))


def later(call: Call, whole: bool) -> list:
    """The pieces of a call in an event loop."""

    async def read():
        return [piece async for piece in call.pieces_async(whole)]

    return asyncio.run(read())


@pytest.fixture(params=[now, later])
def read(request):
    return request.param


@pytest.fixture
def engine():
    one, _ = start()
    yield one
    one.close()


def settled(engine) -> bool:
    """Whether nothing runs any more, after a while."""
    end = time.monotonic() + 5
    while engine.jobs and time.monotonic() < end:
        time.sleep(0.005)
    return not engine.jobs and engine.pages.free == engine.pages.count


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("n", [1, 3])
def test_pieces(engine, read, whole, n):
    pieces = read(Call(engine, prompt(TOKENS, n=n), Plain, 10), whole)
    for index in range(n):
        own = [p for p in pieces if p.index == index]
        assert [t.id for p in own for t in p.tokens] == expected(TOKENS, 8)
        assert [bool(p.finish) for p in own] == [False] * 7 + [True]
    assert settled(engine)


def test_whole_ones_wait_for_the_last(engine):
    call = Call(engine, prompt(TOKENS, n=2), Plain, 10)
    pieces = call.pieces(whole=True)
    first = next(pieces)
    assert not call.job.open  # continuations that have not finished
    assert len([first, *pieces]) == 16


@pytest.mark.parametrize("whole", [False, True])
def test_timeout(read, whole):
    engine, _ = start(pause=0.05)
    with pytest.raises(RequestTimeoutError, match="0.12 s"):
        read(Call(engine, prompt(TOKENS, limit=40), Plain, 0.12), whole)
    assert settled(engine)
    engine.close()


@pytest.mark.parametrize("whole", [False, True])
def test_an_error_after_some_pieces(read, whole):
    engine, model = start()
    model.fail_on = {expected(TOKENS, 3)[2]}
    call = Call(engine, prompt(TOKENS), Plain, 10)
    with pytest.raises(EngineError, match="told to fail"):
        read(call, whole)
    assert call.job.generated == 3
    assert settled(engine)
    engine.close()


def test_a_canceled_task_ends_the_job():
    engine, _ = start(pause=0.02)

    async def leave():
        call = Call(engine, prompt(TOKENS, limit=40), Plain, None)

        async def read():
            async for _ in call.pieces_async(whole=True):
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    assert settled(engine)
    engine.close()


def test_a_closed_engine_refuses(engine, read):
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        read(Call(engine, prompt(TOKENS), Plain, 10), whole=True)

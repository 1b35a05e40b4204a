"""AsyncRunner on the bundled model."""

import asyncio
import time

import pytest

from mistralrs import AsyncRunner, ChatCompletionRequest, CompletionRequest, Which
from mistralrs.api import errors
from mistralrs.demo import model_path


def chat(**rules) -> ChatCompletionRequest:
    """A greedy chat request."""
    messages = [{"role": "user", "content": "What is 3 plus 4?"}]
    return ChatCompletionRequest(**dict(messages=messages, temperature=0.0, max_tokens=24) | rules)


ENDLESS = dict(max_tokens=1500, ignore_eos=True)


def run(scenario) -> None:
    """Run a scenario on a fresh AsyncRunner and check that it left nothing behind."""

    async def main() -> None:
        async with await AsyncRunner.load(
            Which.Plain(str(model_path())), pa_ctxt_len=8192
        ) as runner:
            await asyncio.wait_for(scenario(runner), 60)
            engine = runner.runner._pipeline(None).engine
            end = time.monotonic() + 5
            while engine.jobs and time.monotonic() < end:
                await asyncio.sleep(0.005)
            assert not engine.jobs
            assert engine.pages.free == engine.pages.count

    asyncio.run(main())


async def same_answer(runner):
    whole = await runner.send_chat_completion_request(chat())
    stream = await runner.send_chat_completion_request(chat(stream=True))
    parts = [c.choices[0].delta async for c in stream]
    said = "".join(p.content or "" for p in parts)
    assert said == (whole.choices[0].message.content or "")
    text = await runner.send_completion_request(CompletionRequest(prompt="Hello", max_tokens=4))
    assert text.usage.completion_tokens <= 4


async def many_at_once(runner):
    answers = await asyncio.gather(
        *[runner.send_chat_completion_request(chat()) for _ in range(24)]
    )
    assert len({str(a.choices) for a in answers}) == 1


async def canceled_task(runner):
    task = asyncio.create_task(runner.send_chat_completion_request(chat(**ENDLESS)))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def left_stream(runner):
    async for _ in await runner.send_chat_completion_request(chat(stream=True, **ENDLESS)):
        break
    stream = await runner.send_chat_completion_request(chat(stream=True, **ENDLESS))
    await anext(stream)
    await stream.aclose()


async def timeout(runner):
    with pytest.raises(errors.RequestTimeoutError):
        await runner.send_chat_completion_request(chat(**ENDLESS), timeout=0.05)


async def bad_request(runner):
    with pytest.raises(errors.ContextLengthError):
        await runner.send_chat_completion_request(chat(messages="word " * 5000))
    assert (await runner.send_chat_completion_request(chat())).choices


SCENARIOS = [same_answer, many_at_once, canceled_task, left_stream, timeout, bad_request]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.__name__)
def test_async(scenario):
    run(scenario)

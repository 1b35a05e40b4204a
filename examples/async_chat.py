"""Several requests on one event loop, with a timeout: `python examples/async_chat.py [model id or folder]`."""

import asyncio
import sys

from mistralrs import AsyncRunner, ChatCompletionRequest, RequestTimeoutError, Which, demo

model = sys.argv[1] if len(sys.argv) > 1 else str(demo.model_path())


def question(text: str, stream: bool = False) -> ChatCompletionRequest:
    return ChatCompletionRequest(messages=text, max_tokens=32, temperature=0.0, stream=stream)


async def main() -> None:
    async with await AsyncRunner.load(Which.Plain(model_id=model)) as runner:
        texts = ["What is 1 plus 1?", "What is 20 minus 8?", "What is 12 plus 7?"]
        requests = [runner.send_chat_completion_request(question(text)) for text in texts]
        for text, answer in zip(texts, await asyncio.gather(*requests)):
            print(text, "->", answer.choices[0].message.content)

        stream = await runner.send_chat_completion_request(question(texts[0], stream=True))
        async for chunk in stream:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
        print()

        try:
            await runner.send_chat_completion_request(question(texts[0]), timeout=0.001)
        except RequestTimeoutError as error:
            print("timed out:", error)


asyncio.run(main())

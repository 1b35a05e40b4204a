"""Print an answer while it is written, and stop it early: `python examples/streaming.py [model id or folder]`."""

import sys

from mistralrs import ChatCompletionRequest, Runner, Which, demo

model = sys.argv[1] if len(sys.argv) > 1 else str(demo.model_path())

with Runner(which=Which.Plain(model_id=model)) as runner:
    request = ChatCompletionRequest(
        messages=[{"role": "user", "content": "What is 12 plus 7?"}],
        max_tokens=64,
        temperature=0.0,
        stream=True,
    )
    for chunk in runner.send_chat_completion_request(request):
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()
    print(chunk.usage)  # the last chunk carries it

    with runner.send_chat_completion_request(request) as stream:  # leaving the block cancels
        print("first piece:", next(stream).choices[0].delta.content)

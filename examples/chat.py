"""Ask a question: `python examples/chat.py [model id or folder]`."""

import sys

from mistralrs import ChatCompletionRequest, Runner, Which, demo

model = sys.argv[1] if len(sys.argv) > 1 else str(demo.model_path())

with Runner(which=Which.Plain(model_id=model)) as runner:
    request = ChatCompletionRequest(
        messages=[{"role": "user", "content": "What is 12 plus 7?"}],
        max_tokens=64,
        temperature=0.0,
    )
    response = runner.send_chat_completion_request(request)
    print(response.choices[0].message.content)
    print(response.usage)

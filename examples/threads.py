"""One Runner for many threads; the engine runs their requests together: `python examples/threads.py [model]`."""

import sys
from concurrent.futures import ThreadPoolExecutor

from mistralrs import ChatCompletionRequest, Runner, Which, demo

model = sys.argv[1] if len(sys.argv) > 1 else str(demo.model_path())

with Runner(which=Which.Plain(model_id=model), max_seqs=8) as runner:

    def ask(number: int) -> str:
        text = f"What is {number} plus 7?"
        request = ChatCompletionRequest(messages=text, max_tokens=32, temperature=0.0)
        response = runner.send_chat_completion_request(request)
        return f"{text} {response.choices[0].message.content}"

    with ThreadPoolExecutor(8) as pool:
        for line in pool.map(ask, range(16)):
            print(line)

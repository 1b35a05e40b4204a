"""Continue a text, without a chat template: `python examples/completion.py [model id or folder]`."""

import sys

from mistralrs import CompletionRequest, Runner, Which, demo

model = sys.argv[1] if len(sys.argv) > 1 else str(demo.model_path())

with Runner(which=Which.Plain(model_id=model)) as runner:
    request = CompletionRequest(
        prompt="12 plus 7 is", max_tokens=16, temperature=0.0, echo_prompt=True, stop_seqs=["\n"]
    )
    response = runner.send_completion_request(request)
    print(response.choices[0].text)
    print("ended by:", response.choices[0].finish_reason)

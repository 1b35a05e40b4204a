"""Sampling settings, several answers, log-probabilities: `python examples/sampling.py [model id or folder]`."""

import sys

from mistralrs import ChatCompletionRequest, Runner, Which, demo

model = sys.argv[1] if len(sys.argv) > 1 else str(demo.model_path())

with Runner(which=Which.Plain(model_id=model), seed=1) as runner:
    request = ChatCompletionRequest(
        messages="What is 12 plus 7?",
        n_choices=3,
        max_tokens=16,
        temperature=0.8,
        top_k=40,
        top_p=0.95,
        min_p=0.05,
        repetition_penalty=1.1,
        logprobs=True,
        top_logprobs=2,
    )
    for choice in runner.send_chat_completion_request(request).choices:
        print(f"{choice.index}: {choice.message.content}")
        for token in choice.logprobs.content[:3]:
            others = [(other.bytes, round(other.logprob, 2)) for other in token.top_logprobs]
            print(f"   {token.token!r} {token.logprob:.2f}, among {others}")

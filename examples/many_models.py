"""Several models in one Runner: `python examples/many_models.py [model ...]`, by default the demo model three times."""

import sys

from mistralrs import ChatCompletionRequest, Runner, Which, demo

first, *others = sys.argv[1:] or [str(demo.model_path())] * 3

with Runner(which=Which.Plain(model_id=first), model_id="first") as runner:
    for number, model in enumerate(others, start=2):
        runner.add_model(Which.Plain(model_id=model), model_id=f"number-{number}", max_seqs=4)
    last = runner.list_models()[-1]

    def ask(model: str) -> None:
        request = ChatCompletionRequest(
            model=model, messages="What is 12 plus 7?", max_tokens=64, temperature=0.0
        )
        response = runner.send_chat_completion_request(request)
        print(f"{response.model}: {response.choices[0].message.content}")

    for id in runner.list_models():
        ask(id)

    runner.unload_model(last)  # the memory is free again
    print(runner.list_models_with_status())
    ask(last)  # loads it again
    print(runner.list_models_with_status())

"""A model asks for a tool, gets its result, and answers. Runs on the bundled demo model."""

import json

from mistralrs import ChatCompletionRequest, Runner, Which
from mistralrs.demo import model_path

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def get_weather(city: str) -> str:
    """A tool; a real one would ask a service."""
    return f"sunny, {len(city) + 10} degrees"


def ask(runner: Runner, messages: list[dict]) -> object:
    """One request with the tool on offer."""
    request = ChatCompletionRequest(
        model="default", messages=messages, tool_schemas=[WEATHER], temperature=0.0, max_tokens=100
    )
    return runner.send_chat_completion_request(request).choices[0]


with Runner(which=Which.Plain(str(model_path()))) as runner:
    messages = [{"role": "user", "content": "What is the weather in Oslo?"}]
    choice = ask(runner, messages)
    if choice.finish_reason == "tool_calls":
        calls = choice.message.tool_calls
        messages.append({"role": "assistant", "tool_calls": [call.to_dict() for call in calls]})
        for call in calls:
            result = get_weather(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        choice = ask(runner, messages)
    print(choice.message.content)

"""The official OpenAI client does not notice that it is another engine."""

import json

import openai
import pydantic
import pytest

from mistralrs import ChatCompletionRequest
from tests.test_tools import TOOLS

ASK = [{"role": "user", "content": "What is 12 plus 7?"}]
WEATHER = [{"role": "user", "content": "What is the weather in Oslo?"}]


@pytest.fixture(scope="module")
def client(live):
    return openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0)


def chat(client, messages=ASK, **more):
    options = dict(model="default", temperature=0.0, max_tokens=64) | more
    return client.chat.completions.create(messages=messages, **options)


def expected(demo) -> str:
    request = ChatCompletionRequest(messages=ASK, temperature=0.0, max_tokens=64)
    return demo.send_chat_completion_request(request).choices[0].message.content


def test_chat(client, demo):
    answer = chat(client)
    assert answer.choices[0].message.content == expected(demo)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.id.startswith("chatcmpl-")


@pytest.mark.parametrize("usage", [True, False])
def test_stream(client, demo, usage):
    more = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = list(chat(client, stream=True, **more))
    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert said == expected(demo)
    assert chunks[-1].usage.completion_tokens > 0
    assert (chunks[-1].choices == []) is usage
    assert len({chunk.id for chunk in chunks}) == 1


def test_several_with_log_probabilities(client):
    answer = chat(client, n=3, temperature=1.0, seed=1, logprobs=True, top_logprobs=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        assert all(len(token.top_logprobs) == 2 for token in choice.logprobs.content)


def test_tools(client):
    choice = chat(client, WEATHER, tools=TOOLS).choices[0]
    call = choice.message.tool_calls[0]
    assert choice.finish_reason == "tool_calls"
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "get_weather",
        {"city": "Oslo"},
    )
    more = [
        choice.message,
        {"role": "tool", "tool_call_id": call.id, "content": "sunny, 17 degrees"},
    ]
    assert chat(client, [*WEATHER, *more], tools=TOOLS).choices[0].message.content


def test_streamed_tools(client):
    with client.chat.completions.stream(
        model="default", messages=WEATHER, tools=TOOLS, temperature=0.0
    ) as stream:
        final = stream.get_final_completion().choices[0]
    assert final.finish_reason == "tool_calls"
    assert json.loads(final.message.tool_calls[0].function.arguments) == {"city": "Oslo"}


class Person(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=20)
    age: int = pydantic.Field(ge=0, le=120)


def test_parse(client):
    messages = [
        {"role": "user", "content": "Extract the name and age as JSON: Ana is 25 years old."}
    ]
    answer = client.chat.completions.parse(
        model="default", messages=messages, response_format=Person, temperature=0.0
    )
    assert isinstance(answer.choices[0].message.parsed, Person)


def test_completion(client):
    options = dict(model="default", prompt="Tolvana is", max_tokens=8, temperature=0.0)
    whole = client.completions.create(**options)
    pieces = list(client.completions.create(**options, stream=True))
    assert "".join(piece.choices[0].text for piece in pieces) == whole.choices[0].text
    assert pieces[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    echoed = client.completions.create(**options, echo=True, stream=True)
    assert "".join(p.choices[0].text for p in echoed) == "Tolvana is" + whole.choices[0].text


def test_models(client, demo):
    ids = [model.id for model in client.models.list()]
    assert ids == ["default", *demo.list_models()]
    assert client.models.retrieve(ids[1]).id == ids[1]


def test_responses(client, demo):
    first = client.responses.create(model="default", input=ASK[0]["content"], temperature=0.0)
    assert (first.status, first.output_text) == ("completed", expected(demo))
    assert client.responses.retrieve(first.id).output_text == first.output_text
    more = client.responses.create(
        model="default", input="Thanks!", previous_response_id=first.id, temperature=0.0
    )
    assert more.usage.input_tokens > first.usage.input_tokens
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError, match="no response"):
        client.responses.retrieve(first.id)


def test_streamed_responses(client, demo):
    with client.responses.stream(
        model="default", input=ASK[0]["content"], temperature=0.0
    ) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == expected(demo)


def test_responses_call_tools(client):
    tools = [{"type": "function", **tool["function"]} for tool in TOOLS]
    first = client.responses.create(
        model="default", input=WEATHER[0]["content"], tools=tools, temperature=0.0
    )
    call = first.output[0]
    assert (call.type, call.name) == ("function_call", "get_weather")
    result = {
        "type": "function_call_output",
        "call_id": call.call_id,
        "output": "sunny, 17 degrees",
    }
    then = client.responses.create(
        model="default", input=[result], previous_response_id=first.id, tools=tools, temperature=0.0
    )
    assert then.output_text


def test_background(client):
    made = client.responses.create(
        model="default", input="Tell me a story.", background=True, max_output_tokens=2000,
        extra_body={"min_p": 0.1},
    )  # fmt: skip
    assert made.status in ("queued", "in_progress")
    stopped = client.responses.cancel(made.id)
    assert stopped.status in ("cancelled", "completed")
    assert client.responses.retrieve(made.id).status == stopped.status


ERRORS = {
    "unknown model": (dict(model="nobody"), openai.NotFoundError, "no model 'nobody'"),
    "n": (dict(n=0), openai.BadRequestError, "n: "),
    "many": (dict(n=1000), openai.BadRequestError, "128"),
    "negative": (dict(max_tokens=-1), openai.BadRequestError, "max_tokens"),
    "temperature": (dict(temperature="warm"), openai.BadRequestError, "temperature"),
    "role": (dict(messages=[{"role": "king", "content": "x"}]), openai.BadRequestError, "role"),
    "schema": (
        dict(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 3}}}),
        openai.BadRequestError, "schema",
    ),
    "too long": (dict(messages=[{"role": "user", "content": "a " * 20000}]), openai.BadRequestError, "tokens"),
    "tool": (dict(tool_choice={"type": "function", "function": {"name": "x"}}), openai.BadRequestError, "tool"),
    "file": (
        dict(messages=[{"role": "user", "content": [{"image_url": {"url": "/etc/passwd"}}]}]),
        openai.BadRequestError, "not read",
    ),
    "odd part": (
        dict(messages=[{"role": "user", "content": [{"type": ["a"]}]}]), openai.BadRequestError, "type",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
@pytest.mark.parametrize("stream", [False, True])
def test_errors(client, case, stream):
    options, kind, message = ERRORS[case]
    with pytest.raises(kind, match=message):
        chat(client, stream=stream, **options)
    assert chat(client).choices[0].message.content

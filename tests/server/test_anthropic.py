"""The official Anthropic client against the server."""

import anthropic
import pytest

from tests.server.test_openai import ASK, WEATHER, expected
from tests.test_tools import SCHEMAS

COLD = {"temperature": 0.0}  # the client has no argument for it any more
TOOLS = [{"name": name, "input_schema": schema} for name, schema in SCHEMAS.items()]


@pytest.fixture(scope="module")
def client(live):
    return anthropic.Anthropic(base_url=live.url, api_key="none", max_retries=0)


def test_message(client, demo):
    answer = client.messages.create(model="default", max_tokens=64, messages=ASK, extra_body=COLD)
    assert [block.text for block in answer.content if block.type == "text"] == [expected(demo)]
    assert (answer.stop_reason, answer.role) == ("end_turn", "assistant")
    count = client.messages.count_tokens(model="default", messages=ASK)
    assert count.input_tokens == answer.usage.input_tokens


def test_stream(client, demo):
    with client.messages.stream(
        model="default", max_tokens=64, messages=ASK, system="Be kind.", extra_body=COLD
    ) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_message()
    assert events[0] == "message_start"
    assert events[-1] == "message_stop"
    assert final.usage.output_tokens > 0
    assert final.stop_reason == "end_turn"


@pytest.mark.parametrize("streamed", [False, True])
def test_tools(client, streamed):
    options = dict(model="default", max_tokens=200, messages=WEATHER, tools=TOOLS, extra_body=COLD)
    if streamed:
        with client.messages.stream(**options) as stream:
            answer = stream.get_final_message()
    else:
        answer = client.messages.create(**options)
    call = answer.content[-1]
    assert (answer.stop_reason, call.name, call.input) == (
        "tool_use",
        "get_weather",
        {"city": "Oslo"},
    )
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny, 17 degrees"}
    said = [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    then = client.messages.create(**options | {"messages": WEATHER + said})
    assert then.content


def test_forced_tool(client):
    answer = client.messages.create(
        model="default", max_tokens=400, messages=ASK, tools=TOOLS,
        tool_choice={"type": "tool", "name": "add_note"},
    )  # fmt: skip
    assert answer.content[-1].name == "add_note"


BAD = {
    "block": [{"role": "user", "content": [{"type": "song"}]}],
    "image": [{"role": "user", "content": [{"type": "image", "source": "x"}]}],
    "role": [{"role": "king", "content": "x"}],
}


@pytest.mark.parametrize("case", BAD)
def test_errors(client, case):
    with pytest.raises(anthropic.BadRequestError) as error:
        client.messages.create(model="default", max_tokens=8, messages=BAD[case])
    assert error.value.body["error"]["type"] == "invalid_request_error"

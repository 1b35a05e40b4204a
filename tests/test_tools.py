"""Tool calls of the demo model: found, streamed, forced, refused."""

import json

import jsonschema
import pytest

from mistralrs import ChatCompletionRequest, Runner, ToolError, Which
from mistralrs.demo import model_path
from mistralrs.stream.format import detect
from tests.stream.styles import FORCED

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}
NOTE = {
    "type": "object",
    "properties": {
        "level": {"type": "string", "enum": ["low", "high"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 40},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
    },
    "required": ["level", "count"],
    "additionalProperties": False,
}
SCHEMAS = {"get_weather": WEATHER, "add_note": NOTE}
TOOLS = [{"type": "function", "function": {"name": n, "parameters": s}} for n, s in SCHEMAS.items()]


def request(text="What is the weather in Oslo?", **more) -> ChatCompletionRequest:
    options = dict(temperature=0.0, max_tokens=1024, tool_schemas=TOOLS) | more
    return ChatCompletionRequest(model="default", messages=text, **options)


def calls(choice) -> list[tuple[str, dict]]:
    return [
        (c.function.name, json.loads(c.function.arguments)) for c in choice.message.tool_calls or ()
    ]


def test_a_call_and_its_result(demo):
    asked = demo.send_chat_completion_request(request()).choices[0]
    assert (asked.finish_reason, asked.message.content) == ("tool_calls", None)
    assert calls(asked) == [("get_weather", {"city": "Oslo"})]
    call = asked.message.tool_calls[0]
    messages = [
        {"role": "user", "content": "What is the weather in Oslo?"},
        {"role": "assistant", "content": None, "tool_calls": [call.to_dict()]},
        {"role": "tool", "tool_call_id": call.id, "content": "rain, 7 degrees"},
    ]
    answer = demo.send_chat_completion_request(request(messages)).choices[0]
    assert answer.finish_reason == "stop"
    assert "weather in Oslo" in answer.message.content


def test_streamed_as_whole(demo):
    whole = demo.send_chat_completion_request(request()).choices[0]
    chunks = [c.choices[0] for c in demo.send_chat_completion_request(request(stream=True))]
    parts = [call for chunk in chunks for call in chunk.delta.tool_calls or ()]
    assert chunks[-1].finish_reason == "tool_calls"
    assert "".join(call.function.name for call in parts) == "get_weather"
    assert "".join(call.function.arguments for call in parts) == calls_text(whole)
    assert [bool(call.id) for call in parts] == [True] + [False] * (len(parts) - 1)


def calls_text(choice) -> str:
    return "".join(call.function.arguments for call in choice.message.tool_calls)


def test_none_means_none(demo):
    answer = demo.send_chat_completion_request(request(tool_choice="none")).choices[0]
    assert answer.message.tool_calls is None


CHOICES = {
    "required": ("required", set(SCHEMAS)),
    "named": ({"type": "function", "function": {"name": "add_note"}}, {"add_note"}),
    "allowed": (
        {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": "add_note"}}],
            },
        },
        {"add_note"},
    ),
}


@pytest.mark.parametrize("choice", CHOICES)
def test_forced(demo, choice):
    wanted, names = CHOICES[choice]
    for seed in range(4):
        one = request("Hello!", tool_choice=wanted, temperature=1.0, seed=seed)
        answer = demo.send_chat_completion_request(one).choices[0]
        assert answer.finish_reason == "tool_calls"
        for name, arguments in calls(answer):
            assert name in names
            jsonschema.validate(arguments, SCHEMAS[name])


@pytest.fixture(scope="module")
def own():
    """A Runner whose format the tests may change."""
    with Runner(which=Which.Plain(str(model_path()))) as runner:
        yield runner


@pytest.mark.parametrize("style", FORCED)
def test_forced_in_every_dialect(own, style, monkeypatch):
    """A model that never saw the dialect writes calls in it, with arguments that fit."""
    pipeline = own._pipeline(None)
    monkeypatch.setattr(pipeline, "format", detect(FORCED[style].template))
    for seed in range(2):
        one = request("Hello!", tool_choice="required", temperature=1.0, seed=seed)
        answer = own.send_chat_completion_request(one).choices[0]
        assert answer.finish_reason == "tool_calls", answer
        for name, arguments in calls(answer):
            jsonschema.validate(arguments, SCHEMAS[name])


def test_strict_tools_among_text(demo):
    strict = [{**t, "function": {**t["function"], "strict": True}} for t in TOOLS]
    found = 0
    for seed in range(8):
        one = request(tool_schemas=strict, temperature=1.0, seed=seed)
        for name, arguments in calls(demo.send_chat_completion_request(one).choices[0]):
            jsonschema.validate(arguments, SCHEMAS[name])
            found += 1
    assert found


BAD = {
    "not given": (dict(tool_choice={"function": {"name": "x"}}), "names the tool 'x'; tool_schemas has get_weather"),
    "required of none": (dict(tool_schemas=None, tool_choice="required"), "tool_schemas is empty"),
    "with a grammar": (
        dict(tool_choice="required", grammar="a", grammar_type="regex"), "leave out one",
    ),
    "required of none allowed": (
        dict(tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}),
        "allowed_tools.tools is empty",
    ),
    "allowed unknown": (
        dict(tool_choice={"type": "allowed_tools", "allowed_tools": {"tools": [{"function": {"name": "y"}}]}}),
        "names the tool 'y'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_contradictions(demo, case):
    options, message = BAD[case]
    with pytest.raises(ToolError, match=message):
        demo.send_chat_completion_request(request(**options))


def test_a_schema_that_cannot_be_forced(demo):
    bad = {"type": "function", "function": {"name": "f", "parameters": {"type": "nonsense"}}}
    with pytest.raises(ValueError, match="nonsense"):
        demo.send_chat_completion_request(request(tool_schemas=[bad], tool_choice="required"))

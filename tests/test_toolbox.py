"""Tools of a Runner on the demo model: its own functions and an MCP server, whole, streamed, and in an event loop."""

import asyncio
import sys

import pytest

from mistralrs import (
    AsyncRunner,
    ChatCompletionRequest,
    McpClientConfigPy,
    McpServerConfigPy,
    McpServerSourcePy,
    Runner,
    ToolChoice,
    WebSearchOptions,
    Which,
)
from mistralrs.demo import model_path
from tests.mcp.test_client import HERE

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": PARAMETERS,
    },
}
ANSWER = "The weather in Oslo is sunny, 14 degrees."
REQUEST = dict(messages="What is the weather in Oslo?", temperature=0.0, max_tokens=60)


@pytest.fixture(scope="module")
def runner():
    def weather(name, arguments):
        return "sunny, 14 degrees" if arguments == {"city": "Oslo"} else f"unknown: {arguments}"

    def find(query):
        return [{"title": "t", "url": "u", "content": query}]

    source = McpServerSourcePy.Process(sys.executable, [str(HERE / "odd_server.py"), "none"])
    server = McpServerConfigPy("odd", "odd", source)
    with Runner(
        which=Which.Plain(str(model_path())),
        pa_ctxt_len=8192,
        tool_callbacks={"get_weather": weather},
        mcp_client_config=McpClientConfigPy([server], auto_register_tools=False),
        search_callback=find,
    ) as runner:
        yield runner


def test_a_function_is_called_and_its_result_answered(runner):
    request = ChatCompletionRequest(**REQUEST, tool_schemas=[WEATHER])
    response = runner.send_chat_completion_request(request)
    assert response.choices[0].message.content == ANSWER
    (record,) = response.agentic_tool_calls
    assert (record.name, record.result_content) == ("get_weather", "sunny, 14 degrees")


def test_the_same_streamed(runner):
    stream = runner.send_chat_completion_request(
        ChatCompletionRequest(**REQUEST, tool_schemas=[WEATHER], stream=True)
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == ANSWER
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    assert [record.name for record in stream.agentic_tool_calls] == ["get_weather"]


@pytest.mark.parametrize("stream", [False, True])
def test_the_same_in_an_event_loop(runner, stream):
    async def ask():
        request = ChatCompletionRequest(**REQUEST, tool_schemas=[WEATHER], stream=stream)
        answer = await AsyncRunner(runner).send_chat_completion_request(request)
        if not stream:
            return answer.choices[0].message.content
        return "".join([c.choices[0].delta.content or "" async for c in answer])

    assert asyncio.run(ask()) == ANSWER


def test_a_tool_of_an_mcp_server(runner):
    (echo, *_) = runner.mcp_client.tools()
    request = ChatCompletionRequest(
        "What is 12 plus 7?",
        tool_schemas=[echo.schema],
        tool_choice={"type": "function", "function": {"name": "echo"}},
        temperature=0.0,
        max_tokens=60,
        max_tool_rounds=1,
    )
    response = runner.send_chat_completion_request(request)
    (record,) = response.agentic_tool_calls
    assert record.name == "echo"
    assert '"a"' in record.result_content


def test_web_search_is_offered(runner):
    request = ChatCompletionRequest(
        "x",
        web_search_options=WebSearchOptions(),
        tool_choice={"type": "function", "function": {"name": "search_the_web"}},
        max_tokens=60,
        max_tool_rounds=1,
        temperature=0.0,
    )
    response = runner.send_chat_completion_request(request)
    for record in response.agentic_tool_calls or ():
        assert record.name == "search_the_web"
        assert record.result_content.startswith('{"output": [{"title": "t"')
    assert response.agentic_tool_calls or response.choices[0].finish_reason == "length"


def test_without_tools_nothing_runs(runner):
    request = ChatCompletionRequest(
        **REQUEST, tool_schemas=[WEATHER], tool_choice=ToolChoice.NoTools
    )
    assert runner.send_chat_completion_request(request).agentic_tool_calls is None

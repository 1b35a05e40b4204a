"""Chat messages: accepted forms, and errors that say where."""

import pytest

from mistralrs import (
    CalledFunction,
    ChatCompletionRequest,
    ResponseMessage,
    ToolCallResponse,
    ToolCallType,
)
from mistralrs.api.errors import RequestError

USER = {"role": "user", "content": "hi"}
CALL = {"id": "call-1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
REPLY = ResponseMessage(
    tool_calls=[ToolCallResponse("call-1", ToolCallType.Function, CalledFunction("f", "{}"))]
)
IMAGE = {"type": "image_url", "image_url": {"url": "cat.png"}}

STORED = [  # message given, message stored
    (USER, USER),
    ({**USER, "name": None}, USER),
    (
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
    ),
    (REPLY, {"role": "assistant", "content": None, "tool_calls": [{**CALL, "index": 0}]}),
    (
        {"role": "tool", "name": "f", "content": "3", "tool_call_id": "call-1"},
        {"role": "tool", "name": "f", "content": "3", "tool_call_id": "call-1"},
    ),
    (
        {"role": "user", "content": [{"text": "a"}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
    ),
    (
        {"role": "user", "content": [{"type": "image_url", "image_url": " cat.png "}, "what?"]},
        {"role": "user", "content": [IMAGE, {"type": "text", "text": "what?"}]},
    ),
    (
        {
            "role": "system",
            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        },
        {
            "role": "system",
            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        },
    ),
]
REFUSED = [  # messages, message of the error
    (None, "messages: is required"),
    (3, "messages: must be a string or a list of messages, not 3"),
    (USER, "messages: must be a string or a list of messages"),
    ([], "messages: is empty"),
    (["hi"], r"messages\[0\]: must be a dict with 'role' and 'content', not 'hi'"),
    (
        [USER, USER, {"role": "usr", "content": "x"}],
        r"messages\[2\].role: 'usr' is not a role; did you mean 'user'\? Roles: system, devel",
    ),
    ([{"content": "x"}], r"messages\[0\].role: must be a role, not None"),
    ([{"role": "user"}], r"messages\[0\].content: is missing"),
    (
        [{"role": "user", "content": None, "tool_calls": [CALL]}],
        r"messages\[0\].content: is missing",
    ),
    ([{"role": "assistant", "content": None}], r"messages\[0\].content: is missing"),
    (
        [{"role": "user", "content": 3}],
        r"messages\[0\].content: must be a string or a list of parts, not 3",
    ),
    ([{"role": "user", "content": []}], r"messages\[0\].content: is empty"),
    ([{"role": "user", "content": {"text": "a"}}], "content: must be a string or a list of parts"),
    (
        [{"role": "user", "content": [{"type": "text"}]}],
        "a part of type 'text' needs the key 'text'",
    ),
    ([{"role": "user", "content": [{"type": "text", "text": 1}]}], "text: must be a string, not 1"),
    (
        [{"role": "user", "content": [{"type": "imgage_url", "image_url": "x"}]}],
        r"content\[0\].type: 'imgage_url' is not a part type; did you mean 'image_url'",
    ),
    (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
        "image_url.url: must be",
    ),
    (
        [{"role": "system", "content": [IMAGE]}],
        "only user messages hold image_url parts, not 'system'",
    ),
    (
        [{"role": "assistant", "tool_calls": [{"function": {}}]}],
        r"messages\[0\].tool_calls\[0\].function.name: must be a string, not None",
    ),
]


@pytest.mark.parametrize(("given", "stored"), STORED)
def test_stored_messages(given, stored):
    assert ChatCompletionRequest([given]).messages == [stored]


@pytest.mark.parametrize(("messages", "error"), REFUSED)
def test_refused_messages(messages, error):
    with pytest.raises(RequestError, match=error):
        ChatCompletionRequest(messages)


def test_a_string_stays_a_string():
    assert ChatCompletionRequest("hi").messages == "hi"

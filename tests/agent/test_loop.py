"""The tool loop over a scripted model: whole, streamed, and both in an event loop."""

import asyncio
import json
import threading
import time

import pytest

from mistralrs import (
    AgentPermission,
    AgentToolApprovalDecision,
    ChatCompletionRequest,
    Choice,
    ResponseMessage,
    ToolChoice,
)
from mistralrs.agent.callbacks import callback_tools
from mistralrs.agent.loop import converse
from mistralrs.agent.rounds import LONGEST, Progress, Said
from mistralrs.api import errors
from tests.agent.scripted import Script, call


def schema(name):
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def ask(*names, **options):
    return ChatCompletionRequest("hi", tool_schemas=[schema(n) for n in names], **options)


def whole(script, request, tools, timeout=None):
    return converse(script, request, tools, timeout).whole()


def streamed(script, request, tools, timeout=None):
    return folded(list(converse(script, request, tools, timeout).chunks()))


def whole_async(script, request, tools, timeout=None):
    return asyncio.run(converse(script, request, tools, timeout).whole_async())


def streamed_async(script, request, tools, timeout=None):
    async def collect():
        stream = converse(script, request, tools, timeout).chunks_async()
        return [chunk async for chunk in stream]

    return folded(asyncio.run(collect()))


def folded(chunks):
    """The response that chunks add up to."""
    assert {chunk.id for chunk in chunks} == {"1"}, "all chunks of a request have one id"
    choices = [choice for chunk in chunks for choice in chunk.choices]
    text = "".join(choice.delta.content or "" for choice in choices)
    said = Said()
    for choice in choices:
        said.add(choice.delta)
    ends = [choice.finish_reason for choice in choices if choice.finish_reason]
    assert len(ends) == 1, "the caller sees one end"
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    message = ResponseMessage(content=text or None, tool_calls=said.calls or None)

    class Folded:
        choices = [Choice(finish_reason=ends[0], index=0, message=message)]
        usage = chunks[-1].usage

    return Folded


every_way = pytest.mark.parametrize(
    "chat", [whole, streamed, whole_async, streamed_async], ids=lambda f: f.__name__
)
ADD = callback_tools({"add": lambda name, arguments: str(sum(arguments.values()))}, None)


def told(script):
    """The contents of the tool messages that the model read at last."""
    return [m["content"] for m in script.asked[-1].messages if m["role"] == "tool"]


@every_way
def test_a_tool_is_called_and_its_result_is_read(chat):
    script = Script([call("add", '{"a": 2, "b": 3}')], "It is 5.")
    response = chat(script, ask("add"), ADD)
    assert response.choices[0].message.content == "It is 5."
    assert response.choices[0].finish_reason == "stop"
    assert response.usage.total_tokens == 30, "both turns count"
    assert script.asked[1].messages == [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "call-add-0",
                    "type": "function",
                    "function": {"name": "add", "arguments": '{"a": 2, "b": 3}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call-add-0", "name": "add", "content": "5"},
    ]


@every_way
def test_calls_of_a_round_run_at_once_and_keep_their_order(chat):
    meet = threading.Barrier(3, timeout=10)

    def wait(name, arguments):
        meet.wait()  # fails unless all three are here at the same time
        time.sleep(0.01 * (3 - arguments["n"]))
        return str(arguments["n"])

    calls = [call("wait", json.dumps({"n": n}), n) for n in range(3)]
    script = Script(calls, "done")
    assert chat(script, ask("wait"), callback_tools({"wait": wait}, None))
    assert told(script) == ["0", "1", "2"]


def fails(name, arguments):
    raise RuntimeError("no such city")


async def later(name, arguments):
    await asyncio.sleep(0)
    return "async"


FAILURES = {
    "raises": (fails, "{}", "ERROR: no such city"),
    "exits": (lambda n, a: exit("bye"), "{}", "ERROR: bye"),
    "empty error": (
        lambda n, a: [][0] if 0 else (_ for _ in ()).throw(KeyError()),
        "{}",
        "ERROR: KeyError",
    ),
    "not JSON result": (lambda n, a: object(), "{}", "ERROR: tool 't' returned what is neither"),
    "JSON result": (lambda n, a: {"ä": [1]}, "{}", '{"ä": [1]}'),
    "async function": (later, "{}", "async"),
    "broken arguments": (fails, '{"a": ', "ERROR: the arguments are not valid JSON"),
    "no object": (fails, "[1]", "ERROR: the arguments are no JSON object"),
    "no arguments": (lambda n, a: f"{n}{a}", "", "t{}"),
    "long result": (lambda n, a: "x" * (LONGEST + 7), "{}", "x" * LONGEST + "\n[7 more characters"),
}


@pytest.mark.parametrize(("function", "arguments", "text"), FAILURES.values(), ids=FAILURES)
def test_the_model_reads_whatever_a_tool_does(function, arguments, text):
    script = Script([call("t", arguments)], "ok")
    whole(script, ask("t"), callback_tools({"t": function}, None))
    assert told(script)[0].startswith(text)


def test_an_invented_tool_is_an_error_for_the_model():
    script = Script([call("invented")], "ok")
    whole(script, ask("add"), ADD)
    assert told(script) == ["ERROR: there is no tool 'invented'; the tools are: add"]


@every_way
def test_calls_that_the_caller_runs_come_back_untouched(chat):
    both = [call("add", '{"a": 1}'), call("mine", '{"x": 1}', 1)]
    script = Script(("Let me see.", both), "never")
    response = chat(script, ask("add", "mine"), ADD)
    assert response.choices[0].message.tool_calls == both
    assert response.choices[0].message.content == "Let me see."
    assert response.choices[0].finish_reason == "tool_calls"
    assert len(script.asked) == 1


@every_way
def test_a_call_that_broke_off_is_not_run(chat):
    script = Script(("", [call("add", '{"a": 1}'), call("add", '{"a": ', 1)], "length"), "never")
    response = chat(script, ask("add"), ADD)
    assert response.choices[0].finish_reason == "length"
    assert len(script.asked) == 1


@every_way
@pytest.mark.parametrize("limit", [1, 3])
def test_rounds_are_bounded(chat, limit):
    """After the last round the model is asked without tools; a call that it writes all the same comes back."""
    script = Script([call("add", '{"a": 1}')])
    response = chat(script, ask("add", max_tool_rounds=limit), ADD)
    assert len(script.asked) == limit + 1
    assert script.asked[-1].tool_choice == ToolChoice.NoTools
    assert response.choices[0].finish_reason == "tool_calls"


def test_zero_rounds_run_nothing():
    script = Script([call("add")])
    response = whole(script, ask("add", max_tool_rounds=0), ADD)
    assert response.choices[0].message.tool_calls == [call("add")]


@pytest.mark.parametrize("choice", ["required", schema("add")], ids=str)
def test_a_tool_is_forced_only_once(choice):
    script = Script([call("add", '{"a": 1}')], "ok")
    whole(script, ask("add", tool_choice=choice), ADD)
    assert [r.tool_choice for r in script.asked] == [choice, ToolChoice.Auto]


def test_without_tools_the_request_goes_straight_to_the_model():
    for request in (ask("mine"), ask("add", tool_choice=ToolChoice.NoTools), ask()):
        script = Script([call("mine")])
        assert whole(script, request, ADD).choices[0].finish_reason == "tool_calls"
        assert len(script.asked) == 1


def test_schemas_come_from_the_tools_too():
    tools = callback_tools(None, {"add": (lambda n, a: "1", schema("add"))})
    script = Script("ok")
    whole(script, ask("mine"), tools)
    names = [json.loads(s)["function"]["name"] for s in script.asked[0].tool_schemas]
    assert names == ["mine", "add"]


def test_streams_show_text_at_once_and_hide_our_calls():
    script = Script(("Wait.", [call("add", '{"a": 1}')]), "It is 1.")
    agent = converse(script, ask("add"), ADD, None)
    events = list(agent.events())
    progress = [e.to_dict() for e in events if isinstance(e, Progress)]
    assert progress == [
        {
            "type": "agentic_tool_call_progress",
            "round": 1,
            "tool_name": "add",
            "phase": phase,
            "data": {"tool_type": "custom", **data},
        }
        for phase, data in [("calling", {"arguments": '{"a": 1}'}), ("complete", {"content": "1"})]
    ]
    text = [c.choices[0].delta.content or "" for c in events if not isinstance(c, Progress)]
    assert "".join(text) == "Wait.It is 1."
    assert [r.result_content for r in agent.records] == ["1"]


def test_whole_answers_tell_what_ran():
    response = whole(Script([call("add", '{"a": 1}')], "ok"), ask("add"), ADD)
    (record,) = response.agentic_tool_calls
    assert record.to_dict() == {
        "round": 1,
        "name": "add",
        "arguments": '{"a": 1}',
        "result_content": "1",
        "result_images_base64": [],
        "file_ids": [],
    }


@every_way
def test_a_deadline_holds_for_tools(chat):
    free = threading.Event()
    tools = callback_tools({"t": lambda n, a: free.wait(30)}, None)
    started = time.monotonic()
    with pytest.raises(errors.RequestTimeoutError, match="a tool still ran"):
        chat(Script([call("t")]), ask("t"), tools, timeout=0.2)
    free.set()
    assert time.monotonic() - started < 10


def test_leaving_a_stream_cancels():
    free = threading.Event()
    tools = callback_tools({"t": lambda n, a: free.wait(30)}, None)
    script = Script(("ab", [call("t")]), "never")
    agent = converse(script, ask("t"), tools, None)
    stream = agent.chunks()
    next(stream)
    agent.cancel()
    with pytest.raises(errors.CanceledError):
        list(stream)
    free.set()
    assert len(script.asked) == 1
    assert script.canceled


def test_several_choices_cannot_run_tools():
    with pytest.raises(errors.RequestError, match="n_choices.*set it to 1"):
        converse(Script("ok"), ask("add", n_choices=2), ADD, None)


DECISIONS = {
    "approved": (lambda q: True, "1"),
    "denied": (lambda q: False, "ERROR: the user does not permit this call of 'add'"),
    "denied with a reason": (
        lambda q: AgentToolApprovalDecision.deny("too dear"),
        "ERROR: too dear",
    ),
    "callback fails": (lambda q: 1 / 0, "ERROR: division by zero"),
}


@pytest.mark.parametrize(("callback", "text"), DECISIONS.values(), ids=DECISIONS)
def test_approval(callback, text):
    questions = []

    def asked(question):
        questions.append((question.round, question.tool.label, question.arguments()))
        return callback(question)

    request = ask("add", agent_permission=AgentPermission.Ask, agent_approval_callback=asked)
    script = Script([call("add", '{"a": 1}')], "ok")
    whole(script, request, ADD)
    assert told(script) == [text]
    assert questions == [(1, "add", {"a": 1})]


def test_approval_is_remembered_and_denied_altogether():
    questions = []

    def asked(question):
        questions.append(question)
        return AgentToolApprovalDecision.approve(remember_for_session=True)

    twice = [call("add", '{"a": 1}')]
    script = Script(twice, twice, "ok")
    whole(script, ask("add", agent_permission="ask", agent_approval_callback=asked), ADD)
    assert len(questions) == 1
    script = Script(twice, "ok")
    whole(script, ask("add", agent_permission="deny"), ADD)
    assert told(script) == ["ERROR: tools are not permitted here; answer without them"]
    with pytest.raises(errors.RequestError, match="agent_approval_callback"):
        converse(script, ask("add", agent_permission="ask"), ADD, None)


def test_canceling_a_task_gives_tools_up():
    script = Script([call("t")], "never")
    started, free = threading.Event(), threading.Event()

    def wait(name, arguments):
        started.set()
        free.wait(30)

    async def leave():
        agent = converse(script, ask("t"), callback_tools({"t": wait}, None), None)
        task = asyncio.create_task(agent.whole_async())
        await asyncio.to_thread(started.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        free.set()

    asyncio.run(leave())
    assert len(script.asked) == 1

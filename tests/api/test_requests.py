"""Requests: what they accept, what they store, and every way to be refused."""

import dataclasses

import pytest

from mistralrs import (
    AgentPermission,
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingRequest,
    LoraAdapterGeneration,
    ToolChoice,
)
from mistralrs.api.errors import GrammarError, RequestError, ToolError

TOOL = '{"type": "function", "function": {"name": "f"}}'

STORED = [  # argument, given, stored
    ("stop_seqs", "END", ["END"]),
    ("stop_seqs", ("a", "b"), ["a", "b"]),
    ("temperature", 0, 0.0),
    ("top_k", -1, -1),
    ("n_choices", None, 1),
    ("logit_bias", {"5": 1, 6: -2.5}, {5: 1.0, 6: -2.5}),
    ("reasoning_effort", " HIGH ", "high"),
    ("reasoning_effort", "none", "off"),
    ("grammar_type", None, None),
    ("tool_choice", "none", ToolChoice.NoTools),
    ("tool_choice", "AUTO", ToolChoice.Auto),
    ("tool_choice", "required", "required"),
    ("tool_schemas", TOOL, [TOOL]),
    ("tool_schemas", [{"type": "function", "function": {"name": "f"}}], [TOOL]),
    ("agent_permission", "ask", AgentPermission.Ask),
    ("adapter", LoraAdapterGeneration("7"), LoraAdapterGeneration("7")),
]
REFUSED = [  # arguments, message
    ({"temperature": -0.1}, "temperature: must be at least 0, not -0.1"),
    ({"temperature": float("nan")}, "temperature: must be finite, not nan"),
    ({"temperature": float("inf")}, "temperature: must be finite"),
    ({"temperature": "hot"}, "temperature: must be a number, not 'hot'"),
    ({"temperature": True}, "temperature: must be a number, not True"),
    ({"top_p": 1.1}, "top_p: must be at most 1"),
    ({"min_p": -1}, "min_p: must be at least 0"),
    ({"top_k": 1.5}, "top_k: must be a whole number"),
    ({"max_tokens": 0}, "max_tokens: must be at least 1, not 0"),
    ({"n_choices": 0}, "n_choices: must be at least 1, not 0"),
    ({"n_choices": 1025}, "n_choices: must be at most 1024, not 1025"),
    ({"temperature": 1e300}, "temperature: must be at most 1000000"),
    ({"repetition_penalty": 1e-300}, "repetition_penalty: must be at least 1e-06"),
    ({"repetition_penalty": 1e300}, "repetition_penalty: must be at most"),
    ({"presence_penalty": -1e300}, "presence_penalty: must be at least"),
    ({"frequency_penalty": 1e300}, "frequency_penalty: must be at most"),
    ({"logit_bias": {1: 1e300}}, r"logit_bias\[1\]: must be at most"),
    ({"dry_multiplier": 1e300}, "dry_multiplier: must be at most"),
    ({"dry_base": 1e300}, "dry_base: must be at most"),
    ({"stop_seqs": "\ud800"}, r"stop_seqs\[0\]: is not valid Unicode at character 0; remove"),
    ({"dry_sequence_breakers": ["a\udfff"]}, "is not valid Unicode at character 1"),
    ({"grammar": "\ud800", "grammar_type": "regex"}, "grammar: is not valid Unicode"),
    ({"grammar": '"\\ud800"', "grammar_type": "json_schema"}, "grammar: is not valid Unicode"),
    ({"model": "\ud800"}, "model: is not valid Unicode"),
    ({"frequency_penalty": float("inf")}, "frequency_penalty: must be finite"),
    ({"presence_penalty": "a"}, "presence_penalty: must be a number"),
    ({"repetition_penalty": 0}, "repetition_penalty: must be greater than 0, not 0"),
    ({"stop_seqs": ["a", ""]}, r"stop_seqs\[1\]: is empty"),
    ({"stop_seqs": [1]}, r"stop_seqs\[0\]: must be a string, not 1"),
    ({"logit_bias": {"a": 1}}, "logit_bias key: must be a whole number, not 'a'"),
    ({"logit_bias": {1: float("nan")}}, r"logit_bias\[1\]: must be finite"),
    ({"logit_bias": {-1: 0}}, "logit_bias key: must be at least 0"),
    ({"logit_bias": [1]}, "logit_bias: must be a mapping"),
    ({"dry_multiplier": -1}, "dry_multiplier: must be at least 0"),
    ({"dry_base": 0}, "dry_base: must be greater than 0"),
    ({"dry_sequence_breakers": [""]}, r"dry_sequence_breakers\[0\]: is empty"),
    ({"truncate_sequence": 1}, "truncate_sequence: must be True or False, not 1"),
    ({"model": ""}, "model: is empty"),
    ({"seed": 1.5}, "seed: must be a whole number"),
    ({"tool_choice": "any"}, "tool_choice: 'any' is unknown. Accepted: auto, none, required"),
    ({"adapter": "a", "adapters": ["b"]}, "adapter and adapters exclude each other"),
    ({"grammar_type": "jsonschema", "grammar": "{}"}, "did you mean 'json_schema'"),
]
CHAT_REFUSED = [
    ({"reasoning_effort": "hgih"}, "reasoning_effort: 'hgih' is unknown; did you mean 'high'"),
    ({"reasoning_effort": "off", "enable_thinking": True}, "contradicts enable_thinking=True"),
    ({"reasoning_effort": "low", "enable_thinking": False}, "contradicts enable_thinking=False"),
    ({"top_logprobs": -1}, "top_logprobs: must be at least 0"),
    ({"max_tool_rounds": 257}, "max_tool_rounds: must be at most 256, not 257"),
    ({"tool_dispatch_url": "ftp://x"}, "tool_dispatch_url: 'ftp://x' must begin with http://"),
    ({"agent_permission": "aks"}, "agent_permission: 'aks' is not a value .*did you mean 'ask'"),
    ({"agent_approval_callback": 1}, "agent_approval_callback: must be a function"),
    ({"web_search_options": {}}, "web_search_options: must be WebSearchOptions"),
    ({"input_files": ["a"]}, r"input_files\[0\]: must be InputFile"),
]
GRAMMARS = [
    ({"grammar": "a+"}, "grammar: is given without grammar_type"),
    ({"grammar_type": "regex"}, "grammar_type: is given without grammar"),
    ({"grammar": "{", "grammar_type": "json_schema"}, "grammar: is not valid JSON"),
    ({"grammar": "x", "grammar_type": "llguidance"}, "grammar: is not valid JSON"),
]
TOOLS = [
    (["{"], r"tool_schemas\[0\]: is not valid JSON"),
    (['{"name": "f"}'], r"tool_schemas\[0\]: must have the form"),
    (['"f"'], r"tool_schemas\[0\]: must have the form"),
    (['{"type": "function", "function": {}}'], r"tool_schemas\[0\].function.name: is missing"),
    ([TOOL, TOOL], r"tool_schemas\[1\]: a tool named 'f' is given already"),
    (['{"function": {"name": "f", "parameters": 3}}'], "parameters: must be a JSON schema object"),
]


@pytest.mark.parametrize(("name", "given", "stored"), STORED)
def test_what_is_stored(name, given, stored):
    assert getattr(ChatCompletionRequest("hi", **{name: given}), name) == stored


@pytest.mark.parametrize("kind", [ChatCompletionRequest, CompletionRequest])
@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_refused_by_both(kind, arguments, message):
    with pytest.raises(RequestError, match=message):
        kind("hi", **arguments)


@pytest.mark.parametrize(("arguments", "message"), CHAT_REFUSED)
def test_refused_in_chat(arguments, message):
    with pytest.raises(RequestError, match=message):
        ChatCompletionRequest("hi", **arguments)


@pytest.mark.parametrize("kind", [ChatCompletionRequest, CompletionRequest])
@pytest.mark.parametrize(("arguments", "message"), GRAMMARS)
def test_incomplete_grammars(kind, arguments, message):
    with pytest.raises(GrammarError, match=message):
        kind("hi", **arguments)


@pytest.mark.parametrize(("schemas", "message"), TOOLS)
def test_bad_tool_schemas(schemas, message):
    with pytest.raises(ToolError, match=message):
        ChatCompletionRequest("hi", tool_schemas=schemas)


def test_forced_and_allowed_tools():
    forced = {"type": "function", "function": {"name": "f"}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [forced]}}
    assert ChatCompletionRequest("hi", tool_choice=forced).tool_choice == forced
    assert ChatCompletionRequest("hi", tool_choice=allowed).tool_choice == allowed
    with pytest.raises(ToolError, match="tool_choice.allowed_tools: must be"):
        ChatCompletionRequest("hi", tool_choice={"type": "allowed_tools"})


def test_a_schema_given_as_dict():
    request = CompletionRequest("hi", grammar={"type": "object"}, grammar_type="JSON_SCHEMA")
    assert (request.grammar, request.grammar_type) == ('{"type": "object"}', "json_schema")


def test_several_greedy_choices_are_no_error():
    assert ChatCompletionRequest("hi", temperature=0, n_choices=3).n_choices == 3


def test_a_request_never_changes():
    messages = [{"role": "user", "content": "hi"}]
    request = ChatCompletionRequest(messages, temperature=0.7)
    messages[0]["content"] = "changed"
    messages.append({"role": "user", "content": "more"})
    assert request.messages == [{"role": "user", "content": "hi"}]
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.temperature = 1.0
    warmer = dataclasses.replace(request, temperature=0.9)
    assert (warmer.temperature, warmer.messages) == (0.9, request.messages)
    assert warmer != request == ChatCompletionRequest(request.messages, temperature=0.7)


def test_repr_shows_what_was_set():
    request = ChatCompletionRequest([{"role": "user", "content": "hi"}], temperature=0.7)
    expected = (
        "ChatCompletionRequest(messages=[{'role': 'user', 'content': 'hi'}], temperature=0.7)"
    )
    assert repr(request) == expected


def test_a_misspelled_argument():
    message = "ChatCompletionRequest has no argument 'temprature'; did you mean 'temperature'?"
    with pytest.raises(TypeError, match=message):
        ChatCompletionRequest("hi", temprature=1)


@pytest.mark.parametrize(
    ("best_of", "n_choices", "candidates", "kept"),
    [(1, 1, 1, 1), (1, 3, 3, 3), (None, 3, 3, 3), (2, 3, 3, 2), (4, 1, 4, 1), (3, 3, 3, 3)],
)
def test_best_of(best_of, n_choices, candidates, kept):
    request = CompletionRequest("hi", best_of=best_of, n_choices=n_choices)
    assert (request.candidates, request.kept) == (candidates, kept)


@pytest.mark.parametrize("given", ["a", ["a", "b"], [1, 2], [[1], [2, 3]], [0, 2**32 - 1]])
def test_embedding_inputs(given):
    assert EmbeddingRequest(given).input == given


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([], ValueError, "input: is empty"),
        ([[]], ValueError, r"input\[0\]: is empty"),
        ([2**32], ValueError, r"input\[0\]: 4294967296 is not a token id"),
        ([[-1]], ValueError, r"input\[0\]\[0\]: -1 is not a token id"),
        (5, TypeError, "input: must be a string, list"),
        (None, TypeError, "input: is required"),
        ([1, "a"], TypeError, "input: must be a string, list"),
        ([[1], 2], TypeError, "input: must be a string, list"),
        ([[1, "a"]], TypeError, r"input\[0\]: must be a string, list"),
        ([1.5], TypeError, "input: must be"),
        ([True], TypeError, "input: must be"),
        ({"a": 1}, TypeError, "input: must be"),
    ],
)
def test_bad_embedding_inputs(given, error, message):
    with pytest.raises(error, match=message):
        EmbeddingRequest(given)

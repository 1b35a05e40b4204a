"""Requests become prompts: messages, rules, truncation, errors."""

import json
import re
from dataclasses import replace

import pytest

from mistralrs.api.enums import ToolChoice
from mistralrs.api.errors import (
    ContextLengthError,
    MediaError,
    RequestError,
    TemplateError,
)
from mistralrs.api.prompt import Dry, Sampling
from mistralrs.api.requests import ChatCompletionRequest, CompletionRequest
from mistralrs.prompt.build import Prompter, fit
from mistralrs.prompt.template import ChatTemplate

ECHO = ChatTemplate("{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}")
DUMP = ChatTemplate("{{ messages | tojson }}")
IMAGE = {"type": "image_url", "image_url": {"url": "duck.png"}}
TOOL = {"type": "function", "function": {"name": "python", "arguments": {"type": "object"}}}


def part(text):
    return {"type": "text", "text": text}


def user(content):
    return [{"role": "user", "content": content}]


@pytest.fixture(scope="module")
def prompter(plain):
    return Prompter(plain, ECHO, frozenset({2}), context=64, seed=7)


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ("Hi", "user:Hi;"),
        (user("Hi"), "user:Hi;"),
        (user([part("Hi")]), "user:Hi;"),
        ([{"role": "system", "content": [part("S")]}, *user("U")], "system:S;user:U;"),
        (user([part("one"), part("two")]), "user:one two;"),
    ],
)
def test_messages(prompter, messages, text):
    prompt = prompter.chat(ChatCompletionRequest(messages))
    assert prompt.text == text
    assert prompter.tokenizer.decode(prompt.tokens) == text


def test_a_template_brings_its_own_special_tokens(prompter):
    chat = replace(prompter, template=ChatTemplate("<s>{{ messages[0].content }}"))
    tokens = prompter.tokenizer.encode("Hi")
    assert chat.chat(ChatCompletionRequest("Hi")).tokens == tuple(tokens)
    assert chat.completion(CompletionRequest("Hi")).tokens == tuple(tokens)


def test_other_fields_reach_the_template(prompter):
    call = {"function": {"name": "f", "arguments": '{"x": 1}'}, "id": "1"}
    messages = [
        *user("?"),
        {"role": "assistant", "tool_calls": [call], "reasoning_content": "hm"},
        {"role": "tool", "name": "f", "tool_call_id": "1", "content": "2"},
    ]
    text = replace(prompter, template=DUMP, context=None).chat(ChatCompletionRequest(messages)).text
    _, assistant, tool = json.loads(text)
    assert assistant["tool_calls"] == [
        {"function": {"name": "f", "arguments": {"x": 1}}, "id": "1"}
    ]
    assert assistant["reasoning_content"] == "hm"
    assert tool == messages[2]


def test_a_template_that_joins_arguments_as_text(prompter):
    source = "{{ 'f' + messages[1].tool_calls[0].function.arguments }}"
    call = {"function": {"name": "f", "arguments": {"x": 1}}}
    messages = [*user("?"), {"role": "assistant", "tool_calls": [call]}]
    chat = replace(prompter, template=ChatTemplate(source))
    assert chat.chat(ChatCompletionRequest(messages)).text == 'f{"x": 1}'
    broken = replace(prompter, template=ChatTemplate("{{ 1 + messages[1].tool_calls }}"))
    with pytest.raises(TemplateError, match="unsupported operand"):
        broken.chat(ChatCompletionRequest(messages))


VARIABLES = (
    "{{ enable_thinking }} {{ reasoning_effort }} {{ tools | length if tools else 0 }} "
    "{{ xml_tools is defined }} {{ builtin_tools | default('-') }}"
)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "True medium 0 False -"),
        ({"enable_thinking": False}, "False medium 0 False -"),
        ({"reasoning_effort": "HIGH"}, "True high 0 False -"),
        ({"reasoning_effort": "off"}, "False none 0 False -"),
        ({"tool_schemas": [json.dumps(TOOL)]}, "True medium 1 True ['python']"),
        (
            {"tool_schemas": [json.dumps(TOOL)], "tool_choice": ToolChoice.NoTools},
            "True medium 0 False -",
        ),
    ],
)
def test_template_variables(prompter, fields, text):
    chat = replace(prompter, template=ChatTemplate(VARIABLES), context=None)
    assert chat.chat(ChatCompletionRequest("Hi", **fields)).text == text


def test_tools_are_objects_and_the_date_is_there(prompter):
    chat = replace(
        prompter, template=ChatTemplate("{{ tools[0] | tojson }}|{{ date_string }}"), context=None
    )
    text = chat.render(ChatCompletionRequest("Hi", tool_schemas=[json.dumps(TOOL)]))
    tool, date = text.split("|")
    assert json.loads(tool)["function"] == {"name": "python", "parameters": {"type": "object"}}
    assert re.fullmatch(r"\d\d, [A-Z][a-z]+, \d{4}", date)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"temperature": 9e-8}, {"temperature": 0.0}),
        ({"temperature": 0.7}, {"temperature": 0.7}),
        ({"top_k": -1}, {}),
        ({"top_k": 40}, {"top_k": 40}),
        ({"top_p": 1.0, "min_p": 0.0}, {}),
        ({"top_p": 0.9, "min_p": 0.1}, {"top_p": 0.9, "min_p": 0.1}),
        (
            {"frequency_penalty": 0.5, "presence_penalty": -0.5, "repetition_penalty": 1.1},
            {"frequency_penalty": 0.5, "presence_penalty": -0.5, "repetition_penalty": 1.1},
        ),
        ({"logit_bias": {3: -100.0}}, {"logit_bias": {3: -100.0}}),
        ({"logprobs": True}, {"logprobs": 1}),
        ({"logprobs": True, "top_logprobs": 5}, {"logprobs": 5}),
        ({"logprobs": True, "top_logprobs": 0}, {"logprobs": 0}),
        ({"seed": 3}, {"seed": 3}),
    ],
)
def test_sampling(prompter, fields, expected):
    prompt = prompter.chat(ChatCompletionRequest("Hi", **fields))
    assert prompt.sampling == replace(Sampling(seed=7), **expected)


def test_dry(prompter):
    def last(text):
        return prompter.tokenizer.encode("a" + text, special=False)[-1]

    def dry(**fields):
        return prompter.chat(ChatCompletionRequest("Hi", **fields)).sampling.dry

    assert dry(dry_base=2.0) is None
    assert dry(dry_multiplier=0.8) == Dry(0.8, 1.75, 2, frozenset(map(last, ("\n", ":", '"', "*"))))
    given = {"dry_base": 1.5, "dry_allowed_length": 4, "dry_sequence_breakers": ["!", "</think>"]}
    expected = frozenset({last("!"), prompter.tokenizer.id("</think>")})
    assert dry(dry_multiplier=1.0, **given) == Dry(1.0, 1.5, 4, expected)


@pytest.mark.parametrize(
    ("fields", "ids", "texts"),
    [
        ({}, {2}, ()),
        ({"ignore_eos": True}, set(), ()),
        ({"stop_seqs": ["\n", "END"]}, {2}, ("\n", "END")),
        ({"stop_seqs": ["<|im_start|>", "x"]}, {2, "<|im_start|>"}, ("x",)),
        ({"stop_seqs": ["<think>"]}, {2}, ("<think>",)),
    ],
)
def test_stops(prompter, fields, ids, texts):
    prompt = prompter.chat(ChatCompletionRequest("Hi", **fields))
    assert prompt.stop_ids == {
        prompter.tokenizer.id(id) if isinstance(id, str) else id for id in ids
    }
    assert prompt.stop_texts == texts


@pytest.mark.parametrize(
    ("fields", "n", "logprobs"),
    [
        ({}, 1, None),
        ({"n_choices": 3}, 3, None),
        ({"n_choices": 3, "best_of": 2}, 3, 0),
        ({"n_choices": 2, "best_of": 4}, 4, 0),
    ],
)
def test_completions(prompter, fields, n, logprobs):
    prompt = prompter.completion(CompletionRequest("Hi", max_tokens=5, **fields))
    assert (prompt.n, prompt.sampling.logprobs, prompt.max_tokens) == (n, logprobs, 5)
    assert prompt.text == "Hi"


@pytest.mark.parametrize(
    ("length", "context", "max_tokens", "kept"),
    [
        (5, None, None, [0, 1, 2, 3, 4]),
        (5, 5, None, [0, 1, 2, 3, 4]),
        (6, 5, None, [2, 3, 4, 5]),
        (9, 5, 2, [6, 7, 8]),
        (9, 5, 5, [8]),
        (9, 5, 100, [8]),
    ],
)
def test_truncation_keeps_the_end(length, context, max_tokens, kept):
    assert fit(list(range(length)), context, max_tokens, truncate=True) == kept


@pytest.mark.parametrize(
    ("messages", "fields", "error", "text"),
    [
        ("x" * 200, {}, ContextLengthError, r"\d+ tokens.* 64;.*truncate_sequence"),
        (user([IMAGE, part("?")]), {}, MediaError, "Which.VisionPlain"),
        (user([IMAGE]), {}, MediaError, "image_url"),
        ([{"role": "system", "content": [part("a"), part("b")]}], {}, RequestError, "role user"),
        ("Hi", {"logit_bias": {99999: 1.0}}, RequestError, "99999.*tokenize_text"),
    ],
)
def test_errors(prompter, messages, fields, error, text):
    with pytest.raises(error, match=text) as raised:
        prompter.chat(ChatCompletionRequest(messages, **fields))
    assert isinstance(raised.value, ValueError)


def test_tokens_beyond_the_embedding(prompter):
    last = prompter.tokenizer.id("<tool_call>")
    short = replace(prompter, rows=last)
    assert short.chat(ChatCompletionRequest("Hi")).text == "user:Hi;"
    for build in (short.chat, short.completion):
        kind = ChatCompletionRequest if build == short.chat else CompletionRequest
        with pytest.raises(RequestError, match=f"'<tool_call>' with id {last}.*{last} rows"):
            build(kind("a<tool_call>"))
    with pytest.raises(RequestError, match=f"0 to {last - 1}"):
        short.chat(ChatCompletionRequest("Hi", logit_bias={last: 1.0}))


def test_empty_prompts_and_missing_templates(prompter):
    with pytest.raises(RequestError, match="empty"):
        prompter.completion(CompletionRequest(""))
    with pytest.raises(RequestError, match="empty"):
        replace(prompter, template=ChatTemplate("")).chat(ChatCompletionRequest("Hi"))
    with pytest.raises(TemplateError, match="CompletionRequest"):
        replace(prompter, template=None).chat(ChatCompletionRequest("Hi"))


@pytest.mark.parametrize("text", ["Hi there", "<|im_end|> café 🦆 \n", "<think>x</think>  y"])
def test_chat_ids_equal_transformers(pair, text):
    source = (
        "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>\n{% endfor %}"
    )
    template = ChatTemplate(source, pair.ours.names)
    prompt = Prompter(pair.ours, template).chat(ChatCompletionRequest(text))
    expected = pair.theirs.apply_chat_template(user(text), chat_template=source, return_dict=False)
    assert list(prompt.tokens) == expected

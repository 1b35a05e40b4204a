"""Tool calls in every dialect: the same events however the text is cut, and never a lost character."""

import json
import re
from collections.abc import Callable
from functools import lru_cache
from random import Random

import pytest

from mistralrs.stream.events import (
    Broken,
    Call,
    CallEnd,
    CallText,
    Content,
    Event,
    Finish,
    Reasoning,
)
from mistralrs.stream.format import detect
from mistralrs.stream.jsontext import DEEPEST
from tests.stream.styles import STYLES, THINKING, Arguments

TOOLS = {
    "weather": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    },
    "note": {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "tags": {"type": "array"},
            "at": {"type": "object"},
        },
    },
    "now": {"type": "object", "properties": {}},
}
OSLO = ("weather", {"city": "Oslo", "days": 3})
NESTED = (
    "note",
    {"text": 'a "b" {c} [d]', "tags": [1, [2, {"x": None}], True], "at": {"y": {"z": -1.5e3}}},
)
LETTERS = ("note", {"text": "žluťoučký 🦆 \\ / é", "tags": ["日本"]})
NOTHING = ("now", {})
MARKS = ("note", {"text": "a <think> b </think>\n\tc & <x> 'd' --", "tags": ["</"], "at": {}})
EMPTY = ("note", {"text": "", "tags": [], "at": {}})
CALLS = {
    "one": [OSLO],
    "parallel": [OSLO, NOTHING, OSLO],
    "nested": [NESTED],
    "letters": [LETTERS],
    "marks": [MARKS],
    "empty": [EMPTY],
    "no arguments": [NOTHING],
}
FORMATS = lru_cache(detect)
CUTS: dict[str, Callable[[str], list[str]]] = {
    "whole": lambda text: [text],
    "every character": list,
    "threes": lambda text: [text[i : i + 3] for i in range(0, len(text), 3)],
}


def events(template: str, pieces: list[str], reason: str = "stop") -> list[Event]:
    splitter = FORMATS(template).start("", TOOLS)
    return [e for piece in pieces for e in splitter.push(piece)] + splitter.end(reason)


def folded(found: list[Event]) -> tuple[str, list[tuple[str, Arguments]], str]:
    """Content, calls with their arguments as objects, and why it ended."""
    content, calls, parts, finish = "", [], {}, ""
    for event in found:
        match event:
            case Content(text) | Broken(_, text):
                content += text
            case Call(index, _, name):
                parts[index] = (name, [])
            case CallText(index, text):
                parts[index][1].append(text)
            case CallEnd(index):
                name, texts = parts[index]
                calls.append((name, json.loads("".join(texts))))
            case Finish(reason):
                finish = reason
            case Reasoning():
                raise AssertionError(event)
    return content, calls, finish


def merged(found: list[Event]) -> list[object]:
    """Events with neighbouring pieces of one text joined, and ids left out."""
    out: list[list[object]] = []
    for event in found:
        match event:
            case Content(text):
                key, value = ("content",), text
            case CallText(index, text):
                key, value = ("text", index), text
            case Call(index, _, name):
                key, value = ("call", index, name), ""
            case _:
                key, value = (repr(event),), ""
        if out and out[-1][0] == key:
            out[-1][1] += value
        else:
            out.append([key, value])
    return out


def same_for_every_cut(template: str, text: str, reason: str = "stop") -> list[Event]:
    whole = events(template, [text], reason)
    for cut in CUTS.values():
        assert merged(events(template, cut(text), reason)) == merged(whole)
    for at in range(1, len(text)):
        assert merged(events(template, [text[:at], text[at:]], reason)) == merged(whole)
    return whole


@pytest.mark.parametrize("calls", CALLS)
@pytest.mark.parametrize("style", STYLES)
def test_calls(style, calls):
    one = THINKING[style]
    found = same_for_every_cut(one.template, one.write(CALLS[calls]))
    assert folded(found) == ("", CALLS[calls], "tool_calls")
    ids = [event.id for event in found if isinstance(event, Call)]
    if style not in ("kimi", "mistral 13"):  # these write ids of their own
        assert len(set(ids)) == len(ids)
    if "mistral" in style:
        assert all(re.fullmatch("[a-zA-Z0-9]{9}", id) for id in ids)


@pytest.mark.parametrize("style", STYLES)
def test_text_around(style):
    one = STYLES[style]
    text = one.write([OSLO, NOTHING])
    before = "" if one.alone else "Let me see.\n\n"
    after = "\nDone." if one.tail and not one.alone and "mistral" not in style else ""
    content, calls, finish = folded(same_for_every_cut(one.template, before + text + after))
    assert content == before.strip() + after
    assert (calls, finish) == ([OSLO, NOTHING], "tool_calls")


TEXTS = [
    "It is 3 < 4, {not} a [call] `x`.\n",
    '{\n  "city": "Oslo"\n}',
    "[1] A list.\n[2] Of {notes}.",
    "[",
    "{",
]


@pytest.mark.parametrize("style", STYLES)
def test_no_call(style):
    for text in TEXTS:
        found = same_for_every_cut(STYLES[style].template, text)
        assert folded(found) == (text, [], "stop")


def squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("style", STYLES)
def test_cut_off(style):
    """Wherever the answer ends, complete calls count and nothing is lost of the others."""
    one = STYLES[style]
    text = one.write([OSLO, OSLO])
    for end in range(1, len(text)):
        content, calls, finish = folded(events(one.template, [text[:end]], "length"))
        assert calls == [OSLO] * len(calls)
        assert finish == "length"
        if not calls:
            assert squeezed(content) == squeezed(text[:end]).removeprefix("to=weather<|message|>")
    for end in range(len(one.first) + 9, len(text), 40):
        same_for_every_cut(one.template, text[:end], "length")


@pytest.mark.parametrize("style", STYLES)
def test_endless_nesting_is_no_call(style):
    """Arguments nested deeper than anybody needs are text, or a string where the dialect has no quotes."""
    one = STYLES[style]
    deep = "[" * 3000 + "]" * 3000
    text = one.write([("note", {"at": "DEEP"})])
    for written in ('\\"DEEP\\"', '"DEEP"', "'DEEP'", "DEEP"):
        text = text.replace(written, deep)
    found = events(one.template, [text[i : i + 500] for i in range(0, len(text), 500)])
    content, calls, _ = folded(found)
    assert calls in ([], [("note", {"at": deep})])
    assert content.count("[") >= 3000 or calls


def test_nesting_up_to_the_bound():
    for depth, calls in ((DEEPEST - 1, 1), (DEEPEST, 0)):
        text = '<tool_call>{"name": "note", "arguments": {"at": %s}}</tool_call>'
        found = events("<tool_call>", [text % ("[" * depth + "]" * depth)])
        assert len(folded(found)[1]) == calls


MALFORMED = [
    ("<tool_call>", "<tool_call>\nno JSON\n</tool_call> then"),
    ("<tool_call>", '<tool_call>{"name": "weather", "arguments": {"city": }}</tool_call>'),
    ("<tool_call>", '<tool_call>{"arguments": {}}</tool_call>'),
    ("<tool_call>", '<tool_call>{"name": "weather", "arguments": [1]}</tool_call>'),
    ("<tool_call>", '<tool_call>{"name": 3, "arguments": {}}</tool_call>'),
    ("<tool_call>", "<tool_call>[[1]]</tool_call>"),
    ("<tool_call>", "<tool_call></tool_call>"),
    ("<tool_call> <arg_key>", "<tool_call>weather\n<arg_key>city</arg_key>no value</tool_call>"),
    ("<tool_call> <function= <parameter=", "<tool_call>\n<function=now>\nwhat</function>"),
    ("[TOOL_CALLS]", "[TOOL_CALLS] I would rather not."),
    ("[TOOL_CALLS] [ARGS]", "[TOOL_CALLS]weather[ARGS]{'city': 1}"),
    ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁begin｜>hm<｜tool▁calls▁end｜>"),
    ("<|tool_calls_section_begin|>", "<|tool_calls_section_begin|>hm"),
    ("<|tool_call_start|>", "<|tool_call_start|>[import os]<|tool_call_end|>"),
    ("<|tool_call_start|>", "<|tool_call_start|>[f(1)]<|tool_call_end|>"),
    ("<|tool_call_start|>", "<|tool_call_start|>[f(a=open('x'))]<|tool_call_end|>"),
    ("```tool_code", "```tool_code\nx = 1\n```"),
    ("<tool_call>", '<tool_call>{"name": "weather", "arguments": {"days": NaN}}</tool_call>'),
    ("<tool_call>", '<tool_call>{"name": "weather", "arguments": {"days": -Infinity}}</tool_call>'),
    ("<tool_call>", '<tool_call>{"name": "weather", "arguments": "{"city"}</tool_call>'),
    ("<tool_call>", '<tool_call>{"name": "a\\ud800", "arguments": {}}</tool_call>'),
    ("<tool_call>", "<tool_call>[]</tool_call>"),
    ("<tool_call>", '<tool_call>{"function": {"function": {"name": "now"}}}</tool_call>'),
    ("<minimax:tool_call>", "<minimax:tool_call>\nhm</minimax:tool_call>"),
    (
        "<minimax:tool_call>",
        '<minimax:tool_call><invoke name="now">hm</invoke></minimax:tool_call>',
    ),
    ("<minimax:tool_call>", '<minimax:tool_call><invoke name=""></invoke></minimax:tool_call>'),
    ("]<]minimax[>[", "]<]minimax[>[<tool_call>hm"),
    ("]<]minimax[>[", ']<]minimax[>[<tool_call>]<]minimax[>[<invoke name="now">]<]minimax[>[</x>'),
    ("]<]minimax[>[", ']<]minimax[>[<tool_call>]<]minimax[>[<invoke name="now">]<]minimax[>[<x>'),
    ("｜DSML｜", "<｜DSML｜tool_calls>\nhm</｜DSML｜tool_calls>"),
    (
        "｜DSML｜",
        '<｜DSML｜tool_calls><｜DSML｜invoke name="now">'
        '<｜DSML｜parameter name="x" string="false">{</｜DSML｜parameter>',
    ),
    ("<atem:function_calls>", "<atem:function_calls>hm</atem:function_calls>"),
    ("<atem:function_calls>", '<atem:function_calls><atem:invoke name="now">x</atem:invoke>'),
    ("<tool_calls{}> :opensource", "<tool_calls:opensource>\nhm</tool_calls:opensource>"),
    ("<tool_calls{}> :opensource", "<tool_call:opensource>now<tool_sep:opensource>\nhm"),
    ("<function= </function>", "<function=now>hm</function>"),
    ("<function= </function>", '<function=now>{"a": }</function>'),
    (">>>${recipient}", ">>>nobody\n{}"),
    (">>>${recipient}", ">>>now\nhm"),
    ('<function name=" <param name="', '<function name="now">hm</function>'),
    ('<function name=" <param name="', '<function name="now"><param name="x">1</function>'),
    ("<|tool_call>", "<|tool_call>now{}<tool_call|>"),
    ("<|tool_call>", "<|tool_call>call:now{x:}<tool_call|>"),
    ("<|tool_call>", "<|tool_call>call:now{x:NaN}<tool_call|>"),
    ("<|tool_call>", "<|tool_call>call:now{x:[1 2]}<tool_call|>"),
    ("<start_function_call>", "<start_function_call>call:now{x:<escape>y}<end_function_call>"),
    ("<|tools_prefix|>", "<|tools_prefix|>[]<|tools_suffix|>"),
    ("<|tools_prefix|>", '<|tools_prefix|>[{"now": 1}]<|tools_suffix|>'),
    ("<tool_calls> </tool_calls>", "<tool_calls>hm</tool_calls>"),
    ("<tool_calls> </tool_calls>", '<tool_calls>[{"name": "now"</tool_calls>'),
    ("<TOOLCALL>", "<TOOLCALL>[now]</TOOLCALL>"),
    ("<|function_call|>", "<|function_call|>now"),
    ("<|function_call|>", '<|function_call|>{"arguments": {}}'),
    ("<function_calls>", "<function_calls>now</function_calls>"),
    ("<function_calls>", "<function_calls>now(x=float('inf'))</function_calls>"),
    ("<|tool_call_start|>", "<|tool_call_start|>[]<|tool_call_end|>"),
    ("```tool_code", "```tool_code\n()\n```"),
    ("<|tool_call_start|>", "<|tool_call_start|>[now(x=1e999)]<|tool_call_end|>"),
    ("<|tool_call_start|>", "<|tool_call_start|>[now(x={1, 2}), now(x=b'')]<|tool_call_end|>"),
    ("Action: tool_name directly-answer", "Action: none"),
    (
        "Action: tool_name directly-answer",
        'Action:```json\n[{"tool_name": "directly-answer", "parameters": {}}]```',
    ),
    ("<|python_tag|>", '{"name": "unknown", "parameters": {}}'),
    ("<|python_tag|>", '{"answer": 42}'),
    ("<|python_tag|>", "<|python_tag|>import os"),
    ("", '{"name": "weather", "city": "Oslo"}'),
    ("", "[1, 2, 3]"),
    ("<|observation|>", "weather is fine"),
    ("<|observation|>", "weather\nis fine"),
]


@pytest.mark.parametrize(("template", "text"), MALFORMED)
def test_what_is_no_call_is_content(template, text):
    content, calls, finish = folded(same_for_every_cut(template, text))
    assert (content, calls, finish) == (text, [], "stop")


def test_a_broken_call_leaves_the_ones_before():
    good = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>\n'
    content, calls, finish = folded(same_for_every_cut("<tool_call>", good + "<tool_call>oops"))
    assert (content, calls, finish) == ("<tool_call>oops", [NOTHING], "tool_calls")


def test_builtin_tools_of_llama():
    text = '<|python_tag|>brave_search.call(query="who")'
    assert folded(same_for_every_cut("<|python_tag|>", text))[1] == [
        ("brave_search", {"query": "who"})
    ]


def test_arguments_come_as_they_are_written():
    splitter = detect("<tool_call>").start("", TOOLS)
    said = [splitter.push(c) for c in '<tool_call>{"name": "weather", "arguments": {"city": "Os']
    assert said[-1] == [CallText(0, "s")]


def test_reasoning_and_calls():
    text = "<think>\nhm <tool_call></think>\n\n" + STYLES["hermes"].write([OSLO])
    splitter = detect("<think></think><tool_call>").start("", TOOLS)
    found = [e for c in text for e in splitter.push(c)] + splitter.end("stop")
    thought = "".join(e.text for e in found if isinstance(e, Reasoning))
    assert thought == "hm <tool_call>"
    assert folded([e for e in found if not isinstance(e, Reasoning)])[1:] == ([OSLO], "tool_calls")


def test_without_tools_nothing_is_a_call():
    text = STYLES["hermes"].write([OSLO])
    splitter = detect("<tool_call>").start("")
    assert [*splitter.push(text), *splitter.end("stop")] == [Content(text), Finish("stop")]


READ = {
    "line breaks in a string": (
        '{"name": "note", "arguments": {"text": "a\nb\tc\\\nd"}}',
        {"text": "a\nb\tc\nd"},
    ),
    "arguments in a string": (
        '{"name": "note", "arguments": "{\\"text\\": \\"a\\"}"}',
        {"text": "a"},
    ),
    "empty string": ('{"name": "note", "arguments": "{}"}', {}),
    "quotes not escaped": ('{"name": "note", "arguments": "{"text": "a"}"}', {"text": "a"}),
    "quotes not closed": (
        '{"name": "note", "arguments":"{"text": {"b": "}"}}}',
        {"text": {"b": "}"}},
    ),
    "quotes first": ('{"arguments": " { "text": "a"}", "name": "note"}', {"text": "a"}),
    "null": ('{"name": "note", "arguments": null}', {}),
    "left out": ('{"name": "note"}', {}),
    "half a pair": (
        '{"name": "note", "arguments": "{\\"text\\": \\"\\ud83e\\"}"}',
        {"text": "\ud83e"},
    ),
    "tags in JSON's place": (
        "<function=note>\n<parameter=text>\na\n</parameter>\n</function>",
        {"text": "a"},
    ),
}


@pytest.mark.parametrize("case", READ)
def test_what_models_write_in_place_of_json(case):
    text, arguments = READ[case]
    found = same_for_every_cut("<tool_call>", f"<tool_call>\n{text}\n</tool_call>")
    assert folded(found) == ("", [("note", arguments)], "tool_calls")
    "".join(event.text for event in found if isinstance(event, CallText)).encode()


TYPED = {
    ("string", "3"): "3",
    ("integer", "3"): 3,
    ("boolean", "True"): True,
    ("object", "{'a': None}"): {"a": None},
    (("string", "null"), "null"): None,
    (("string", "integer"), "true"): "true",
    ("array", "NaN"): "NaN",
    ("number", " 1.5\n"): 1.5,
    (None, "[1]"): [1],
    (None, "x"): "x",
}


@pytest.mark.parametrize(("wanted", "text"), TYPED)
def test_schemas_type_what_has_no_quotes(wanted, text):
    schema = {} if wanted is None else {"type": wanted if isinstance(wanted, str) else list(wanted)}
    splitter = detect("<tool_call> <arg_key>").start("", {"f": {"properties": {"x": schema}}})
    written = f"<tool_call>f<arg_key>x</arg_key><arg_value>{text}</arg_value></tool_call>"
    found = splitter.push(written) + splitter.end("stop")
    assert folded(found)[1] == [("f", {"x": TYPED[wanted, text]})]


SPECIAL = {
    "lfm": ("", ["<|tool_call_start|>", "<|tool_call_end|>"], "pythonic"),
    "gemma": ("no word", ["<|tool_call>", "<tool_call|>"], "gemma4"),
    "glm": ("", ["<tool_call>", "<arg_key>"], "glm"),
    "the template counts more": ("<tool_call>", ["<|python_tag|>", "[TOOL_CALLS]"], "hermes"),
    "nothing": ("", ["<s>"], "json"),
    "gpt-oss": ("", ["<|channel|>", "<|message|>"], "harmony"),
}


@pytest.mark.parametrize("case", SPECIAL)
def test_special_tokens_tell_where_the_template_does_not(case):
    template, tokens, name = SPECIAL[case]
    assert detect(template, tokens).dialect.name == name


def test_text_to_everybody_has_a_header_too():
    text = "all\nLook:>>>now\n{}>>>all\nDone"
    assert folded(same_for_every_cut(">>>${recipient}", text)) == (
        "Look:Done",
        [NOTHING],
        "tool_calls",
    )


def test_code_of_functionary():
    found = same_for_every_cut("<function= </function>", "<|python_tag|>print(1)")
    assert folded(found)[1] == [("python", {"code": "print(1)"})]


SCRAPS = [*'{}[]"<>|:,\n\\ a', "<think>", "</think>", '{"name": "now", "arguments": {}}']


def damaged(text: str, random: Random) -> str:
    """A text with something put in, taken out, repeated or cut off."""
    at, how = random.randrange(len(text)), random.randrange(4)
    if how == 0:
        return text[:at] + random.choice(SCRAPS) + text[at:]
    if how == 1:
        return text[:at] + text[at + random.randrange(1, 12) :]
    return text[: at + 1] if how == 2 else text[:at] + text[max(0, at - 20) :]


@pytest.mark.parametrize("style", STYLES)
def test_damaged_text(style):
    """Whatever a model writes: no exception, the same for every cut, and arguments are JSON that UTF-8 can write."""
    one, random = STYLES[style], Random(style)
    for _ in range(12):
        text = damaged(damaged(one.write([random.choice([OSLO, NESTED, MARKS])]), random), random)
        whole = events(one.template, [text])
        for cut in CUTS.values():
            assert merged(events(one.template, cut(text))) == merged(whole)
        folded(whole)
        assert all(event.text.encode() for event in whole if isinstance(event, CallText))
        if not one.alone and not any(isinstance(e, CallEnd) for e in whole) and "to=" not in text:
            assert squeezed(folded(whole)[0]) == squeezed(text).replace(">>>all", "")


GPT = "<|channel|> <|message|>"
GPT_CALLS = [
    "<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{}<|call|>",
    "<|channel|>commentary to=functions.weather<|message|>{}",
    " to=functions.weather<|channel|>commentary json<|message|>{}<|call|>",
]


@pytest.mark.parametrize("text", GPT_CALLS)
def test_harmony(text):
    args = '{"city": "Oslo", "days": 3}'
    thought = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant"
    whole = thought + text.replace("{}", args)
    for cut in CUTS.values():
        splitter = detect(GPT).start("<|start|>assistant", TOOLS)
        found = [e for piece in cut(whole) for e in splitter.push(piece)] + splitter.end("stop")
        assert "".join(e.text for e in found if isinstance(e, Reasoning)) == "hm"
        rest = [e for e in found if not isinstance(e, Reasoning)]
        assert folded(rest) == ("", [OSLO], "tool_calls")


# text of the message, its tool and arguments; no tool: content, and reasoning
HEARD = {
    "python": (" to=python<|channel|>analysis code<|message|>print(1)\n", ("python", {"code": "print(1)\n"})),
    "python in JSON": (
        '<|channel|>analysis to=python <|constrain|>json<|message|>{"code": 1}', ("python", {"code": 1}),
    ),
    "browser": (
        '<|channel|>commentary to=browser.search code<|message|>{"query": "é"}', ("browser.search", {"query": "é"}),
    ),
    "without namespace": ("<|channel|>commentary to=now<|message|>{}", ("now", {})),
    "raw line break": (
        '<|channel|>commentary to=functions.note<|message|>{"text": "a\nb"}', ("note", {"text": "a\nb"}),
    ),
    "preamble": ("<|channel|>commentary<|message|>I will look.", ("I will look.", "")),
    "to the assistant": ("<|start|>browser.search to=assistant<|channel|>commentary<|message|>{}", ("", "{}")),
    "not a tool": ("<|channel|>commentary to=nobody<|message|>hm", ("", "hm")),
    "NaN": ('<|channel|>commentary to=functions.now<|message|>{"x": NaN}', ('{"x": NaN}', "")),
    "deep": ("<|channel|>commentary to=functions.now<|message|>" + "[" * 3000, ("[" * 3000, "")),
}  # fmt: skip


@pytest.mark.parametrize("case", HEARD)
def test_harmony_recipients(case):
    text, (first, second) = HEARD[case]
    for end in ("<|call|>", "<|end|>", ""):
        for cut in CUTS.values():
            splitter = detect(GPT).start("<|start|>assistant", TOOLS)
            found = [e for piece in cut(text + end) for e in splitter.push(piece)] + splitter.end(
                "stop"
            )
            thought = "".join(e.text for e in found if isinstance(e, Reasoning))
            content, calls, _ = folded([e for e in found if not isinstance(e, Reasoning)])
            if isinstance(second, dict):
                assert (content, thought, calls) == ("", "", [(first, second)])
            else:
                assert (content, thought, calls) == (first, second, [])


def test_harmony_cut_off():
    splitter = detect(GPT).start("<|start|>assistant", TOOLS)
    found = splitter.push(GPT_CALLS[1].replace("{}", '{"city": "Os')) + splitter.end("length")
    assert folded(found) == ('{"city": "Os', [], "length")

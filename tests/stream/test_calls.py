"""Tool calls in every dialect: the same events however the text is cut, and never a lost character."""

import json
from collections.abc import Callable
from dataclasses import dataclass

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
Arguments = dict[str, object]


@dataclass(frozen=True)
class Style:
    """How a family writes calls, after its model card; nothing of ours."""

    template: str
    one: Callable[[str, Arguments], str]
    first: str = ""
    between: str = "\n"
    last: str = ""
    alone: bool = False  # calls stand at the beginning of an answer, without text around them

    def write(self, calls: list[tuple[str, Arguments]]) -> str:
        return self.first + self.between.join(self.one(*call) for call in calls) + self.last


def dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def keyed(first: str, second: str) -> Callable[[str, Arguments], str]:
    return lambda name, arguments: dumps({first: name, second: arguments})


def plain(value: object) -> str:
    return value if isinstance(value, str) else dumps(value)


def glm(name: str, arguments: Arguments) -> str:
    pairs = (
        f"<arg_key>{k}</arg_key>\n<arg_value>{plain(v)}</arg_value>\n" for k, v in arguments.items()
    )
    return f"<tool_call>{name}\n{''.join(pairs)}</tool_call>"


def coder(name: str, arguments: Arguments) -> str:
    pairs = (f"<parameter={k}>\n{plain(v)}\n</parameter>\n" for k, v in arguments.items())
    return f"<tool_call>\n<function={name}>\n{''.join(pairs)}</function>\n</tool_call>"


def python(name: str, arguments: Arguments) -> str:
    return f"{name}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})"


def deepseek_r1(name: str, arguments: Arguments) -> str:
    return f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{dumps(arguments)}\n```<｜tool▁call▁end｜>"


def kimi(name: str, arguments: Arguments) -> str:
    middle = "<|tool_call_argument_begin|>"
    return f"<|tool_call_begin|>functions.{name}:0{middle}{dumps(arguments)}<|tool_call_end|>"


LLAMA = keyed("name", "parameters")
USUAL = keyed("name", "arguments")
DEEPSEEK = dict(first="<｜tool▁calls▁begin｜>", last="<｜tool▁calls▁end｜>")
STYLES = {
    "hermes": Style("<tool_call>", lambda n, a: f"<tool_call>\n{USUAL(n, a)}\n</tool_call>"),
    "glm 4.5": Style("<tool_call> <arg_key>", glm),
    "qwen 3 coder": Style("<tool_call> <function= <parameter=", coder),
    "lfm 2": Style(
        "<|tool_call_start|>", python, "<|tool_call_start|>[", ", ", "]<|tool_call_end|>"
    ),
    "gemma": Style("```tool_code", python, "```tool_code\n", "\n", "\n```"),
    "gemma printed": Style(
        "```tool_code", lambda n, a: f"print({python(n, a)})", "```tool_code\n", "\n", "\n```"
    ),
    "mistral 3": Style("[TOOL_CALLS]", USUAL, "[TOOL_CALLS][", ", ", "]"),
    "mistral 11": Style("[TOOL_CALLS] [ARGS]", lambda n, a: f"[TOOL_CALLS]{n}[ARGS]{dumps(a)}", between=""),
    "mistral 13": Style(
        "[TOOL_CALLS] [ARGS]", lambda n, a: f"[TOOL_CALLS]{n}[CALL_ID]abcdefghi[ARGS]{dumps(a)}", between=""
    ),
    "deepseek r1": Style("<｜tool▁calls▁begin｜> ```json", deepseek_r1, **DEEPSEEK),
    "deepseek 3.1": Style(
        "<｜tool▁calls▁begin｜>",
        lambda n, a: f"<｜tool▁call▁begin｜>{n}<｜tool▁sep｜>{dumps(a)}<｜tool▁call▁end｜>",
        between="",
        **DEEPSEEK,
    ),
    "kimi": Style(
        "<|tool_calls_section_begin|>", kimi, "<|tool_calls_section_begin|>", "", "<|tool_calls_section_end|>"
    ),
    "granite": Style("<|tool_call|>", USUAL, "<|tool_call|>[", ", ", "]"),
    "phi 4": Style("<|tool_call|>", USUAL, "<|tool_call|>[", ", ", "]<|/tool_call|>"),
    "command r": Style(
        "<|START_ACTION|>", keyed("tool_name", "parameters"), "<|START_ACTION|>[\n", ",\n", "\n]<|END_ACTION|>"
    ),
    "firefunction": Style("functools", USUAL, " functools[", ", ", "]"),
    "llama": Style("<|python_tag|>", LLAMA, between="; ", alone=True),
    "llama tagged": Style("<|python_tag|>", LLAMA, "<|python_tag|>", "; ", alone=True),
    "json": Style("", USUAL, alone=True),
    "openai json": Style(
        "",
        lambda n, a: dumps({"type": "function", "function": {"name": n, "arguments": dumps(a)}}),
        "[", ", ", "]", alone=True,
    ),
    "glm 4": Style("<|observation|>", lambda n, a: f"{n}\n{dumps(a)}", alone=True),
}  # fmt: skip

OSLO = ("weather", {"city": "Oslo", "days": 3})
NESTED = (
    "note",
    {"text": 'a "b" {c} [d]', "tags": [1, [2, {"x": None}], True], "at": {"y": {"z": -1.5e3}}},
)
LETTERS = ("note", {"text": "žluťoučký 🦆 \\ / é", "tags": ["日本"]})
NOTHING = ("now", {})
CALLS = {
    "one": [OSLO],
    "parallel": [OSLO, NOTHING, OSLO],
    "nested": [NESTED],
    "letters": [LETTERS],
    "no arguments": [NOTHING],
}
CUTS: dict[str, Callable[[str], list[str]]] = {
    "whole": lambda text: [text],
    "every character": list,
    "threes": lambda text: [text[i : i + 3] for i in range(0, len(text), 3)],
}


def events(template: str, pieces: list[str], reason: str = "stop") -> list[Event]:
    splitter = detect(template).start("", TOOLS)
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
    one = STYLES[style]
    found = same_for_every_cut(one.template, one.write(CALLS[calls]))
    assert folded(found) == ("", CALLS[calls], "tool_calls")
    ids = [event.id for event in found if isinstance(event, Call)]
    if style not in ("kimi", "mistral 13"):  # these write ids of their own
        assert len(set(ids)) == len(ids)
    if "mistral" in style:
        assert all(len(id) == 9 and id.isalnum() for id in ids)


@pytest.mark.parametrize("style", STYLES)
def test_text_around(style):
    one = STYLES[style]
    text = one.write([OSLO, NOTHING])
    before = "" if one.alone else "Let me see.\n\n"
    after = "" if one.alone or "mistral" in style else "\nDone."
    content, calls, finish = folded(same_for_every_cut(one.template, before + text + after))
    assert content == before.strip() + after
    assert (calls, finish) == ([OSLO, NOTHING], "tool_calls")


@pytest.mark.parametrize("style", STYLES)
def test_no_call(style):
    text = "It is 3 < 4, {not} a [call] `x`.\n"
    found = same_for_every_cut(STYLES[style].template, text)
    assert folded(found) == (text, [], "stop")


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
            assert content.replace(" ", "") == text[:end].replace(" ", "") or content == text[:end]


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


def test_harmony_cut_off():
    splitter = detect(GPT).start("<|start|>assistant", TOOLS)
    found = splitter.push(GPT_CALLS[1].replace("{}", '{"city": "Os')) + splitter.end("length")
    assert folded(found) == ('{"city": "Os', [], "length")

"""Reasoning and content: the same events however the text is cut."""

import re

import pytest

from mistralrs.stream.events import Content, Event, Finish, Reasoning
from mistralrs.stream.format import detect
from mistralrs.stream.think import THINK

QWEN = "... <think> ... </think> ..."
OPEN = "<|assistant|><think>\n"
GPT = "... <|start|>assistant<|channel|>final<|message|> ..."
START = "<|start|>assistant"
GRANITE = (
    "Write your thoughts between <think></think> and your response between <response></response>"
)
GRANITE_32 = "Here is my thought process: ... Here is my response:"
APRIEL = "... after the marker [BEGIN FINAL RESPONSE]."
GLIMMER = "to=self <|eom|>"


def events(template: str | None, prompt: str, pieces: list[str]) -> list[Event]:
    splitter = detect(template).start(prompt)
    said = [event for piece in pieces for event in splitter.push(piece)]
    return said + splitter.end("stop")


def joined(events: list[Event]) -> tuple[str, str]:
    kinds = {Content: "", Reasoning: ""}
    for event in events:
        if not isinstance(event, Finish):
            kinds[type(event)] += event.text
    return kinds[Reasoning], kinds[Content]


CASES = [
    # template, prompt, text, reasoning, content
    (None, "", "plain <think>x</think>", "", "plain <think>x</think>"),
    ("no markers", "", "\n  Hi there \n", "", "Hi there \n"),
    ("only </think>", OPEN, "a</think>b", "", "a</think>b"),
    (QWEN, "", "Hello", "", "Hello"),
    (QWEN, "", "<think>\nhm\n</think>\n\nYes", "hm\n", "Yes"),
    (QWEN, OPEN, "hm\n</think>\n\nYes", "hm\n", "Yes"),
    (QWEN, OPEN, "never closed", "never closed", ""),
    (QWEN, "<think>\n\n</think>\n\n", "Yes", "", "Yes"),
    (QWEN, "", "<think>\n\n</think>\n\nYes", "", "Yes"),
    (QWEN, "", "<think>a</think>b<think>c</think>d", "ac", "bd"),
    (QWEN, "", "a < b <thin> </think> <thi", "", "a < b <thin> </think> <thi"),
    (QWEN, OPEN, "a </ b </thin", "a </ b </thin", ""),
    ("[THINK][/THINK]", "", "[THINK]a[/THINK]b[INST]", "a", "b[INST]"),
    ("<seed:think></seed:think>", "x<seed:think>", "a</seed:think>b", "a", "b"),
    ("<|channel> <channel|>", "", "<|channel>thought\nhm\n<channel|>Yes", "hm\n", "Yes"),
    ("<|channel> <channel|>", "<|channel>thought\n<channel|>", "Yes", "", "Yes"),
    (GRANITE, "", "<think>hm</think>\n<response>Yes</response>", "hm", "Yes"),
    (GRANITE_32, "", "Here is my thought process:\nhm\nHere is my response:\n\nYes", "hm\n", "Yes"),
    (
        APRIEL,
        "Here are my reasoning steps:\n",
        "hm\n[BEGIN FINAL RESPONSE]\nYes\n[END FINAL RESPONSE]",
        "hm\n",
        "Yes\n",
    ),
    ("<think{}> :opensource", "", "<think:opensource>hm</think:opensource>Yes", "hm", "Yes"),
    (
        GLIMMER,
        START,
        " to=self<|message|>hm<|eom|><|start|>assistant to=user<|message|>Yes",
        "hm",
        "Yes",
    ),
    (
        "<thinking></thinking> <mm:think></mm:think>",
        "",
        "<thinking>a</thinking>b<mm:think>c",
        "ac",
        "b",
    ),
    (GPT, START, "<|channel|>final<|message|>Hi<|return|>", "", "Hi"),
    (
        GPT,
        START,
        f"<|channel|>commentary<|message|>Wait.<|end|>{START}<|channel|>final<|message|>Hi",
        "",
        "Wait.Hi",
    ),
    (
        GPT,
        START,
        f"<|channel|>analysis<|message|>hm <|end|>{START}<|channel|>final<|message|>Hi",
        "hm ",
        "Hi",
    ),
    (GPT, START, "<|channel|>commentary to=f <|constrain|>json<|message|>{}<|call|>", "{}", ""),
    (GPT, START, f"<|message|>a<|end|>{START}<|channel|>analysis<|message|>b < c", "b < c", "a"),
    (GPT, START, "no markers <|cha", "", "no markers <|cha"),
    (GPT, START, "<|channel|>fin", "", ""),
    (GPT, f"<|start|>user<|message|>?<|end|>{START}<|channel|>final<|message|>", "Hi", "", "Hi"),
]


@pytest.mark.parametrize(("template", "prompt", "text", "reasoning", "content"), CASES)
def test_every_cut_gives_the_same_events(template, prompt, text, reasoning, content):
    cuts = [[text[:at], text[at:]] for at in range(len(text) + 1)]
    for pieces in (*cuts, list(text), [text]):
        said = events(template, prompt, pieces)
        assert joined(said) == (reasoning, content)
        assert [event for event in said if isinstance(event, Finish)] == [Finish("stop")]
        assert said[-1] == Finish("stop")
        assert all(event.text for event in said[:-1])


def test_text_is_not_held_back_without_need():
    splitter = detect(QWEN).start(OPEN)
    assert splitter.push("so") == [Reasoning("so")]
    assert splitter.push(" <") == [Reasoning(" ")]
    assert splitter.push("=") == [Reasoning("<=")]
    assert splitter.push("</think>\n\nYes") == [Content("Yes")]
    assert splitter.end("length") == [Finish("length")]


@pytest.mark.parametrize("mark", THINK)
def test_markers_are_kept_visible(mark):
    found = detect(" ".join(mark.named))
    assert found.marks >= mark.kept
    assert detect(None, mark.kept).marks >= set(mark.tokens or mark.named[:2]) or mark.words
    assert detect(mark.named[0][:-1]).marks == frozenset()


THINKING = "{% if thinking %}<think>{% endif %}</think>"
OPENAI = "<|start|><|channel|><|message|>"
LEADS = [
    # template, end of the prompt, output before the answer
    (THINKING, "<|im_start|>assistant\n<think>\n", "so ...\n</think>"),
    (THINKING, "<|im_start|>assistant\n<think>\n\n</think>\n\n", None),
    ("plain", "<|im_start|>assistant\n", None),
    (
        OPENAI,
        "<|start|>assistant",
        "<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    (OPENAI, "<|start|>assistant", "<|channel|>final <|constrain|>json<|message|>"),
]


@pytest.mark.parametrize(("template", "prompt", "before"), LEADS)
def test_an_answer_begins_behind_its_lead(template, prompt, before):
    """What the lead matches is no content yet, and what follows it is."""
    lead = detect(template).lead(prompt)
    if before is None:
        assert lead is None
        return
    ends = [i for i in range(len(before) + 1) if re.search(lead, before[:i])]
    assert ends == [len(before)]
    events = detect(template).start(prompt).push(before + "{}")
    assert [event for event in events if isinstance(event, Content)] == [Content("{}")]

"""Chunks and whole responses are folds over the same events, so they agree."""

import json

import pytest

from mistralrs.api.piece import Piece, Token
from mistralrs.api.prompt import Prompt
from mistralrs.api.requests import CompletionRequest
from mistralrs.api.responses import ChatCompletionChunkResponse
from mistralrs.stream.format import detect
from mistralrs.stream.response import ChatReply, CompletionReply, Cost, Header, usage

THINK = detect("<think></think>")
HEADER = Header("12", "tiny", 1700000000)
COST = Cost(prompt_seconds=0.5, completion_seconds=2.0, cached_tokens=2)


class Bytes:
    """A vocabulary whose ids are bytes."""

    def bytes(self, id: int) -> bytes:
        return bytes([id])


def reply(n=1, text="") -> ChatReply:
    return ChatReply(Prompt(tokens=(1, 2, 3), n=n, text=text), Bytes(), THINK, HEADER)


PIECES = [
    Piece(0, (Token(1),), "<think>"),
    Piece(1, (Token(2),), " Hi"),
    Piece(0, (Token(3), Token(4)), "hm</think>\n\nYes"),
    Piece(1, (Token(5),), "", "length"),
    Piece(0, (Token(6),), "", None),
    Piece(0, (Token(7),), "!", "stop"),
]


def test_chunks():
    chat = reply(n=2)
    chunks = [chunk for piece in PIECES for chunk in chat.chunks(piece, COST)]
    assert [shape(chunk) for chunk in chunks] == [
        (1, None, "Hi", None, False),
        (0, "hm", None, None, False),
        (0, None, "Yes", None, False),
        (1, None, None, "length", False),
        (0, None, "!", "stop", True),
    ]
    assert chat.done
    assert {(chunk.id, chunk.model, chunk.created) for chunk in chunks} == {
        ("12", "tiny", 1700000000)
    }
    assert {chunk.choices[0].delta.role for chunk in chunks} == {"assistant"}
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


def shape(chunk: ChatCompletionChunkResponse):
    (choice,) = chunk.choices
    delta = choice.delta
    said = (choice.index, delta.reasoning_content, delta.content)
    return (*said, choice.finish_reason, chunk.usage is not None)


def test_the_whole_response_is_the_same_fold():
    streamed, whole = reply(n=2), reply(n=2)
    for piece in PIECES:
        list(streamed.chunks(piece))
        whole.push(piece)
    assert streamed.response(COST) == whole.response(COST)
    response = whole.response(COST)
    messages = [choice.message for choice in response.choices]
    assert [(m.reasoning_content, m.content) for m in messages] == [("hm", "Yes!"), (None, "Hi")]
    assert [choice.finish_reason for choice in response.choices] == ["stop", "length"]
    assert response.usage.completion_tokens == 7
    assert response.usage.prompt_tokens_details.cached_tokens == 2
    assert json.loads(response.to_json())["choices"][0]["message"]["content"] == "Yes!"


@pytest.mark.parametrize(
    ("pieces", "reasoning", "content", "finish"),
    [
        ([], None, "", "canceled"),
        ([Piece(0, (), "", "stop")], None, "", "stop"),
        ([Piece(0, (), "<think>x", "length")], "x", None, "length"),
        ([Piece(0, (), "a <th"), Piece(0, (), "", "stop")], None, "a <th", "stop"),
    ],
)
def test_unusual_ends(pieces, reasoning, content, finish):
    chat = reply()
    for piece in pieces:
        chat.push(piece)
    (choice,) = chat.response().choices
    assert choice.message.reasoning_content == reasoning
    assert choice.message.content == content
    assert choice.finish_reason == finish


def test_reasoning_that_the_prompt_began():
    chat = reply(text="<|assistant|><think>\n")
    chat.push(Piece(0, (), "hm</think>Yes", "stop"))
    assert chat.response().choices[0].message.reasoning_content == "hm"


def test_log_probabilities():
    chat = reply()
    tokens = (Token(72, -0.5, ((72, -0.5), (0xC3, -1.0))), Token(0xC3, -2.0), Token(105, -3.0))
    chunks = chat.chunks(Piece(0, tokens, "Hi", "stop"))
    reports = [chunk.choices[0].logprobs for chunk in chunks]
    assert [report.token for report in reports] == ["H", "\ufffd", "i"]
    assert [report.bytes for report in reports] == [[72], [0xC3], [105]]
    assert [(top.token, top.bytes) for top in reports[0].top_logprobs] == [
        (72, "H"),
        (0xC3, "\ufffd"),
    ]
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["Hi", None, None]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, "stop"]
    assert list(chat.response().choices[0].logprobs.content) == reports


def completed(**fields):
    request = CompletionRequest("Say", **fields)
    prompt = Prompt(tokens=(1, 2), n=request.candidates, text="Say")
    answer = CompletionReply(request, prompt, HEADER)
    for index, logprob in zip(range(prompt.n), (-3.0, -1.0, -2.0), strict=False):
        answer.push(Piece(index, (Token(1, logprob),), f" {index}"))
        answer.push(Piece(index, (Token(1, logprob),), "", "stop"))
    assert answer.done
    return [(choice.index, choice.text) for choice in answer.response().choices]


@pytest.mark.parametrize(
    ("fields", "choices"),
    [
        ({}, [(0, " 0")]),
        ({"n_choices": 3}, [(0, " 0"), (1, " 1"), (2, " 2")]),
        ({"n_choices": 3, "best_of": 2}, [(0, " 1"), (1, " 2")]),
        ({"n_choices": 3, "best_of": 3}, [(0, " 1"), (1, " 2"), (2, " 0")]),
        ({"n_choices": 1, "best_of": 3}, [(0, " 1")]),
        ({"echo_prompt": True, "suffix": "."}, [(0, "Say 0.")]),
    ],
)
def test_completions(fields, choices):
    assert completed(**fields) == choices


def test_usage():
    used = usage(10, 20, COST)
    assert (used.total_tokens, used.total_time_sec) == (30, 2.5)
    assert (used.avg_tok_per_sec, used.avg_prompt_tok_per_sec) == (12.0, 20.0)
    assert used.avg_compl_tok_per_sec == 10.0
    assert usage(10, 0, Cost()).avg_tok_per_sec == 0.0


def test_a_header_is_made_now():
    header = Header.new(5, "tiny")
    assert (header.id, header.model) == ("5", "tiny")
    assert header.created > HEADER.created

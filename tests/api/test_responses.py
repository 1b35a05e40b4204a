"""Responses: the JSON shape of the OpenAI API, aliases, and readable reprs."""

import json

import pytest

from mistralrs import (
    CalledFunction,
    ChatCompletionChunkResponse,
    ChatCompletionResponse,
    Choice,
    ChunkChoice,
    CompletionChoice,
    CompletionResponse,
    Delta,
    File,
    FileSource,
    ImageChoice,
    ImageGenerationResponse,
    Logprobs,
    LoraAdapterGeneration,
    PromptTokensDetails,
    ResponseLogprob,
    ResponseMessage,
    ToolCallResponse,
    ToolCallType,
    TopLogprob,
    Usage,
)

CALL = ToolCallResponse("call-1", ToolCallType.Function, CalledFunction("f", '{"x": 1}'))
LOGPROB = ResponseLogprob(
    "é", -0.5, [195, 169], [TopLogprob(7, -0.5, "é"), TopLogprob(8, -2.0, "e")]
)
USAGE = Usage(5, 3, 8, prompt_tokens_details=PromptTokensDetails(2))
CHAT = ChatCompletionResponse(
    "1",
    [
        Choice("stop", 0, ResponseMessage("hi", reasoning_content="hm"), Logprobs([LOGPROB])),
        Choice("tool_calls", 1, ResponseMessage(tool_calls=[CALL])),
    ],
    1700000000,
    "m",
    usage=USAGE,
)
CHUNK = ChatCompletionChunkResponse(
    "1",
    [ChunkChoice(None, 0, Delta("hi"), LOGPROB), ChunkChoice("stop", 1, Delta())],
    1700000000,
    "m",
)
COMPLETION = CompletionResponse("1", [CompletionChoice("length", 0, "text")], 1700000000, "m")
IMAGES = ImageGenerationResponse(1700000000, [ImageChoice(url="a.png")])


def test_chat_shape():
    first, second = CHAT.to_dict()["choices"]
    assert first["message"] == {"content": "hi", "role": "assistant", "reasoning_content": "hm"}
    assert first["logprobs"]["content"][0]["top_logprobs"][0] == {
        "token": "é",
        "logprob": -0.5,
        "bytes": [195, 169],
        "id": 7,
    }
    assert second["message"] == {
        "content": None,
        "role": "assistant",
        "tool_calls": [
            {
                "id": "call-1",
                "type": "function",
                "function": {"name": "f", "arguments": '{"x": 1}'},
                "index": 0,
            }
        ],
    }
    assert second["logprobs"] is None
    assert CHAT.to_dict()["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}
    assert {"files", "session_id", "adapter_generation"}.isdisjoint(CHAT.to_dict())


def test_chunk_shape():
    assert "usage" not in CHUNK.to_dict()
    assert CHUNK.to_dict()["choices"][0]["logprobs"] == {"content": [LOGPROB.to_dict()]}
    assert CHUNK.to_dict()["choices"][1] == {
        "finish_reason": "stop",
        "index": 1,
        "delta": {"content": None, "role": "assistant"},
        "logprobs": None,
    }


def test_extensions_appear_when_they_are_set():
    file = File("file-1", "a.txt", source=FileSource("shell", 0, 0), text="x", bytes=1)
    response = ChatCompletionResponse(
        "1", [], 0, "m", adapter_generation=LoraAdapterGeneration("7"), files=[file], session_id="s"
    )
    extra = {k: response.to_dict()[k] for k in ("adapter_generation", "files", "session_id")}
    assert extra == {
        "adapter_generation": {"generation": "7"},
        "files": [
            {
                "id": "file-1",
                "name": "a.txt",
                "bytes": 1,
                "source": {"tool": "shell", "round": 0, "turn": 0},
                "text": "x",
            }
        ],
        "session_id": "s",
    }


@pytest.mark.parametrize("response", [CHAT, CHUNK, COMPLETION, IMAGES])
def test_json_says_the_same(response):
    assert json.loads(response.to_json()) == response.to_dict() == response.model_dump()
    assert response.model_dump_json() == response.to_json()


@pytest.mark.parametrize(
    ("response", "module", "model"),
    [
        (CHAT, "openai.types.chat", "ChatCompletion"),
        (CHUNK, "openai.types.chat", "ChatCompletionChunk"),
        (COMPLETION, "openai.types", "Completion"),
        (IMAGES, "openai.types", "ImagesResponse"),
    ],
)
def test_the_openai_client_accepts_it(response, module, model):
    types = pytest.importorskip(module)
    parsed = getattr(types, model).model_validate_json(response.to_json(), strict=True)
    assert parsed.created == 1700000000


def test_images_are_also_called_choices():
    assert IMAGES.choices is IMAGES.data
    assert ImageGenerationResponse(created=1, choices=[]) == ImageGenerationResponse(1, [])


def test_repr_and_equality():
    assert repr(Usage(5, 3, 8)) == "Usage(completion_tokens=5, prompt_tokens=3, total_tokens=8)"
    assert repr(CALL) == (
        "ToolCallResponse(id='call-1', type=ToolCallType.Function, "
        "function=CalledFunction(name='f', arguments='{\"x\": 1}'))"
    )
    assert Usage(5, 3, 8) == Usage(5, 3, 8) != USAGE


def test_impossible_tokens_are_valid_json():
    """A model may give a token no chance at all; JSON has no infinity, and OpenAI writes -9999."""
    never = TopLogprob(8, float("-inf"), "e")
    token = ResponseLogprob("e", float("-inf"), [101], [never])
    assert token.logprob == never.logprob == float("-inf")
    shown = json.loads(json.dumps(token.to_dict(), allow_nan=False))
    assert (shown["logprob"], shown["top_logprobs"][0]["logprob"]) == (-9999.0, -9999.0)

"""Messages, as the Anthropic API has them."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, StrictBool, StrictInt, StrictStr

from mistralrs.aio import AsyncChatStream, AsyncRunner
from mistralrs.api.errors import RequestError
from mistralrs.api.requests import ChatCompletionRequest
from mistralrs.api.responses import ChatCompletionChunkResponse, ChatCompletionResponse
from mistralrs.server.bodies import Json, Number, fetchable, given
from mistralrs.server.guard import Metrics
from mistralrs.server.work import count, data, new_id, streamed, timed, while_connected

REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
CHOICES: dict[str, Any] = {"auto": "auto", "any": "required", "none": "none"}


class CountBody(BaseModel):
    """POST /v1/messages/count_tokens."""

    model: StrictStr = "default"
    messages: list[Json]
    system: StrictStr | list[Json] | None = None
    tools: list[Json] | None = None
    tool_choice: Json | None = None
    thinking: Json | None = None

    def request(self, **more: Any) -> ChatCompletionRequest:
        """Return the request of the SDK."""
        system = [{"role": "system", "content": text(self.system)}] if self.system else []
        turns = [turn for message in self.messages for turn in converted(message)]
        thinks = None if self.thinking is None else self.thinking.get("type") != "disabled"
        request = ChatCompletionRequest(
            messages=system + turns,
            model=self.model,
            **given(tool_schemas=tools(self.tools), tool_choice=choice(self.tool_choice)),
            **given(enable_thinking=thinks, **more),
        )
        return fetchable(request)


class MessageBody(CountBody):
    """POST /v1/messages."""

    max_tokens: StrictInt
    stream: StrictBool = False
    stop_sequences: list[StrictStr] | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: StrictInt | None = None

    def whole(self) -> ChatCompletionRequest:
        """Return the request of the SDK with everything about the answer."""
        return self.request(
            max_tokens=self.max_tokens, stream=self.stream, stop_seqs=self.stop_sequences,
            temperature=self.temperature, top_p=self.top_p, top_k=self.top_k,
        )  # fmt: skip


def routes(runner: AsyncRunner, metrics: Metrics) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v1/messages", tags=["Anthropic"])

    @router.post("")
    async def messages(body: MessageBody, request: Request) -> Response:
        """Answer a chat."""
        result = await while_connected(request, runner.send_chat_completion_request(body.whole()))
        if isinstance(result, AsyncChatStream):
            events = Stream(body.model).events(timed(result, metrics))
            return streamed(request.url.path, events, end="")
        count(metrics, result.usage)
        return JSONResponse(message(result))

    @router.post("/count_tokens")
    async def count_tokens(body: CountBody) -> dict[str, int]:
        """Count the tokens of a prompt."""
        number = await asyncio.to_thread(runner.runner.count_tokens, body.request())
        return {"input_tokens": number}

    return router


def text(value: str | list[Json]) -> str:
    """Return a text, or the texts of blocks."""
    if isinstance(value, str):
        return value
    return "\n".join(str(b.get("text", "")) if isinstance(b, dict) else str(b) for b in value)


def tools(given: list[Json] | None) -> list[Json] | None:
    """Return tools in OpenAI's form."""
    keys = {"input_schema": "parameters", "name": "name", "description": "description"}
    found = [{keys[k]: v for k, v in tool.items() if k in keys} for tool in given or ()]
    return [{"type": "function", "function": function} for function in found] or None


def choice(given: Json | None) -> Any:
    """Return a tool choice in OpenAI's form."""
    if given is None:
        return None
    if given.get("type") == "tool":
        return {"type": "function", "function": {"name": given.get("name")}}
    if given.get("type") not in CHOICES:
        raise RequestError(
            f"tool_choice.type: {given.get('type')!r} is none of auto, any, tool, none"
        )
    return CHOICES[given["type"]]


def converted(message: Json) -> list[Json]:
    """Return one message as messages in OpenAI's form: results of tools are messages of their own."""
    role, content = message.get("role"), message.get("content")
    if not isinstance(content, list):
        return [{"role": role, "content": content}]
    results = [result(block) for block in content if kind(block) == "tool_result"]
    calls = [call(block) for block in content if kind(block) == "tool_use"]
    parts = [part(block) for block in content if kind(block) in ("text", "image")]
    said: list[Json] = []
    if role == "assistant":
        words = "".join(p["text"] for p in parts if p["type"] == "text")
        said = [{"role": role, "content": words or None, **given(tool_calls=calls or None)}]
    elif parts:
        said = [{"role": role, "content": parts}]
    return results + said


def kind(block: Any) -> str:
    """Return the type of a block; RequestError for one that is unknown."""
    known = ("text", "image", "tool_use", "tool_result", "thinking", "redacted_thinking")
    found = block.get("type") if isinstance(block, dict) else None
    if found not in known:
        raise RequestError(f"messages: a block of type {found!r}; known are {', '.join(known)}")
    return str(found)


def part(block: Json) -> Json:
    """Return a text or an image as a part of OpenAI's form."""
    if block["type"] == "text":
        return {"type": "text", "text": str(block.get("text", ""))}
    source = block.get("source")
    if not isinstance(source, dict):
        raise RequestError('messages: an image needs {"source": {"type": "base64" or "url", ...}}')
    url = source.get("url") or f"data:{source.get('media_type')};base64,{source.get('data')}"
    return {"type": "image_url", "image_url": {"url": url}}


def call(block: Json) -> Json:
    """Return a call of a tool."""
    function = {"name": block.get("name"), "arguments": json.dumps(block.get("input") or {})}
    return {"id": block.get("id"), "type": "function", "function": function}


def result(block: Json) -> Json:
    """Return the result of a tool."""
    content = text(block.get("content") or "")
    return {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": content}


def message(response: ChatCompletionResponse) -> Json:
    """Return a whole answer."""
    one = response.choices[0]
    blocks: list[Json] = []
    if one.message.reasoning_content:
        blocks.append(thinking(one.message.reasoning_content))
    if one.message.content:
        blocks.append({"type": "text", "text": one.message.content})
    for made in one.message.tool_calls or ():
        arguments = json.loads(made.function.arguments)
        blocks.append(
            {"type": "tool_use", "id": made.id, "name": made.function.name, "input": arguments}
        )
    return head(response.model, response.usage.prompt_tokens) | {
        "content": blocks,
        "stop_reason": REASONS.get(one.finish_reason, "end_turn"),
        "usage": tokens(response.usage.prompt_tokens, response.usage.completion_tokens),
    }


def thinking(words: str) -> Json:
    """Return a block of reasoning."""
    return {"type": "thinking", "thinking": words, "signature": ""}


def tokens(read: int, written: int) -> Json:
    """Return counts of tokens."""
    return {"input_tokens": read, "output_tokens": written}


def head(model: str, read: int = 0) -> Json:
    """Return an answer that has not begun."""
    return {
        "id": new_id("msg_"), "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": tokens(read, 0),
    }  # fmt: skip


Block = Literal["text", "thinking", "tool_use"]


class Stream:
    """Named events made of chunks: a block begins when the kind of what is said changes."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.index = -1
        self.open: tuple[Block, int] | None = None  # kind, and the number of the call

    async def events(
        self, chunks: AsyncGenerator[ChatCompletionChunkResponse]
    ) -> AsyncIterator[str]:
        """Yield the events of an answer."""
        yield self.event("message_start", message=head(self.model))
        reason, usage = "end_turn", tokens(0, 0)
        async with aclosing(chunks):
            async for chunk in chunks:
                for one in chunk.choices:
                    for event in self.said(one.delta):
                        yield event
                    reason = REASONS.get(one.finish_reason or "", reason)
                if chunk.usage:
                    usage = tokens(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        for event in self.close():
            yield event
        yield self.event(
            "message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=usage
        )
        yield self.event("message_stop")

    def said(self, delta: Any) -> list[str]:
        """Return the events of one delta."""
        out: list[str] = []
        if delta.reasoning_content:
            out += self.enter("thinking", 0, thinking(""))
            out.append(self.more("thinking_delta", thinking=delta.reasoning_content))
        if delta.content:
            out += self.enter("text", 0, {"type": "text", "text": ""})
            out.append(self.more("text_delta", text=delta.content))
        for made in delta.tool_calls or ():
            block = {"type": "tool_use", "id": made.id, "name": made.function.name, "input": {}}
            out += self.enter("tool_use", made.index, block)
            if made.function.arguments:
                out.append(self.more("input_json_delta", partial_json=made.function.arguments))
        return out

    def enter(self, kind: Block, number: int, block: Json) -> list[str]:
        """Return the events that begin a block, unless it is open."""
        if self.open == (kind, number):
            return []
        out = self.close()
        self.open, self.index = (kind, number), self.index + 1
        return [*out, self.event("content_block_start", index=self.index, content_block=block)]

    def close(self) -> list[str]:
        """Return the event that ends the open block."""
        if self.open is None:
            return []
        self.open = None
        return [self.event("content_block_stop", index=self.index)]

    def more(self, kind: str, **value: str) -> str:
        """Return the event that adds to the open block."""
        return self.event("content_block_delta", index=self.index, delta={"type": kind, **value})

    def event(self, kind: str, **value: Any) -> str:
        """Return one event."""
        return data({"type": kind, **value}, kind)

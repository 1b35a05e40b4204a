"""Responses, as the OpenAI API has them: an answer is a resource that can be read, continued and canceled."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import AliasChoices, BaseModel, Field, StrictBool, StrictInt, StrictStr
from starlette.exceptions import HTTPException

from mistralrs.aio import AsyncChatStream, AsyncRunner
from mistralrs.api.errors import RequestError
from mistralrs.api.requests import ChatCompletionRequest
from mistralrs.api.responses import Usage
from mistralrs.server.bodies import ChatBody, Json, Number
from mistralrs.server.errors import described
from mistralrs.server.guard import Metrics
from mistralrs.server.items import choice, messages, text_format, tool
from mistralrs.server.work import data, new_id, streamed, timed, while_connected

KEPT = 1000  # stored responses, the oldest are forgotten


class ResponseBody(BaseModel):
    """POST /v1/responses."""

    input: StrictStr | list[Json]
    model: StrictStr = "default"
    instructions: StrictStr | None = None
    previous_response_id: StrictStr | None = None
    stream: StrictBool | None = None
    background: StrictBool | None = None
    store: StrictBool | None = None
    metadata: Json | None = None
    max_output_tokens: StrictInt | None = Field(
        None,
        validation_alias=AliasChoices("max_output_tokens", "max_tokens", "max_completion_tokens"),
    )
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: StrictInt | None = None
    min_p: Number | None = None
    stop: StrictStr | list[StrictStr] | None = None
    seed: StrictInt | None = None
    tools: list[Json] | None = None
    tool_choice: StrictStr | Json | None = None
    parallel_tool_calls: StrictBool | None = None
    max_tool_calls: StrictInt | None = None
    reasoning: Json | None = None
    text: Json | None = None
    truncation: StrictStr | None = None

    def request(self, before: list[Json]) -> ChatCompletionRequest:
        """Return the request of the SDK for a conversation; `before` is what came first."""
        if self.parallel_tool_calls is False or self.max_tool_calls is not None:
            raise RequestError(
                "parallel_tool_calls=false and max_tool_calls are not available; leave them out"
            )
        effort = (self.reasoning or {}).get("effort")
        system = [{"role": "system", "content": self.instructions}] if self.instructions else []
        body = ChatBody(
            messages=system + before + messages(self.input), model=self.model, stream=True,
            max_tokens=self.max_output_tokens, temperature=self.temperature, top_p=self.top_p, top_k=self.top_k,
            min_p=self.min_p, stop=self.stop, seed=self.seed, tools=[tool(t) for t in self.tools or ()] or None,
            tool_choice=choice(self.tool_choice), response_format=text_format(self.text),
            reasoning_effort=effort, truncate_sequence=self.truncation == "auto",
        )  # fmt: skip
        return body.request()


@dataclass
class Stored:
    """A response and the conversation up to it."""

    resource: Json
    before: list[Json]
    task: "asyncio.Task[None] | None" = None
    said: list[Json] = field(default_factory=list)  # the answer as a message


class Fold:
    """Chunks of a chat become the output items of a resource, and events about them."""

    def __init__(self, resource: Json) -> None:
        self.resource, self.number = resource, -1
        self.item: Json | None = None  # the one that is open
        self.reasoning, self.finish = "", "stop"

    async def events(self, stream: AsyncGenerator[Any]) -> AsyncGenerator[str]:
        """Yield the events of a response while it is written."""
        yield self.event("response.created", response=dict(self.resource))
        self.resource["status"] = "in_progress"
        yield self.event("response.in_progress", response=dict(self.resource))
        async with aclosing(stream):
            async for chunk in stream:
                for one in chunk.choices:
                    for event in self.said(one.delta):
                        yield event
                    self.finish = one.finish_reason or self.finish
                if chunk.usage:
                    self.resource["usage"] = spent(chunk.usage)
        for event in self.close():
            yield event
        self.complete()
        kind = (
            "response.completed"
            if self.resource["status"] == "completed"
            else "response.incomplete"
        )
        yield self.event(kind, response=self.resource)

    def said(self, delta: Any) -> list[str]:
        """Return the events of one delta."""
        out: list[str] = []
        self.reasoning += delta.reasoning_content or ""
        if delta.content:
            out += self.text(delta.content)
        for call in delta.tool_calls or ():
            out += self.call(call)
        return out

    def text(self, words: str) -> list[str]:
        """Add to the open message, or begin one."""
        out: list[str] = []
        if self.item is None or self.item["type"] != "message":
            block = {"type": "output_text", "text": "", "annotations": []}
            item = {"type": "message", "id": new_id("msg_"), "role": "assistant", "content": []}
            out += self.begin(item)
            item["content"].append(block)  # type: ignore[attr-defined]
            out.append(self.about("response.content_part.added", content_index=0, part=dict(block)))
        assert self.item is not None
        self.item["content"][0]["text"] += words
        out.append(
            self.about("response.output_text.delta", content_index=0, delta=words, logprobs=[])
        )
        return out

    def call(self, call: Any) -> list[str]:
        """Add to the open call, or begin one."""
        out: list[str] = []
        if call.id:
            item = {"type": "function_call", "id": new_id("fc_"), "call_id": call.id}
            out += self.begin(item | {"name": call.function.name, "arguments": ""})
        assert self.item is not None
        self.item["arguments"] += call.function.arguments
        if call.function.arguments:
            kind = "response.function_call_arguments.delta"
            out.append(self.about(kind, delta=call.function.arguments))
        return out

    def begin(self, item: Json) -> list[str]:
        """Open an item."""
        out = self.close()
        self.item = item | {"status": "in_progress"}
        if "content" in item:
            self.item["content"] = item["content"]
        self.resource["output"].append(self.item)
        shown = self.item | ({"content": []} if "content" in item else {})
        return [*out, self.event("response.output_item.added", output_index=self.place, item=shown)]

    def close(self) -> list[str]:
        """Close the open item."""
        if self.item is None:
            return []
        self.item["status"] = "completed"
        out = []
        if self.item["type"] == "message":
            block = self.item["content"][0]
            out.append(
                self.about(
                    "response.output_text.done", content_index=0, text=block["text"], logprobs=[]
                )
            )
            out.append(self.about("response.content_part.done", content_index=0, part=block))
        else:
            kind = "response.function_call_arguments.done"
            out.append(self.about(kind, arguments=self.item["arguments"], name=self.item["name"]))
        out.append(self.event("response.output_item.done", output_index=self.place, item=self.item))
        self.item = None
        return out

    def complete(self) -> None:
        """Write how it ended into the resource."""
        cut = self.finish == "length"
        texts = [b["text"] for item in self.resource["output"] for b in item.get("content", ())]
        self.resource |= {
            "status": "incomplete" if cut else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "completed_at": int(time.time()),
            "output_text": "".join(texts),
            "reasoning_content": self.reasoning or None,
        }

    @property
    def place(self) -> int:
        """The number of the open item."""
        return len(self.resource["output"]) - 1

    def about(self, kind: str, **values: Any) -> str:
        """Return an event about the open item."""
        assert self.item is not None
        return self.event(kind, item_id=self.item["id"], output_index=self.place, **values)

    def event(self, kind: str, **values: Any) -> str:
        """Return one event."""
        self.number += 1
        return data({"type": kind, "sequence_number": self.number, **values}, kind)


def spent(usage: Usage) -> Json:
    """Return counts of tokens."""
    return {
        "input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip


def created(body: ResponseBody) -> Json:
    """Return the resource of a response that has not begun."""
    return {
        "id": new_id("resp_"), "object": "response", "created_at": int(time.time()), "model": body.model,
        "status": "queued", "output": [], "error": None, "incomplete_details": None,
        "instructions": body.instructions, "metadata": body.metadata or {}, "temperature": body.temperature,
        "top_p": body.top_p, "max_output_tokens": body.max_output_tokens, "tools": body.tools or [],
        "tool_choice": body.tool_choice or "auto", "parallel_tool_calls": True,
        "previous_response_id": body.previous_response_id, "background": bool(body.background),
        "text": body.text or {"format": {"type": "text"}}, "truncation": body.truncation or "disabled",
    }  # fmt: skip


def routes(runner: AsyncRunner, metrics: Metrics) -> APIRouter:
    """Return the routes over a store of their own."""
    router, desk = APIRouter(prefix="/v1/responses", tags=["Responses"]), Desk(runner, metrics)
    router.post("")(desk.create)
    router.get("/{id}")(desk.read)
    router.delete("/{id}")(desk.delete)
    router.post("/{id}/cancel")(desk.cancel)
    return router


class Desk:
    """Writes responses and keeps them."""

    def __init__(self, runner: AsyncRunner, metrics: Metrics) -> None:
        self.runner, self.metrics = runner, metrics
        self.store: OrderedDict[str, Stored] = OrderedDict()

    async def create(self, body: ResponseBody, request: Request) -> Response:
        """Answer, at once, in events, or in the background."""
        previous = self.found(body.previous_response_id) if body.previous_response_id else None
        before = previous.before + previous.said if previous else []
        wanted = body.request(before)
        stored = Stored(created(body), before + messages(body.input))
        if body.store is not False:
            self.keep(stored)
        if body.background:
            await asyncio.to_thread(self.runner.runner.count_tokens, wanted)  # mistakes show now
            stored.task = asyncio.create_task(self.quietly(stored, wanted))
        elif body.stream:
            return streamed(request.url.path, self.run(stored, wanted))
        else:
            await while_connected(request, self.to_end(stored, wanted))
        return JSONResponse(stored.resource)

    async def read(self, id: str) -> Json:
        """Return a response as it is now."""
        return self.found(id).resource

    async def delete(self, id: str) -> Json:
        """Forget a response."""
        stored = self.found(id)
        if stored.task is not None:
            stored.task.cancel()
        del self.store[id]
        return {"id": id, "object": "response.deleted", "deleted": True}

    async def cancel(self, id: str) -> Json:
        """Stop a response that is written in the background."""
        stored = self.found(id)
        if stored.task is not None and not stored.task.done():
            stored.task.cancel()
            await asyncio.gather(stored.task, return_exceptions=True)
            stored.resource["status"] = "cancelled"
        return stored.resource

    async def run(self, stored: Stored, wanted: ChatCompletionRequest) -> AsyncGenerator[str]:
        """Write a response and yield its events; how it ended stands in the resource."""
        try:
            stream = await self.runner.send_chat_completion_request(wanted)
            assert isinstance(stream, AsyncChatStream)
            fold = Fold(stored.resource).events(timed(stream, self.metrics))
            async with aclosing(fold) as events:
                async for event in events:
                    yield event
            stored.said = messages(stored.resource["output"])
        except asyncio.CancelledError:
            stored.resource["status"] = "cancelled"
            raise
        except Exception as error:
            stored.resource |= {"status": "failed", "error": described(error)[1]}
            raise

    async def to_end(self, stored: Stored, wanted: ChatCompletionRequest) -> None:
        """Write a response."""
        async for _ in self.run(stored, wanted):
            pass

    async def quietly(self, stored: Stored, wanted: ChatCompletionRequest) -> None:
        """Write a response; an error stands in the resource."""
        try:
            await self.to_end(stored, wanted)
        except Exception:
            return

    def found(self, id: str) -> Stored:
        """Return a stored response, or answer 404."""
        if id not in self.store:
            raise HTTPException(404, f"no response '{id}' is stored here")
        return self.store[id]

    def keep(self, stored: Stored) -> None:
        """Store a response, and forget the oldest of too many."""
        self.store[stored.resource["id"]] = stored
        if len(self.store) > KEPT:
            self.store.popitem(last=False)

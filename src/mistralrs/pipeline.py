"""One loaded model: requests in, responses out."""

import itertools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from mistralrs.api import answer, check, later
from mistralrs.api.errors import RequestError
from mistralrs.api.explain import Explanation
from mistralrs.api.piece import Piece
from mistralrs.api.prompt import Prompt
from mistralrs.api.requests import ChatCompletionRequest, CompletionRequest
from mistralrs.api.responses import (
    ChatCompletionChunkResponse,
    ChatCompletionResponse,
    CompletionResponse,
)
from mistralrs.api.strict import did_you_mean
from mistralrs.call import Call, Posts
from mistralrs.engine.engine import Body, Engine, Limits
from mistralrs.engine.sequence import Job
from mistralrs.load.build import Built
from mistralrs.load.explain import explain
from mistralrs.passes.fuse import forget, fuse
from mistralrs.passes.isq import parse
from mistralrs.prompt.build import Prompter
from mistralrs.prompt.grammar import Grammars, Matcher
from mistralrs.stream.format import Format
from mistralrs.stream.response import FREE, ChatReply, CompletionReply, Cost, Header
from mistralrs.stream.text import TextStream

log = logging.getLogger("mistralrs")


@dataclass(frozen=True)
class Settings:
    """What a Runner decides for every model it loads; the names are those of its arguments."""

    max_seqs: int = 16
    no_kv_cache: bool = False
    prefix_cache_n: int = 16
    token_source: str = "cache"
    in_situ_quant: str | None = None
    chat_template: str | None = None
    jinja_explicit: str | None = None
    pa_gpu_mem: int | None = None
    pa_gpu_mem_usage: float | None = None
    pa_ctxt_len: int | None = None
    pa_blk_size: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        check.apply(self, CHECKS)

    def varied(self, options: Mapping[str, Any]) -> "Settings":
        """The settings of another model: these, but for what fits only one model, with `options` in their place."""
        later.refuse("add_model", options, later.RUNNER)
        names = list(self.__dataclass_fields__)
        for name in options:
            if name not in names:
                hint = did_you_mean(name, names) or f"; its options are: {', '.join(names)}"
                raise TypeError(f"add_model has no option {name!r}{hint}")
        return replace(self, **{**dict.fromkeys(OWN), **options})


OWN = ("in_situ_quant", "chat_template", "jinja_explicit")  # what fits only one model
CHECKS: dict[str, check.Check] = {
    "max_seqs": check.count(1),
    "no_kv_cache": check.flag,
    "prefix_cache_n": check.count(0),
    "token_source": check.name,
    "in_situ_quant": check.name,
    "chat_template": check.path,
    "jinja_explicit": check.path,
    "pa_gpu_mem": check.count(0),
    "pa_gpu_mem_usage": check.number(0, 1),
    "pa_ctxt_len": check.count(1),
    "pa_blk_size": check.count(1),
    "seed": check.count(),
}


class Pipeline:
    """A text model with everything around it that turns requests into responses."""

    def __init__(
        self, id: str, built: Built, prompter: Prompter, format: Format, settings: Settings
    ):
        self.id, self.built, self.prompter, self.format = id, built, prompter, format
        self.limits = Limits(
            context=built.plan.context,
            pages=built.plan.pages,
            page_size=built.plan.page_size,
            max_running=settings.max_seqs,
            reuse=settings.prefix_cache_n > 0,
            snapshots=built.plan.states - settings.max_seqs,
            keep=not settings.no_kv_cache,
        )
        self.grammars = Grammars(prompter.tokenizer, prompter.eos, prompter.rows)
        self.tokenizer, self.context = prompter.tokenizer, built.plan.context
        self.numbers, self.posts = itertools.count(1), Posts()
        self.closed = False
        self.fused = fuse(built.model)
        self.engine = self.start()

    def start(self) -> Engine:
        """An engine over the loaded model."""
        built = self.built
        device = torch.device(built.plan.device)
        encode = built.model.encode if built.model.encoder else None
        body = Body(self.fused, device, built.salt, built.copy, encode)
        return Engine(body, self.limits)

    @property
    def modalities(self) -> dict[str, list[str]]:
        """What it reads and writes."""
        media = self.prompter.placer.processors if self.prompter.placer else ()
        return {"input": ["text", *media], "output": ["text"]}

    def chat(self, request: ChatCompletionRequest, timeout: float | None) -> "Chat":
        """Check a chat request and make it ready to run."""
        later.refuse("ChatCompletionRequest", request, later.REQUEST)
        prompt = self.calling(self.prompter.chat(request))
        read = answer.reader(request.response_format, request.grammar_type)
        reply = ChatReply(prompt, self.prompter.tokenizer, self.format, self.header(), read)
        return Chat(self.call(prompt, timeout, self.format.lead(prompt.text)), reply)

    def calling(self, prompt: Prompt) -> Prompt:
        """The prompt with a grammar for calls that have to be made, or have to fit a strict schema."""
        grammar = self.format.grammar(prompt, self.tokenizer.added)
        if grammar is None or prompt.sampling.grammar is not None:
            return prompt
        return replace(prompt, sampling=replace(prompt.sampling, grammar=grammar))

    def completion(self, request: CompletionRequest, timeout: float | None) -> "Completion":
        """Check a completion request and make it ready to run."""
        later.refuse("CompletionRequest", request, later.REQUEST)
        prompt = self.prompter.completion(request)
        return Completion(
            self.call(prompt, timeout), CompletionReply(request, prompt, self.header())
        )

    def count(self, request: ChatCompletionRequest) -> int:
        """The tokens of a chat's prompt; raises what sending it would raise."""
        return len(self.calling(self.prompter.chat(request)).tokens)

    def call(self, prompt: Prompt, timeout: float | None, lead: str | None = None) -> Call:
        """A call of the engine, which is started again if it died. A grammar begins behind `lead`."""
        constrain = self.constrain(prompt, lead)
        if timeout is not None:
            timeout = check.number(above=0)("timeout", timeout)
        if self.engine.failure is not None and not self.closed:
            log.warning("starting the engine of '%s' again", self.id)
            self.engine = self.start()
        follow = lambda: self.follow(prompt)  # noqa: E731
        return Call(self.engine, prompt, follow, timeout, constrain, self.posts)

    def constrain(self, prompt: Prompt, lead: str | None) -> Callable[[], Matcher] | None:
        """What holds a continuation to the prompt's grammar; GrammarError if it does not compile."""
        grammar = prompt.sampling.grammar
        if grammar is None:
            return None
        patient = prompt.stop_ids.isdisjoint(self.prompter.eos)  # ignore_eos
        self.grammars.start(grammar)  # so that mistakes show before the request is queued
        return lambda: self.grammars.start(grammar, patient, lead)

    def follow(self, prompt: Prompt) -> TextStream:
        """What turns one continuation's tokens into text."""
        ruled = prompt.sampling.grammar is not None  # its first token counts as it stands
        decoder = self.tokenizer.stream(self.format.kept(prompt.tools), inside=ruled)
        return TextStream(decoder, prompt.stop_texts)

    def header(self) -> Header:
        """The header of the next response."""
        return Header.new(next(self.numbers), self.id)

    def requantize(self, dtype: str) -> None:
        """Quantize the loaded model anew; requests in flight wait meanwhile, and go on with the new weights."""
        kind = parse(check.name("dtype", dtype))
        fixed, count = self.built.fixed(kind)
        if fixed:
            log.warning(
                "%d of %d matrices of '%s' stay as the file has them: quantized already",
                fixed, count, self.id,
            )  # fmt: skip
        if self.engine.failure is not None and not self.closed:
            self.engine = self.start()

        def change() -> None:
            forget(self.fused)
            self.built.requantize(kind)

        self.engine.change(change).result()

    def explain(self, bandwidth: float | None, speed: float | None) -> Explanation:
        """Which kernels and formats the model runs on, and what it reads."""
        positive = check.number(above=0)
        if bandwidth is not None:
            bandwidth = positive("bandwidth", bandwidth)
        if speed is not None:
            speed = positive("speed", speed)
        return explain(self.id, self.built, bandwidth, speed)

    def close(self, finish: bool = False) -> None:
        """End the engine and let go of the weights, whoever keeps the pipeline.

        Requests that still run fail with an EngineError, or with `finish` are answered first.
        """
        self.closed = True
        self.engine.close(finish)
        for name in ("built", "fused"):
            vars(self).pop(name, None)


@dataclass(frozen=True)
class Chat:
    """A chat request in flight."""

    call: Call
    reply: ChatReply

    def whole(self) -> ChatCompletionResponse:
        """Wait for the response."""
        for piece in self.call.pieces(whole=True):
            self.reply.push(piece)
        return self.reply.response(cost(self.call.job))

    async def whole_async(self) -> ChatCompletionResponse:
        """`whole` for an event loop."""
        async for piece in self.call.pieces_async(whole=True):
            self.reply.push(piece)
        return self.reply.response(cost(self.call.job))

    def chunks(self) -> Iterator[ChatCompletionChunkResponse]:
        """The response as it is written, from now on."""
        pieces = self.call.pieces()
        return (chunk for piece in pieces for chunk in self.said(piece))

    def chunks_async(self) -> AsyncIterator[ChatCompletionChunkResponse]:
        """`chunks` for an event loop."""
        pieces = self.call.pieces_async()
        return (chunk async for piece in pieces for chunk in self.said(piece))

    def cancel(self) -> None:
        """Give up what has not finished; harmless afterwards."""
        self.call.cancel()

    def said(self, piece: Piece) -> list[ChatCompletionChunkResponse]:
        """The chunks of one piece."""
        return self.reply.chunks(piece, cost(self.call.job) if piece.finish else FREE)


@dataclass(frozen=True)
class Completion:
    """A completion request in flight."""

    call: Call
    reply: CompletionReply

    def whole(self) -> CompletionResponse:
        """Wait for the response."""
        for piece in self.call.pieces(whole=True):
            self.reply.push(piece)
        return self.reply.response(cost(self.call.job))

    async def whole_async(self) -> CompletionResponse:
        """`whole` for an event loop."""
        async for piece in self.call.pieces_async(whole=True):
            self.reply.push(piece)
        return self.reply.response(cost(self.call.job))

    async def texts_async(self) -> AsyncGenerator[dict[str, Any]]:
        """The text as it is written: dicts with `choices` in OpenAI's form, the last one with `usage`."""
        try:
            async for piece in self.call.pieces_async():
                if said := self.reply.said(piece):
                    usage = self.reply.response(cost(self.call.job)).usage.to_dict()
                    yield said | ({"usage": usage} if self.reply.done else {})
        finally:
            self.call.cancel()


def cost(job: Job) -> Cost:
    """What a job took so far."""
    return Cost(
        prompt_seconds=max(job.prompt_at - job.started_at, 0.0),
        completion_seconds=max(job.finished_at - job.prompt_at, 0.0),
        cached_tokens=job.cached,
    )


def best_device() -> torch.device:
    """The first CUDA device if there is one, else the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def page_size(settings: Settings) -> int:
    """Tokens of a cache page."""
    size = settings.pa_blk_size or 32
    if size not in (8, 16, 32):
        raise RequestError(f"pa_blk_size must be 8, 16 or 32, not {size}")
    return size

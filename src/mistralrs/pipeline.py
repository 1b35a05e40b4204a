"""One loaded model: requests in, responses out."""

import itertools
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mistralrs.api import check, later
from mistralrs.api.errors import ConfigError, NotSupportedError, RequestError
from mistralrs.api.piece import Piece
from mistralrs.api.prompt import Prompt
from mistralrs.api.requests import ChatCompletionRequest, CompletionRequest
from mistralrs.api.responses import (
    ChatCompletionChunkResponse,
    ChatCompletionResponse,
    CompletionResponse,
)
from mistralrs.api.which import Which, WhichGGUF, WhichPlain
from mistralrs.call import Call
from mistralrs.engine.engine import Body, Engine, Limits
from mistralrs.engine.sequence import Job
from mistralrs.load.build import Built, build, construct
from mistralrs.load.gguf import Gguf, gguf_names, read_gguf
from mistralrs.load.gguf_config import config_of
from mistralrs.load.gguf_names import tensors_of
from mistralrs.load.gguf_tokenizer import describe, tokenizer_of
from mistralrs.load.hub import Repo, open_repo
from mistralrs.load.plan import Budget, Wish
from mistralrs.passes.isq import parse
from mistralrs.prompt.build import Prompter
from mistralrs.prompt.template import resolve
from mistralrs.prompt.tokenizer import Tokenizer, eos_ids
from mistralrs.stream.events import Format, detect
from mistralrs.stream.response import ChatReply, CompletionReply, Cost, Header
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
        self.numbers = itertools.count(1)
        self.closed = False
        self.engine = self.start()

    def start(self) -> Engine:
        """An engine over the loaded model."""
        built = self.built
        body = Body(built.model, torch.device(built.plan.device), built.salt, built.copy)
        return Engine(body, self.limits)

    def chat(self, request: ChatCompletionRequest, timeout: float | None) -> "Chat":
        """Check a chat request and make it ready to run."""
        later.refuse("ChatCompletionRequest", request, later.REQUEST)
        prompt = self.prompter.chat(request)
        reply = ChatReply(prompt, self.prompter.tokenizer, self.format, self.header())
        return Chat(self.call(prompt, timeout), reply)

    def completion(self, request: CompletionRequest, timeout: float | None) -> "Completion":
        """Check a completion request and make it ready to run."""
        later.refuse("CompletionRequest", request, later.REQUEST)
        prompt = self.prompter.completion(request)
        return Completion(
            self.call(prompt, timeout), CompletionReply(request, prompt, self.header())
        )

    def call(self, prompt: Prompt, timeout: float | None) -> Call:
        """A call of the engine, which is started again if it died."""
        if timeout is not None:
            timeout = check.number(above=0)("timeout", timeout)
        if self.engine.failure is not None and not self.closed:
            log.warning("starting the engine of '%s' again", self.id)
            self.engine = self.start()
        return Call(self.engine, prompt, lambda: self.follow(prompt), timeout)

    def follow(self, prompt: Prompt) -> TextStream:
        """What turns one continuation's tokens into text."""
        return TextStream(self.prompter.tokenizer.stream(self.format.markers), prompt.stop_texts)

    def header(self) -> Header:
        """The header of the next response."""
        return Header.new(next(self.numbers), self.id)

    def close(self) -> None:
        """End the engine; requests that still run fail with an EngineError."""
        self.closed = True
        self.engine.close()


@dataclass(frozen=True)
class Chat:
    """A chat request in flight."""

    call: Call
    reply: ChatReply

    def whole(self) -> ChatCompletionResponse:
        """Wait for the response."""
        for piece in self.call.pieces():
            self.reply.push(piece)
        return self.reply.response(cost(self.call.job))

    async def whole_async(self) -> ChatCompletionResponse:
        """`whole` for an event loop."""
        async for piece in self.call.pieces_async():
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

    def said(self, piece: Piece) -> list[ChatCompletionChunkResponse]:
        """The chunks of one piece."""
        return self.reply.chunks(piece, cost(self.call.job))


@dataclass(frozen=True)
class Completion:
    """A completion request in flight."""

    call: Call
    reply: CompletionReply

    def whole(self) -> CompletionResponse:
        """Wait for the response."""
        for piece in self.call.pieces():
            self.reply.push(piece)
        return self.reply.response(cost(self.call.job))

    async def whole_async(self) -> CompletionResponse:
        """`whole` for an event loop."""
        async for piece in self.call.pieces_async():
            self.reply.push(piece)
        return self.reply.response(cost(self.call.job))


def cost(job: Job) -> Cost:
    """What a job took so far."""
    return Cost(
        prompt_seconds=max(job.prompt_at - job.started_at, 0.0),
        completion_seconds=max(job.finished_at - job.prompt_at, 0.0),
        cached_tokens=job.cached,
    )


def load(which: Which, settings: Settings) -> Pipeline:
    """Load the model that `which` names; raises NotSupportedError for a kind without a loader."""
    if not isinstance(which, Which):
        raise check.wrong_type("which", "a Which, such as Which.Plain('owner/name')", which)
    loader = LOADERS.get(type(which))
    if loader is None:
        raise NotSupportedError(
            f"{type(which).__qualname__} has no loader yet; this version loads Which.Plain (text models "
            "from Hugging Face safetensors or PyTorch files) and Which.GGUF"
        )
    later.refuse(type(which).__qualname__, which, later.WHICH)
    check_templates(settings)
    return loader(which, settings)


def load_plain(which: WhichPlain, settings: Settings) -> Pipeline:
    """Load a text model from safetensors or PyTorch files."""
    repo = open_repo(which.model_id, token_source=settings.token_source, cache=which.hf_cache_path)
    built = build(repo, wish(which, settings, which.arch.value if which.arch else None))
    config = repo.json("tokenizer_config.json") or {}
    tokenizer = read_tokenizer(repo, which.tokenizer_json, config)
    text = Text(tokenizer, config, repo.find, repo.json("generation_config.json"))
    return assemble(repo.id, built, text, settings)


def load_gguf(which: WhichGGUF, settings: Settings) -> Pipeline:
    """Load a text model from GGUF files, with their own tokenizer and template unless others are named."""
    if settings.in_situ_quant:
        log.warning("in_situ_quant leaves what is quantized in a GGUF file as it is")
    source, cache = settings.token_source, which.hf_cache_path
    repo = open_repo(which.quantized_model_id, token_source=source, cache=cache)
    file = read_gguf(repo.fetch(gguf_names(repo, which.quantized_filenames)))
    if which.tok_model_id is not None:
        other = open_repo(which.tok_model_id, token_source=source, cache=cache)
        config = other.json("tokenizer_config.json") or {}
        tokenizer = read_tokenizer(other, which.tokenizer_json, config)
        text = Text(tokenizer, config, other.find, other.json("generation_config.json"))
    else:
        text = own_text(file, which.tokenizer_json)
    raw = config_of(file)
    built = construct(raw, lambda: tensors_of(file), wish(which, settings, None))
    return assemble(repo.id, built, text, settings)


LOADERS: dict[type[Which], Callable[[Any, Settings], Pipeline]] = {
    WhichPlain: load_plain,
    WhichGGUF: load_gguf,
}


@dataclass(frozen=True)
class Text:
    """What turns requests into tokens and back: a tokenizer, its config, a model's files, what ends a turn."""

    tokenizer: Tokenizer
    config: Mapping[str, Any]
    find: Callable[[str], Path | None]
    generation: Mapping[str, Any] | None


def read_tokenizer(repo: Repo, named: str | None, config: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer.json that the user names, or that of the model."""
    path = Path(named) if named else repo.find("tokenizer.json")
    if path is None or not path.is_file():
        raise ConfigError(
            f"'{path or repo.id}' has no tokenizer.json; pass the path of one as tokenizer_json"
        )
    return Tokenizer.load(path, config)


def own_text(file: Gguf, named: str | None) -> Text:
    """What a GGUF file says; the tokenizer may come from another file."""
    if named:
        config = describe(file)
        tokenizer = Tokenizer.load(Path(named), config)
    else:
        inner, config = tokenizer_of(file)
        tokenizer = Tokenizer.wrap(inner, config)
    return Text(tokenizer, config, lambda name: None, {"eos_token_id": config["eos_token_id"]})


def assemble(id: str, built: Built, text: Text, settings: Settings) -> Pipeline:
    """Put the tokenizer, the template and the engine around a built model."""
    template = resolve(text.find, settings.chat_template, settings.jinja_explicit, text.config)
    eos = eos_ids(text.tokenizer, text.config, text.generation, built.cfg.raw)
    prompter = Prompter(text.tokenizer, template, eos, built.plan.context, settings.seed or 0)
    return Pipeline(id, built, prompter, detect(template.text if template else None), settings)


def wish(which: WhichPlain | WhichGGUF, settings: Settings, arch: str | None) -> Wish:
    """What the user decides about a model."""
    return Wish(
        arch=arch,
        dtype=which.dtype.value,
        device=best_device(),
        isq=parse(settings.in_situ_quant) if settings.in_situ_quant else None,
        sequences=settings.max_seqs,
        snapshots=settings.prefix_cache_n,
        page_size=page_size(settings),
        budget=budget(which, settings),
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


def budget(which: WhichPlain | WhichGGUF, settings: Settings) -> Budget:
    """What the user says about the cache."""
    params = which.auto_map_params
    expected = params.max_seq_len * params.max_batch_size if params else 4096
    return Budget(settings.pa_ctxt_len, settings.pa_gpu_mem_usage, settings.pa_gpu_mem, expected)


def check_templates(settings: Settings) -> None:
    """Find a missing template file before the weights are read."""
    resolve(lambda name: None, settings.chat_template, settings.jinja_explicit)

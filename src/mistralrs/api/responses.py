"""Responses: attributes in Python, and the shape of the OpenAI API through `to_dict()`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mistralrs.api.enums import ToolCallType
from mistralrs.api.files import File
from mistralrs.api.lora import LoraAdapterGeneration
from mistralrs.api.record import Record
from mistralrs.api.strict import aliases, strict


@strict
@dataclass(frozen=True)
class CalledFunction(Record):
    """A function the model wants to call; `arguments` is JSON text."""

    name: str
    arguments: str


@strict
@dataclass(frozen=True)
class ToolCallResponse(Record):
    """One tool call; `id` is what the tool message with the result refers to."""

    id: str
    type: ToolCallType
    function: CalledFunction
    index: int = 0


LOWEST = -9999.0  # the log-probability of what is impossible: JSON has no infinity


@strict
@dataclass(frozen=True)
class TopLogprob(Record):
    """One of the most likely tokens: its id, natural log-probability, and text (`bytes`)."""

    token: int
    logprob: float
    bytes: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the OpenAI form, where `token` is the text and `bytes` its UTF-8; `id` is ours."""
        text = self.bytes or ""
        return {
            "token": text,
            "logprob": max(self.logprob, LOWEST),
            "bytes": list(text.encode()),
            "id": self.token,
        }


@strict
@dataclass(frozen=True)
class ResponseLogprob(Record):
    """A generated token: its text, natural log-probability, UTF-8 bytes, and the alternatives."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: Sequence[TopLogprob] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the OpenAI form."""
        return super().to_dict() | {"logprob": max(self.logprob, LOWEST)}


@strict
@dataclass(frozen=True)
class Logprobs(Record):
    """Log-probabilities of all tokens of a choice."""

    content: Sequence[ResponseLogprob] | None = None


@strict
@dataclass(frozen=True)
class PromptTokensDetails(Record):
    """How many tokens of the prompt were found in the prefix cache."""

    cached_tokens: int = 0


@strict
@dataclass(frozen=True)
class Usage(Record):
    """Token counts, times in seconds, and rates in tokens per second (0.0 where undefined)."""

    completion_tokens: int = 0
    prompt_tokens: int = 0
    total_tokens: int = 0
    avg_tok_per_sec: float = 0.0
    avg_prompt_tok_per_sec: float = 0.0
    avg_compl_tok_per_sec: float = 0.0
    total_time_sec: float = 0.0
    total_prompt_time_sec: float = 0.0
    total_completion_time_sec: float = 0.0
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails()


@strict
@dataclass(frozen=True)
class ResponseMessage(Record):
    """What the model said, thought and called."""

    content: str | None = None
    role: str = "assistant"
    tool_calls: Sequence[ToolCallResponse] | None = None
    reasoning_content: str | None = None
    parsed: Any = (
        None  # a complete answer in JSON as a value, of the type that `response_format` named
    )

    def to_dict(self) -> dict[str, Any]:
        """Return the OpenAI form; `parsed` says the same as `content`."""
        return {name: value for name, value in super().to_dict().items() if name != "parsed"}


@strict
@dataclass(frozen=True)
class Choice(Record):
    """One of `n_choices` continuations."""

    finish_reason: str
    index: int
    message: ResponseMessage
    logprobs: Logprobs | None = None


@strict
@dataclass(frozen=True)
class AgenticToolCallRecord(Record):
    """A tool call that was executed while the request ran."""

    round: int
    name: str
    arguments: str
    result_content: str
    result_images_base64: Sequence[str] = field(default_factory=list)
    file_ids: Sequence[str] = field(default_factory=list)


@strict
@dataclass(frozen=True)
class ChatCompletionResponse(Record):
    """The answer to a chat request; `created` is in seconds since 1970."""

    id: str
    choices: Sequence[Choice]
    created: int
    model: str
    system_fingerprint: str = "local"
    object: str = "chat.completion"
    usage: Usage = Usage()
    adapter_generation: LoraAdapterGeneration | None = None
    agentic_tool_calls: Sequence[AgenticToolCallRecord] | None = None
    files: Sequence[File] | None = None
    session_id: str | None = None


@strict
@dataclass(frozen=True)
class Delta(Record):
    """What a chunk adds to a message."""

    content: str | None = None
    role: str = "assistant"
    tool_calls: Sequence[ToolCallResponse] | None = None
    reasoning_content: str | None = None


@strict
@dataclass(frozen=True)
class ChunkChoice(Record):
    """What a chunk adds to one of the continuations."""

    finish_reason: str | None
    index: int
    delta: Delta
    logprobs: ResponseLogprob | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the OpenAI form, where `logprobs` is an object with a list of one token."""
        logprobs = None if self.logprobs is None else {"content": [self.logprobs.to_dict()]}
        return super().to_dict() | {"logprobs": logprobs}


@strict
@dataclass(frozen=True)
class ChatCompletionChunkResponse(Record):
    """A piece of a streamed answer; only the last one has `usage`."""

    id: str
    choices: Sequence[ChunkChoice]
    created: int
    model: str
    system_fingerprint: str = "local"
    object: str = "chat.completion.chunk"
    usage: Usage | None = None


@strict
@dataclass(frozen=True)
class CompletionChoice(Record):
    """One of the continuations of a text."""

    finish_reason: str
    index: int
    text: str
    logprobs: None = None


@strict
@dataclass(frozen=True)
class CompletionResponse(Record):
    """The answer to a completion request."""

    id: str
    choices: Sequence[CompletionChoice]
    created: int
    model: str
    system_fingerprint: str = "local"
    object: str = "text_completion"
    usage: Usage = Usage()


@strict
@dataclass(frozen=True)
class ImageChoice(Record):
    """A generated image: a file name, or a data URL with base64."""

    url: str | None = None
    b64_json: str | None = None


@aliases(choices="data")
@strict
@dataclass(frozen=True)
class ImageGenerationResponse(Record):
    """Generated images."""

    created: int
    data: Sequence[ImageChoice]

    @property
    def choices(self) -> Sequence[ImageChoice]:
        """Another name of `data`."""
        return self.data


@strict
@dataclass(frozen=True)
class SpeechGenerationResponse(Record):
    """Generated speech: samples from -1 to 1, interleaved by channel, `rate` per second."""

    pcm: Sequence[float]
    rate: int
    channels: int

"""Bodies of requests, as the OpenAI API documents them, and the requests of the SDK that they mean.

Unknown keys are ignored, as clients of newer APIs expect. Values are checked by the SDK's own requests.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from mistralrs.api.errors import MediaError, NotSupportedError, RequestError
from mistralrs.api.options import WebSearchOptions
from mistralrs.api.requests import ChatCompletionRequest, CompletionRequest, EmbeddingRequest

Number = StrictFloat | StrictInt
Json = dict[str, Any]
MOST = 128  # continuations of one request, as in the OpenAI API
LONGEST = 1 << 31  # tokens or sequences that memory is planned for
MOST_LOGPROBS = 20  # alternatives of a token, as there


class Grammar(BaseModel):
    """The text of an answer must match it."""

    type: Literal["regex", "lark", "json_schema", "llguidance"]
    value: StrictStr | Json


class StreamOptions(BaseModel):
    """How a stream ends."""

    include_usage: StrictBool = False


class Sampling(BaseModel):
    """What chats and completions share."""

    model: StrictStr = "default"
    max_tokens: StrictInt | None = Field(
        None, validation_alias=AliasChoices("max_tokens", "max_completion_tokens")
    )
    n: Annotated[StrictInt, Field(ge=1)] | None = None  # the SDK has another name for it
    stop: StrictStr | list[StrictStr] | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: StrictInt | None = None
    min_p: Number | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    repetition_penalty: Number | None = None
    logit_bias: dict[str, Number] | None = None
    seed: StrictInt | None = None
    grammar: Grammar | None = None
    dry_multiplier: Number | None = None
    dry_base: Number | None = None
    dry_allowed_length: StrictInt | None = None
    dry_sequence_breakers: list[StrictStr] | None = None
    truncate_sequence: StrictBool = False
    ignore_eos: StrictBool = False

    def shared(self) -> Json:
        """Return the arguments that both kinds of requests have."""
        return given(
            model=self.model, max_tokens=self.max_tokens, n_choices=self.n, stop_seqs=listed(self.stop),
            temperature=self.temperature, top_p=self.top_p, top_k=self.top_k, min_p=self.min_p,
            presence_penalty=self.presence_penalty, frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty, logit_bias=biases(self.logit_bias), seed=self.seed,
            grammar=grammar_text(self.grammar), grammar_type=self.grammar and self.grammar.type,
            dry_multiplier=self.dry_multiplier, dry_base=self.dry_base,
            dry_allowed_length=self.dry_allowed_length, dry_sequence_breakers=self.dry_sequence_breakers,
            truncate_sequence=self.truncate_sequence, ignore_eos=self.ignore_eos,
        )  # fmt: skip


class ChatBody(Sampling):
    """POST /v1/chat/completions."""

    messages: StrictStr | list[Json]
    logprobs: StrictBool | None = None
    top_logprobs: StrictInt | None = None
    tools: list[Json] | None = None
    tool_choice: StrictStr | Json | None = None
    response_format: Json | None = None
    web_search_options: Json | None = None
    enable_thinking: StrictBool | None = None
    reasoning_effort: StrictStr | None = None
    max_tool_rounds: StrictInt | None = None
    modalities: list[StrictStr] | None = None

    def request(self) -> ChatCompletionRequest:
        """Return the request of the SDK."""
        written(self.modalities or ["text"])
        few(self.n, "n", MOST)
        few(self.top_logprobs, "top_logprobs", MOST_LOGPROBS)
        text = (self.response_format or {}).get("type") == "text"
        search = self.web_search_options
        request = ChatCompletionRequest(
            messages=self.messages,
            stream=bool(self.stream),
            **self.shared(),
            **given(
                logprobs=self.logprobs,
                top_logprobs=self.top_logprobs,
                tool_schemas=self.tools or None,
                tool_choice=self.tool_choice,
                response_format=None if text else self.response_format,
                web_search_options=None if search is None else options(search),
                enable_thinking=self.enable_thinking,
                reasoning_effort="off"
                if self.reasoning_effort == "none"
                else self.reasoning_effort,
                max_tool_rounds=self.max_tool_rounds,
            ),
        )
        return fetchable(request)


class CompletionBody(Sampling):
    """POST /v1/completions."""

    prompt: StrictStr
    best_of: StrictInt | None = None
    echo: StrictBool = False
    suffix: StrictStr | None = None

    def request(self) -> CompletionRequest:
        """Return the request of the SDK."""
        few(max(self.n or 1, self.best_of or 1), "n or best_of", MOST)
        more = given(best_of=self.best_of, suffix=self.suffix)
        return CompletionRequest(self.prompt, echo_prompt=self.echo, **more, **self.shared())


class EmbeddingBody(BaseModel):
    """POST /v1/embeddings."""

    input: StrictStr | list[StrictStr] | list[StrictInt] | list[list[StrictInt]]
    model: StrictStr = "default"
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: StrictInt | None = None
    truncate_sequence: StrictBool = False

    def request(self) -> EmbeddingRequest:
        """Return the request of the SDK."""
        if self.dimensions is not None:
            raise RequestError(
                "dimensions: the vectors of these models have one size; leave it out"
            )
        return EmbeddingRequest(self.input, truncate_sequence=self.truncate_sequence)


class ModelBody(BaseModel):
    """The body of /v1/models/unload, reload and status."""

    model_id: Annotated[StrictStr, Field(min_length=1)]


class TuneBody(BaseModel):
    """POST /v1/models/tune."""

    model_id: Annotated[StrictStr, Field(min_length=1, max_length=200)]
    dtype: Literal["auto", "bf16", "f16", "f32"] | None = None
    max_seq_len: Annotated[StrictInt, Field(ge=1, le=LONGEST)] | None = None
    max_batch_size: Annotated[StrictInt, Field(ge=1, le=LONGEST)] | None = None
    max_num_images: Annotated[StrictInt, Field(ge=1)] | None = None  # of no effect on memory
    max_image_length: Annotated[StrictInt, Field(ge=1)] | None = None
    profile: Literal["quality", "balanced", "fast"] = "balanced"
    requested_isq: StrictStr | None = None
    token_source: StrictStr | None = None
    hf_revision: Annotated[StrictStr, Field(pattern=r"^[\w-]+([./][\w-]+)*$")] | None = None
    cpu: StrictBool = False

    @property
    def token(self) -> str | None:
        """The token that the client lends for its question; those of the server are not for strangers."""
        kind, _, value = (self.token_source or "none").partition(":")
        if kind == "literal" and value.strip():
            return value.strip()
        if self.token_source in (None, "none"):
            return None
        raise RequestError("token_source: send literal:<token> or none; the server lends no tokens")


class IsqBody(BaseModel):
    """POST /re_isq."""

    ggml_type: StrictStr
    model_id: StrictStr | None = None


def given(**values: Any) -> Json:
    """Return the arguments that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def listed(value: str | list[str] | None) -> list[str] | None:
    """Return one word as a list of one."""
    return [value] if isinstance(value, str) else value


def grammar_text(grammar: Grammar | None) -> str | None:
    """Return the grammar as text."""
    if grammar is None or isinstance(grammar.value, str):
        return grammar and grammar.value  # type: ignore[return-value]
    return json.dumps(grammar.value)


def biases(value: dict[str, float] | None) -> dict[int, float] | None:
    """Return a map by id; JSON has only texts for keys."""
    try:
        return None if value is None else {int(id): bias for id, bias in value.items()}
    except ValueError as error:
        raise RequestError(f"logit_bias: keys are token ids ({error})") from None


def options(value: Json) -> WebSearchOptions:
    """Return the options of a web search."""
    known = {k: v for k, v in value.items() if k in WebSearchOptions.__dataclass_fields__}
    return WebSearchOptions(**known)


def written(modalities: list[str]) -> None:
    """Raise NotSupportedError for answers that are more than text, such as speech."""
    if other := [one for one in modalities if one != "text"]:
        raise NotSupportedError(
            f"modalities: answers are text, {other[0]!r} cannot be made here; leave it out"
        )


def fetchable(request: ChatCompletionRequest) -> ChatCompletionRequest:
    """Return the request; MediaError for one that would read a file of this machine."""
    for index, message in enumerate(request.messages if isinstance(request.messages, list) else ()):
        content = message.get("content")
        for part in content if isinstance(content, (list, tuple)) else ():
            if part.get("type") != "text" and not remote(part.get(part.get("type"))):
                raise MediaError(
                    f"messages[{index}]: send media as an http(s) address or a data: URL; "
                    "files of the server are not read"
                )
    return request


def remote(source: Any) -> bool:
    """Tell whether a source does not lie on this machine's disk; sounds come with the request."""
    if isinstance(source, dict) and "url" not in source:
        return "data" in source
    url = source.get("url") if isinstance(source, dict) else source
    return isinstance(url, str) and url.lower().startswith(("http://", "https://", "data:"))


def few(n: int | None, name: str, most: int) -> None:
    """RequestError for more than a server gives one client."""
    if n is not None and n > most:
        raise RequestError(f"{name}: {n} is more than {most}, the most that this server gives")

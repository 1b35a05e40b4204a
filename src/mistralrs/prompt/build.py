"""A request becomes a Prompt: messages rendered, text tokenized, rules checked."""

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from mistralrs.api.errors import ContextLengthError, RequestError, TemplateError
from mistralrs.api.prompt import Prompt
from mistralrs.api.requests import ChatCompletionRequest, CompletionRequest
from mistralrs.nn.media import is_media
from mistralrs.prompt import rules
from mistralrs.prompt.history import MISTRAL, with_ids
from mistralrs.prompt.media import Placer, whole
from mistralrs.prompt.messages import (
    Message,
    as_object,
    as_text,
    builtin_tools,
    normalize,
    with_arguments,
)
from mistralrs.prompt.template import ChatTemplate
from mistralrs.prompt.tokenizer import Tokenizer
from mistralrs.prompt.tools import offer


@dataclass(frozen=True)
class Prompter:
    """Builds the prompts of one model. One instance serves any number of threads."""

    tokenizer: Tokenizer
    template: ChatTemplate | None = None
    eos: frozenset[int] = frozenset()
    context: int | None = None  # tokens; None is unlimited
    seed: int = 0  # for requests that name none
    rows: int | None = None  # of the embedding; None is as many as the tokenizer has tokens
    placer: Placer | None = None  # of media; None: the model reads only text

    def chat(self, request: ChatCompletionRequest) -> Prompt:
        """Render the messages and tokenize them; the template brings its own special tokens."""
        tools = offer(request)
        prompt = self._messages(request)
        return replace(prompt, tools=tools.schemas, calls=tools.calls, strict=tools.strict)

    def _messages(self, request: ChatCompletionRequest) -> Prompt:
        """Return the prompt of a chat request's messages."""
        if self.placer is None:
            text = self.render(request)
            tokens = self.tokenizer.encode(text, special=False)
            return self._prompt(request, text, tokens, rules.top_logprobs(request))
        messages, parts = self.placer.arrange(request.messages)
        text, shown = self.render(request, messages), self.placer.read(parts)
        text, shown = self.placer.expand(text, shown)
        tokens, media = self.placer.place(self.tokenizer.encode(text, special=False), shown)
        prompt = self._prompt(request, text, tokens, rules.top_logprobs(request))
        kept = tuple(whole(prompt.tokens))
        return replace(
            prompt,
            tokens=kept,
            media=media,
            adapter=self.placer.adapter_of(shown),
            positions=self.placer.positions(kept, media),
        )

    def completion(self, request: CompletionRequest) -> Prompt:
        """Tokenize the prompt as it is, with the special tokens that frame a text."""
        ranked = (request.best_of or 1) > 1  # ranking needs the log-probability of every token
        tokens = self.tokenizer.encode(request.prompt) if request.prompt else []
        prompt = self._prompt(request, request.prompt, tokens, 0 if ranked else None)
        return replace(prompt, n=request.candidates)

    def render(self, request: ChatCompletionRequest, messages: list[Message] | None = None) -> str:
        """Return the text of a chat request's prompt."""
        if self.template is None:
            raise TemplateError(
                "this model has no chat template; send a CompletionRequest, or pass a template file with "
                "Runner(chat_template=...)"
            )
        messages = normalize(request.messages) if messages is None else messages
        if MISTRAL in self.template.text:
            messages = with_ids(messages)
        variables = template_variables(request)
        parsed = with_arguments(messages, as_object)
        try:
            return self.template.render(parsed, **variables)
        except TemplateError as error:  # some templates concatenate a call's arguments as text
            spelled = with_arguments(messages, as_text)
            if parsed == spelled:
                raise
            return self._respelled(spelled, variables, error)

    def _respelled(
        self, messages: list[Message], variables: dict[str, Any], first: TemplateError
    ) -> str:
        """Render again; where that fails too, the first error is the one to report."""
        assert self.template is not None
        try:
            return self.template.render(messages, **variables)
        except TemplateError:
            raise first from None

    def _prompt(
        self, request: rules.Request, text: str, tokens: list[int], logprobs: int | None
    ) -> Prompt:
        if not tokens:
            raise RequestError("the prompt is empty; send at least one character")
        highest = max((id for id in tokens if not is_media(id)), default=0)
        if self.rows is not None and highest >= self.rows:
            raise RequestError(self._beyond(highest, self.rows))
        ids, texts = rules.stops(request, self.tokenizer)
        return Prompt(
            tokens=tuple(fit(tokens, self.context, request.max_tokens, request.truncate_sequence)),
            sampling=rules.sampling(
                request,
                self.tokenizer,
                logprobs,
                self.seed if request.seed is None else request.seed,
                self.rows,
            ),
            max_tokens=request.max_tokens,
            stop_ids=ids if request.ignore_eos else ids | self.eos,
            stop_texts=texts,
            n=request.n_choices,
            text=text,
        )

    def _beyond(self, id: int, rows: int) -> str:
        token = self.tokenizer.inner.id_to_token(id)
        return (
            f"the prompt has the token {token!r} with id {id}, but the model's embedding has {rows} rows: the model "
            "was not trained with it; leave it out of the messages and of the chat template"
        )


def fit(
    tokens: list[int], context: int | None, max_tokens: int | None, truncate: bool
) -> list[int]:
    """Return the tokens, or their end where the prompt and `max_tokens` exceed the context.

    Raises ContextLengthError for a longer prompt when `truncate` is off.
    """
    if context is None or len(tokens) <= context:
        return tokens
    if not truncate:
        shown = sum(map(is_media, tokens))
        media = f" ({shown} of them for images or sounds; max_edge makes images smaller)"
        raise ContextLengthError(
            f"the prompt has {len(tokens)} tokens{media if shown else ''}, but the maximum length of this model is "
            f"{context}; shorten it, or set truncate_sequence=True to keep its end"
        )
    reserve = 1 if max_tokens is None else min(max_tokens, context)
    return tokens[-max(context - reserve, 1) :]


def template_variables(request: ChatCompletionRequest) -> dict[str, Any]:
    """Return the variables of a chat template beside the messages and special tokens.

    An unset enable_thinking is True and an unset reasoning_effort is "medium"; transformers leaves both
    undefined, so templates that test `is defined` can render differently there.
    """
    off = request.reasoning_effort == "off"
    return {
        "enable_thinking": request.enable_thinking is not False and not off,
        "reasoning_effort": "none" if off else request.reasoning_effort or "medium",
        "date_string": datetime.now(timezone.utc).strftime("%d, %B, %Y"),
        **_tool_variables(request),
    }


def _tool_variables(request: ChatCompletionRequest) -> dict[str, Any]:
    """Return the tools under every name that templates read; nothing when none are offered."""
    tools = list(offer(request).shown)
    if not tools:
        return {}
    builtin = builtin_tools(tools)
    return {"tools": tools, "xml_tools": tools, **({"builtin_tools": builtin} if builtin else {})}

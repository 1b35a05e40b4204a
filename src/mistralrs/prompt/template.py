"""Messages to text: a model's chat template, found and rendered."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from mistralrs.api.errors import TemplateError
from mistralrs.prompt.sandbox import FILE, Refusal, compiled, plain
from mistralrs.prompt.tokenizer import read_config, special_names

REASONING = ("reasoning_content", "thinking", "reasoning")  # names of the same field, best first
NAMED = ("tool_use", "rag")
ADVICE = "name another template with chat_template or jinja_explicit"


class ChatTemplate:
    """One template, or several by name: `default`, `tool_use` (with tools), `rag` (with documents)."""

    def __init__(
        self, source: str | Mapping[str, str], tokens: Mapping[str, str] | None = None
    ) -> None:
        """`tokens` are the variables `bos_token`, `eos_token`, ...; one that is absent stays undefined."""
        self._named = not isinstance(source, str)
        self.sources = {"default": source} if isinstance(source, str) else dict(source)
        self.tokens = dict(tokens or {})
        self._templates = {name: _compile(name, text) for name, text in self.sources.items()}

    @property
    def text(self) -> str:
        """All sources together; which markers occur in it tells what the model writes."""
        return "\n".join(self.sources.values())

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Any] | None = None,
        documents: Sequence[Any] | None = None,
        **variables: Any,
    ) -> str:
        """Return the prompt's text, byte for byte that of transformers' apply_chat_template.

        Raises TemplateError with the text of raise_exception, or with the failing line.
        """
        template = self._templates[self._choose(bool(tools), bool(documents))]
        values = {
            "tools": plain(tools) or None,
            "documents": plain(documents) or None,
            "add_generation_prompt": True,
            **self.tokens,
            **plain(variables),
        }
        try:
            return _rendered(template, [_message(message) for message in messages], values)
        except Refusal as error:
            raise TemplateError(f"the chat template refused these messages: {error}") from error
        except jinja2.exceptions.SecurityError as error:
            raise TemplateError(
                f"the chat template failed at line {_line(error)}: {error} A template may not change lists or "
                "reach into Python, here or in transformers; take a newer version of the model's template, or "
                f"{ADVICE}"
            ) from error
        except Exception as error:  # a template can raise anything that Python can
            raise TemplateError(
                f"the chat template failed at line {_line(error)}: {error}; check the roles and "
                f"fields of the messages, or {ADVICE}"
            ) from error

    def _choose(self, tools: bool, documents: bool) -> str:
        if not self._named:
            return "default"
        if tools and "tool_use" not in self.sources:
            raise TemplateError(
                f"this model's templates ({', '.join(sorted(self.sources))}) have no tool_use entry; "
                f"send the request without tool_schemas, or {ADVICE}"
            )
        wanted = (
            "tool_use" if tools else "rag" if documents and "rag" in self.sources else "default"
        )
        if wanted not in self.sources:
            raise TemplateError(
                f"this model has no default template, only {', '.join(sorted(self.sources))}; {ADVICE}"
            )
        return wanted


def resolve(
    find: Callable[[str], Path | None],
    chat_template: str | None = None,
    jinja_explicit: str | None = None,
    tokenizer_config: Mapping[str, Any] | None = None,
) -> ChatTemplate | None:
    """Return the template to use: the user's files before the repository's; None where there is none.

    `find` returns a file of the model's repository by name. Special tokens come from tokenizer_config.json, and
    a JSON template file may replace them.
    """
    tokens = special_names(tokenizer_config or {})
    given = jinja_explicit or chat_template
    if given is not None:
        source, own = _read(given, (".jinja",) if jinja_explicit else (".jinja", ".json"))
        return ChatTemplate(source, tokens | own)
    found, own = _in_repository(find, tokenizer_config or {})
    return ChatTemplate(found, tokens | own) if found else None


def _in_repository(
    find: Callable[[str], Path | None], tokenizer_config: Mapping[str, Any]
) -> tuple[str | dict[str, str] | None, dict[str, str]]:
    """Return the first template among the places where repositories keep one, and its special tokens."""
    processor = read_config(find("processor_config.json"))
    if processor.get("chat_template"):
        return _sources(processor["chat_template"]), {}
    if file := find("chat_template.jinja"):
        others = {name: find(f"additional_chat_templates/{name}.jinja") for name in NAMED}
        named = {name: _text(path) for name, path in others.items() if path}
        return ({"default": _text(file), **named} if named else _text(file)), {}
    if tokenizer_config.get("chat_template"):
        return _sources(tokenizer_config["chat_template"]), {}
    own = read_config(find("chat_template.json"))
    return _sources(own.get("chat_template")), special_names(own)


def _read(name: str, suffixes: tuple[str, ...]) -> tuple[str | dict[str, str], dict[str, str]]:
    """Return the template in a file that the user named, and the special tokens that it names."""
    path = Path(name)
    if path.suffix not in suffixes:
        raise TemplateError(f"a chat template must be a {' or '.join(suffixes)} file, not {name!r}")
    if not path.is_file():
        raise TemplateError(f"no chat template file {name!r}; check the path")
    if path.suffix == ".jinja":
        return _text(path), {}
    content = read_config(path)
    source = _sources(content.get("chat_template"))
    if not source:
        raise TemplateError(f"{name!r} has no field chat_template; add it")
    return source, special_names(content)


def _sources(value: Any) -> str | dict[str, str] | None:
    """Return a template field as text, or by name where it is a list of `{name, template}`."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {str(name): text for name, text in value.items()}
    try:
        return {entry["name"]: entry["template"] for entry in value}
    except (TypeError, KeyError) as error:
        raise TemplateError(
            "chat_template must be a string or a list of objects with name and template; " + ADVICE
        ) from error


def _rendered(
    template: jinja2.Template, messages: list[dict[str, Any]], values: Mapping[str, Any]
) -> str:
    """Render without null contents, and with them where a template asks whether a content is none."""
    try:
        return template.render(messages=messages, **values)
    except jinja2.UndefinedError as first:
        try:
            nulls = [{"content": None, **message} for message in messages]
            return template.render(messages=nulls, **values)
        except Exception:  # the first error tells more
            raise first from None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _compile(name: str, source: str) -> jinja2.Template:
    try:
        return compiled(source)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(
            f"the {name} chat template does not parse at line {error.lineno}: {error.message}; correct "
            f"that line, or {ADVICE}"
        ) from error


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message without null fields and with its reasoning under every name that templates read."""
    fields = {name: plain(value) for name, value in message.items() if value is not None}
    reasoning = next((fields[name] for name in REASONING if name in fields), None)
    if reasoning is None:
        return fields
    return {"thinking": reasoning, **fields, "reasoning_content": reasoning}


def _line(error: BaseException) -> int | str:
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == FILE
    ]
    return lines[-1] if lines and lines[-1] is not None else "?"

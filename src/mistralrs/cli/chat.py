"""A conversation: its messages, its settings, and the commands that change them."""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mistralrs.api.requests import ChatCompletionRequest


@dataclass
class Chat:
    """What the next request is made of. `sampling` holds keyword arguments of ChatCompletionRequest."""

    sampling: dict[str, Any] = field(default_factory=dict)
    system: str | None = None
    messages: list[dict[str, Any]] = field(default_factory=list)
    media: list[dict[str, Any]] = field(default_factory=list)  # for the user's next message
    finds_media: bool = False  # whether files that a message names come with it

    def request(self) -> ChatCompletionRequest:
        """The streamed request for an answer to the last message."""
        head = [{"role": "system", "content": self.system}] if self.system else []
        return ChatCompletionRequest(messages=head + self.messages, stream=True, **self.sampling)

    def suggest(self, sampling: dict[str, Any]) -> None:
        """Use these settings where the user gave none."""
        self.sampling = {**sampling, **self.sampling}

    def say(self, role: str, text: str) -> None:
        """Add a message, with the images, sounds and videos that wait for it."""
        content: Any = text
        if role == "user" and self.finds_media:
            self.media += named_media(text)
        if role == "user" and self.media:
            content, self.media = [*self.media, {"type": "text", "text": text}], []
        self.messages.append({"role": role, "content": content})


ENDINGS = {
    "image": "png|jpe?g|bmp|gif|webp",
    "audio": "wav|mp3|flac|ogg",
    "video": "mp4|mov|mkv|webm",
}
FILE = re.compile(
    rf"\S+\.(?:{'|'.join(f'(?P<{kind}>{ends})' for kind, ends in ENDINGS.items())})(?=$|[\s,;:?!)])",
    re.IGNORECASE,
)


def named_media(text: str) -> list[dict[str, Any]]:
    """The images, sounds and videos that a text names by their addresses or by existing files."""
    found = [(match.group(), str(match.lastgroup)) for match in FILE.finditer(text)]
    return [part(kind, name) for name, kind in found if reachable(name)]


def part(kind: str, url: str) -> dict[str, Any]:
    """A part of a message, of kind image, audio or video."""
    return {"type": f"{kind}_url", f"{kind}_url": {"url": url}}


def reachable(name: str) -> bool:
    """Whether a name is an address or an existing file."""
    return "://" in name or name.startswith("data:") or Path(name).expanduser().is_file()


def attach(kind: str) -> Callable[["Chat", str], str]:
    """The action that shows an image, or plays a sound, with the next message."""

    def act(chat: Chat, text: str) -> str:
        if not text:
            return f"{kind} takes a file or a URL"
        if not reachable(text):
            return f"there is no file '{text}'"
        chat.media.append(part(kind, text))
        return f"the next message has {', '.join(source(one) for one in chat.media)}"

    return act


def source(part: dict[str, Any]) -> str:
    """The file or address of a part."""
    return str(part[part["type"]]["url"])


@dataclass(frozen=True)
class Number:
    """A sampling setting that a command changes."""

    name: str
    kind: Callable[[str], float]
    valid: Callable[[float], bool]
    range: str


@dataclass(frozen=True)
class Command:
    """Takes the conversation and the text after the command; returns what to tell the user."""

    help: str
    act: Callable[[Chat, str], str]


def set_number(number: Number) -> Callable[[Chat, str], str]:
    """The action that sets `number`."""

    def act(chat: Chat, text: str) -> str:
        try:
            value = number.kind(text)
        except ValueError:
            value = float("nan")
        if not number.valid(value):
            return f"{number.name} takes {number.range}"
        chat.sampling[number.name] = value
        return f"{number.name} is {value:g}"

    return act


def set_system(chat: Chat, text: str) -> str:
    """Replace the system message; without text, show it."""
    chat.system = text or chat.system
    return f"system message: {chat.system}" if chat.system else "there is no system message"


def clear(chat: Chat, text: str) -> str:
    """Forget the messages and keep the settings."""
    chat.messages.clear()
    return "the conversation is empty"


def show_help(chat: Chat, text: str) -> str:
    """List the commands."""
    rows = [f"/{name:<14} {command.help}" for name, command in COMMANDS.items()]
    return "\n".join([*rows, *KEYS])


KEYS = (
    'A message of several lines stands between """ and """, or its lines end in \\.',
    "Ctrl-C stops an answer; at the prompt it exits, as Ctrl-D does.",
)


def leave(chat: Chat, text: str) -> str:
    """End the session as Ctrl-D does."""
    raise EOFError


TEMPERATURE = Number("temperature", float, lambda x: 0 <= x <= 2, "a number from 0 to 2")
TOP_K = Number("top_k", int, lambda x: x > 0, "a whole number above 0")
TOP_P = Number("top_p", float, lambda x: 0 < x <= 1, "a number above 0, at most 1")

COMMANDS = {
    "help": Command("list the commands", show_help),
    "exit": Command("leave", leave),
    "clear": Command("forget the conversation", clear),
    "image": Command("FILE: show it with the next message", attach("image")),
    "audio": Command("FILE: play it with the next message", attach("audio")),
    "video": Command("FILE: show it with the next message", attach("video")),
    "system": Command("TEXT: set the system message", set_system),
    "temperature": Command(f"X: {TEMPERATURE.range}", set_number(TEMPERATURE)),
    "topk": Command(f"N: {TOP_K.range}", set_number(TOP_K)),
    "topp": Command(f"X: {TOP_P.range}", set_number(TOP_P)),
}


def interpret(chat: Chat, line: str) -> str | None:
    r"""Obey a command, spelled `/name` or `\name`, and return the reply; None where the line is for the model.

    A model may have slash words of its own (`/no_think`), so only a near miss of a command is refused.
    """
    if line[:1] not in ("/", "\\"):
        return None
    name, _, text = line[1:].partition(" ")
    if command := COMMANDS.get(name):
        return command.act(chat, text.strip())
    near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.75)
    return f"unknown command; did you mean /{near[0]}?" if near else None

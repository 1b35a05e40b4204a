"""Commands at the prompt."""

from pathlib import Path
from typing import Any

import pytest

from mistralrs.cli.chat import Chat, attach, interpret, part

SETTINGS = [
    ("/temperature 0.5", {"temperature": 0.5}),
    ("\\temperature 0", {"temperature": 0.0}),
    ("/topk 40", {"top_k": 40}),
    ("\\topp 1", {"top_p": 1.0}),
]
REFUSED = [
    ("/temperature 2.1", "temperature takes a number from 0 to 2"),
    ("/temperature warm", "temperature takes"),
    ("/temperature", "temperature takes"),
    ("/temperature nan", "temperature takes"),
    ("/topk 0", "top_k takes a whole number above 0"),
    ("/topk 1.5", "top_k takes"),
    ("/topp 0", "top_p takes"),
    ("/topp 1.01", "top_p takes"),
    ("/temprature 1", "did you mean /temperature?"),
    ("\\claer", "did you mean /clear?"),
]
FOR_THE_MODEL = ["hello", "", "/no_think what is 2 + 2?", "/etc/passwd is what?", "\\frac{1}{2}"]


@pytest.mark.parametrize(("line", "expected"), SETTINGS)
def test_settings(line: str, expected: dict[str, Any]) -> None:
    chat = Chat()
    assert interpret(chat, line)
    assert chat.sampling == expected


@pytest.mark.parametrize(("line", "message"), REFUSED)
def test_refused(line: str, message: str) -> None:
    chat = Chat()
    assert message in (interpret(chat, line) or "")
    assert chat.sampling == {}


@pytest.mark.parametrize("line", FOR_THE_MODEL)
def test_text_is_for_the_model(line: str) -> None:
    assert interpret(Chat(), line) is None


def test_system_and_clear() -> None:
    chat = Chat(sampling={"top_k": 3}, messages=[{"role": "user", "content": "hi"}])
    interpret(chat, "/system Be brief.")
    interpret(chat, "/clear")
    assert (chat.system, chat.messages, chat.sampling) == ("Be brief.", [], {"top_k": 3})
    assert chat.request().messages[0] == {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_media_go_with_the_next_message(kind: str, tmp_path: Path) -> None:
    chat, file = Chat(), tmp_path / "a.x"
    file.touch()
    interpret(chat, f"/{kind} {file}")
    chat.say("user", "hi")
    chat.say("user", "again")
    first, second = (message["content"] for message in chat.messages)
    assert first[0] == {"type": f"{kind}_url", f"{kind}_url": {"url": str(file)}}
    assert (first[1]["text"], second) == ("hi", "again")
    assert interpret(chat, f"/{kind}") == f"{kind} takes a file or a URL"
    assert interpret(chat, f"/{kind} b.x") == "there is no file 'b.x'"


def test_what_waits_is_told(tmp_path: Path) -> None:
    chat = Chat(media=[part("image", "http://h/a.png")])
    assert attach("audio")(chat, "http://h/b.wav").endswith("http://h/a.png, http://h/b.wav")


def test_media_that_a_message_names(tmp_path: Path) -> None:
    picture = tmp_path / "a.JPEG"
    picture.touch()
    text = f"Compare {picture}, http://h/b.webp?, missing.png, http://h/c.FLAC and notes.txt"
    chat = Chat()
    chat.say("user", text)
    chat.finds_media = True
    chat.say("user", text)
    plain, seen = (message["content"] for message in chat.messages)
    assert plain == text
    assert [part["type"] for part in seen] == ["image_url", "image_url", "audio_url", "text"]
    assert seen[0]["image_url"]["url"] == str(picture)
    assert seen[1]["image_url"]["url"] == "http://h/b.webp"
    assert seen[2]["audio_url"]["url"] == "http://h/c.FLAC"


def test_help_names_every_command() -> None:
    text = interpret(Chat(), "\\help") or ""
    assert all(
        f"/{name}" in text
        for name in ["help", "exit", "clear", "system", "temperature", "topk", "topp"]
    )


@pytest.mark.parametrize("line", ["/exit", "\\exit"])
def test_exit(line: str) -> None:
    with pytest.raises(EOFError):
        interpret(Chat(), line)

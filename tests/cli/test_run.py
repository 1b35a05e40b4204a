"""`mistralrs run` with a fake Runner: what is asked, what is printed, how it ends."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile

from mistralrs.api.errors import ContextLengthError, EngineError
from mistralrs.cli.answer import Answer, Screen, show
from tests.cli.conftest import Stream, chunk
from tests.models.media import case, voxtral

YES = [chunk("ye"), chunk("s", finish="stop")]


def roles(request: Any) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in request.messages]


def test_one_shot_streams_only_the_answer(fake: Any, call: Any) -> None:
    fake.answers = [[chunk(reasoning="hm"), *YES]]
    code, out, err = call("run", "-i", "hi", "--system", "Be brief.")
    assert (code, out, err) == (0, "yes\n", "")
    assert roles(fake.requests[0]) == [("system", "Be brief."), ("user", "hi")]
    assert fake.requests[0].stream
    assert fake.closed
    assert fake.streams[0].closed


def test_media_come_with_the_first_message(fake: Any, call: Any, tmp_path: Path) -> None:
    fake.answers, picture = [YES], tmp_path / "a.png"
    picture.touch()
    options = (
        "--image",
        str(picture),
        "--image",
        "http://b/c",
        "--audio",
        "http://b/d",
        "--video",
        "http://b/e",
    )
    assert call("run", "-i", "hi", *options)[0] == 0
    parts = fake.requests[0].messages[0]["content"]
    assert [part["type"] for part in parts] == [
        "image_url",
        "image_url",
        "audio_url",
        "video_url",
        "text",
    ]
    assert [part["image_url"]["url"] for part in parts[:2]] == [str(picture), "http://b/c"]
    assert parts[2]["audio_url"]["url"] == "http://b/d"


def test_a_model_that_hears(call: Any, capsys: Any, tmp_path: Path) -> None:
    """A tiny random Voxtral continues other sounds in other ways, and the same alike."""
    model = case.save(voxtral.CASES[""], case.reference(voxtral.CASES[""]), tmp_path / "model")
    heard: dict[str, str] = {}
    capsys.readouterr()  # the bar of saving it
    for name, seconds in (("a", 1.0), ("again", 1.0), ("b", 0.4)):
        file = tmp_path / f"{name}.flac"
        soundfile.write(file, case.sound(seconds), 16000)
        options = ("-m", str(model), "--temperature", "0", "--max-tokens", "8")
        code, heard[name], err = call("run", *options, "-i", "hi", "--audio", str(file))
        assert (code, err) == (0, "")
    assert heard["a"] == heard["again"] != heard["b"]


def test_a_model_that_does_not_hear(call: Any) -> None:
    code, out, err = call("run", "-i", "hi", "--audio", "data:audio/wav;base64,AAAA")
    assert (code, out) == (1, "")
    assert "this model reads only text" in err


@pytest.mark.parametrize("arguments", [("-v", "run", "-i", "hi"), ("run", "-v", "-i", "hi")])
def test_verbose_adds_figures(fake: Any, call: Any, arguments: tuple[str, ...]) -> None:
    _, out, err = call(*arguments)
    assert out == "yes\n"
    assert "prompt 7 tokens, 70.0 T/s | answer 3 tokens, 30.0 T/s" in err


SAMPLING = [
    ([], {"temperature": 0.6, "top_k": 20, "top_p": None}),
    (["--top-k", "5"], {"temperature": 0.6, "top_k": 5}),
    (["--temperature", "0", "--max-tokens", "9"], {"temperature": 0.0, "max_tokens": 9}),
    (["--no-thinking"], {"enable_thinking": False}),
    (["--enable-thinking"], {"enable_thinking": True}),
    (["--top-p", "0.5"], {"top_p": 0.5, "enable_thinking": None}),
]


@pytest.mark.parametrize(("options", "expected"), SAMPLING)
def test_sampling(
    options: list[str], expected: dict[str, Any], fake: Any, call: Any, tmp_path: Path
) -> None:
    """What the user leaves out is what the checkpoint suggests."""
    suggestion = '{"do_sample": true, "temperature": 0.6, "top_k": 20}'
    (tmp_path / "generation_config.json").write_text(suggestion)
    call("run", "-m", str(tmp_path), "-i", "hi", *options)
    sent = fake.requests[0]
    assert {name: getattr(sent, name) for name in expected} == expected


def test_conversation(fake: Any, call: Any) -> None:
    fake.answers = [YES, [chunk("no", finish="length")]]
    code, out, err = call("run", typed=["one", "", "/topk 3", "two", "/clear", "three"])
    assert (code, out) == (0, "yes\nno\nyes\n")
    assert roles(fake.requests[1]) == [("user", "one"), ("assistant", "yes"), ("user", "two")]
    assert roles(fake.requests[2]) == [("user", "three")]
    assert [request.top_k for request in fake.requests] == [None, 3, 3]
    assert err.count("T/s") == 6


def test_interrupt_while_answering_keeps_the_session(fake: Any, call: Any) -> None:
    fake.answers = [[chunk("par"), KeyboardInterrupt()]]
    code, out, _ = call("run", typed=["one", "two"])
    assert (code, out) == (0, "par\nyes\n")
    assert fake.streams[0].closed
    assert roles(fake.requests[1])[1] == ("assistant", "par")


def test_interrupt_at_the_prompt_exits(fake: Any, call: Any) -> None:
    code, _, _ = call("run", typed=[KeyboardInterrupt(), "never asked"])
    assert (code, fake.requests, fake.closed) == (0, [], True)


def test_interrupt_of_one_shot(fake: Any, call: Any) -> None:
    fake.answers = [[chunk("par"), KeyboardInterrupt()]]
    code, out, err = call("run", "-i", "hi")
    assert (code, out, err.strip()) == (130, "par\n", "")
    assert fake.streams[0].closed


def test_refused_message_is_forgotten(fake: Any, call: Any) -> None:
    fake.answers = [[ContextLengthError("too long; shorten it")]]
    code, out, err = call("run", typed=["long", "short"])
    assert (code, out) == (0, "yes\n")
    assert "error: too long; shorten it" in err
    assert roles(fake.requests[1]) == [("user", "short")]


@pytest.mark.parametrize(("flags", "traceback"), [((), False), (("-v",), True)])
def test_error_is_one_line(fake: Any, call: Any, flags: tuple[str, ...], traceback: bool) -> None:
    fake.answers = [[EngineError("a step failed; start again")]]
    code, out, err = call(*flags, "run", "-i", "hi")
    assert (code, out) == (1, "")
    assert err.endswith("error: a step failed; start again\n")
    assert ("Traceback" in err) == traceback


WRONG = [
    (["run", "--nope"], 2, "No such option"),
    (["run", "--max-seqs", "0"], 2, "--max-seqs"),
    (["run", "poem"], 2, "poem"),
    (["run", "-i", "hi", "--temperature", "-1"], 2, "error: "),
    (["run", "-i", "hi", "-a", "lama"], 2, "error: "),
    (["run", "-i", "hi", "--format", "gguf"], 2, "error: --format gguf needs the file"),
    (["run", "embedding"], 2, "mistralrs serve embedding"),
    (["rum"], 2, "did you mean 'run'?"),
    (["run", "--pa-context-len", "9", "--pa-memory-mb", "9"], 2, "exclude each other"),
    (["run", "--search-embedding-model", "x"], 2, "needs --enable-search"),
    (["run", "--max-image-length", "9", "-f", "x.gguf"], 2, "max_image_length has no effect"),
    (["run", "--lora", "a", "--xlora", "b"], 2, "exclude each other"),
    (["run", "--mcp-config", "missing.json"], 2, "missing.json cannot be read"),
    (["run", "-i", "hi", "--image", "no.png"], 2, "--image no.png: there is no such file"),
    (["run", "-i", "hi", "--audio", "no.wav"], 2, "--audio no.wav: there is no such file"),
    (["serve", "-p", "70000"], 2, "70000"),
    (["run", "--log", "no/such/folder"], 2, "cannot be written"),
]


@pytest.mark.parametrize(("arguments", "expected", "message"), WRONG)
def test_wrong_usage_loads_nothing(
    arguments: list[str], expected: int, message: str, fake: Any, call: Any
) -> None:
    code, out, err = call(*arguments)
    assert (code, out) == (expected, "")
    assert message in err
    assert err.count("\n") == 1
    assert fake.arguments == {}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


SCREENS = [
    ("", "\x1b[90mhm\x1b[0m\nyes...\n"),
    ("1", "hm\nyes...\n"),
]


@pytest.mark.parametrize(("no_color", "expected"), SCREENS)
def test_terminal_shows_reasoning_in_grey(
    no_color: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    screen, answer = Screen(Terminal()), Answer()
    show(Stream([chunk(reasoning="hm"), chunk("ye"), chunk("s", finish="length")]), screen, answer)
    screen.end(cut=answer.finish == "length")
    assert screen.out.getvalue() == expected  # type: ignore[attr-defined]
    assert (answer.text, answer.finish) == ("yes", "length")


def test_interrupted_reasoning_resets_the_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = Screen(Terminal())
    screen.write("hm", reasoning=True)
    screen.end(cut=False)
    assert screen.out.getvalue().startswith("\x1b[90mhm\x1b[0m\n")  # type: ignore[attr-defined]


def test_broken_pipe_is_quiet(fake: Any, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def fileno(self) -> int:
            return sink.fileno()

        def write(self, text: str) -> int:
            raise BrokenPipeError

    with Path("/dev/null").open("w") as sink:
        monkeypatch.setattr(sys, "stdout", Closed())
        code, _, err = call("run", "-i", "hi")
    assert (code, err) == (1, "")
    assert fake.streams[0].closed

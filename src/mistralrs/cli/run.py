"""`mistralrs run`: one answer, or a conversation."""

import logging
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import suggest
from .answer import Answer, Screen, show
from .chat import Chat, interpret
from .options import Kind, KindWord, ModelOptions, RuntimeOptions, SamplingOptions, takes
from .start import named_model, present, start

if TYPE_CHECKING:
    from ..runner import Runner

INTERRUPTED = 130  # the exit code shells use for Ctrl-C
log = logging.getLogger("mistralrs")


def ask(runner: "Runner", chat: Chat, screen: Screen) -> Answer:
    """Stream the answer to the last message; Ctrl-C cancels it, and what had arrived stays in the conversation."""
    answer = Answer()
    stream = runner.send_chat_completion_request(chat.request())
    try:
        show(stream, screen, answer)
    except KeyboardInterrupt:
        answer.finish = "canceled"
    finally:
        stream.close()
    chat.say("assistant", answer.text)
    screen.end(cut=answer.finish == "length")
    return answer


def history_file() -> Path:
    """Where the lines that were typed are kept between sessions."""
    folder = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return Path(folder or Path.home() / ".cache") / "mistralrs" / "history"


def load_history() -> None:
    """Give the prompt line editing and the lines of earlier sessions, where the platform has readline."""
    with suppress(ImportError, OSError):
        import readline

        readline.set_history_length(1000)
        readline.read_history_file(history_file())


def save_history() -> None:
    """Keep the lines for the next session; a read-only home is not an error."""
    with suppress(ImportError, OSError):
        import readline

        history_file().parent.mkdir(parents=True, exist_ok=True)
        readline.write_history_file(history_file())


def converse(runner: "Runner", chat: Chat, screen: Screen) -> None:
    """Answer line after line until Ctrl-D, Ctrl-C at the prompt, or /exit. Figures go to stderr."""
    typed = sys.stdin.isatty()
    while True:
        line = input("> " if typed else "").strip()
        reply = interpret(chat, line)
        if reply is not None:
            print(reply, file=sys.stderr)
        elif line:
            chat.say("user", line)
            print(ask(runner, chat, screen).figures(), file=sys.stderr)


def session(runner: "Runner", chat: Chat, screen: Screen) -> None:
    """A conversation with its history file."""
    if sys.stdin.isatty():
        load_history()
        print("/help lists the commands, Ctrl-D exits", file=sys.stderr)
    try:
        converse(runner, chat, screen)
    except (EOFError, KeyboardInterrupt):
        print(file=sys.stderr)
    finally:
        if sys.stdin.isatty():
            save_history()


def once(runner: "Runner", chat: Chat, text: str, screen: Screen) -> None:
    """Answer one message."""
    chat.say("user", text)
    answer = ask(runner, chat, screen)
    log.info(answer.figures())
    if answer.finish == "canceled":
        raise typer.Exit(INTERRUPTED)


@takes(ModelOptions, RuntimeOptions, SamplingOptions)
def run(
    kind: KindWord = Kind.AUTO,
    text: Annotated[
        str | None, typer.Option("-i", "--input", help="Answer this and exit; without it, converse.")
    ] = None,
    *,
    model: ModelOptions,
    runtime: RuntimeOptions,
    sampling: SamplingOptions,
) -> None:
    """Talk to a model, or get one answer with -i.

    Sampling settings that you leave out come from the model's generation_config.json: greedy where it does not
    sample, else its temperature, top-p and top-k. Only the answer is written to stdout; reasoning is shown, in grey,
    on a terminal only.
    """
    try:
        with start(kind, model, runtime) as runner:
            given = present(**asdict(sampling))
            system = given.pop("system", None)
            defaults = suggest.read(suggest.find(named_model(model), model.hf_cache))
            chat, screen = Chat({**defaults, **given}, system), Screen()
            if text is None:
                session(runner, chat, screen)
            else:
                once(runner, chat, text, screen)
    except KeyboardInterrupt:  # while loading
        raise typer.Exit(INTERRUPTED) from None

"""A terminal and a Runner: one answer, or a conversation."""

import logging
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mistralrs.api.errors import RequestError
from mistralrs.api.requests import ChatCompletionRequest
from mistralrs.cli.answer import Answer, Screen, show
from mistralrs.cli.chat import Chat, interpret
from mistralrs.cli.options import SamplingOptions
from mistralrs.cli.start import present

if TYPE_CHECKING:
    from mistralrs.runner import ChatStream, Runner

log = logging.getLogger("mistralrs")


def new_chat(options: SamplingOptions) -> Chat:
    """A conversation with the settings of the command line, which are checked before anything is loaded."""
    given = present(**asdict(options))
    chat = Chat(system=given.pop("system", None), sampling=given)
    ChatCompletionRequest(messages="any", **chat.sampling)
    return chat


def serve_terminal(runner: "Runner", chat: Chat, text: str | None) -> None:
    """Answer `text`, or converse where there is none."""
    if text is None:
        session(runner, chat, Screen())
    else:
        once(runner, chat, text, Screen())


def ask(runner: "Runner", chat: Chat, text: str, screen: Screen) -> Answer:
    """Stream the answer to `text`. Ctrl-C cancels it; what had arrived stays in the conversation."""
    chat.say("user", text)
    answer = Answer()
    stream = cast("ChatStream", runner.send_chat_completion_request(chat.request()))
    try:
        show(stream, screen, answer)
    except KeyboardInterrupt:
        answer.finish = "canceled"
    finally:
        stream.close()
    chat.say("assistant", answer.text)
    screen.end(cut=answer.finish == "length")
    return answer


def once(runner: "Runner", chat: Chat, text: str, screen: Screen) -> None:
    """Answer one message; Ctrl-C ends the program as well."""
    answer = ask(runner, chat, text, screen)
    log.info(answer.figures())
    if answer.finish == "canceled":
        raise KeyboardInterrupt


def session(runner: "Runner", chat: Chat, screen: Screen) -> None:
    """Converse until Ctrl-D, Ctrl-C at the prompt, or /exit."""
    typed = sys.stdin.isatty()
    if typed:
        load_history()
        print("/help lists the commands, Ctrl-D exits", file=sys.stderr)
    try:
        while True:
            answer_line(runner, chat, input("> " if typed else "").strip(), screen)
    except (EOFError, KeyboardInterrupt):
        print(file=sys.stderr)
    finally:
        if typed:
            save_history()


def answer_line(runner: "Runner", chat: Chat, line: str, screen: Screen) -> None:
    """Obey a command, or answer a message and show its figures; a message that is refused is forgotten."""
    reply = interpret(chat, line)
    if reply is None and line:
        try:
            reply = ask(runner, chat, line, screen).figures()
        except RequestError as error:
            chat.messages.pop()
            reply = f"error: {error}"
    if reply:
        print(reply, file=sys.stderr)


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

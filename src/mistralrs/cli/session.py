"""A terminal and a Runner: one answer, or a conversation."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, cast

from mistralrs.api.errors import MistralRsError, RequestError
from mistralrs.api.requests import ChatCompletionRequest
from mistralrs.cli import typing_in
from mistralrs.cli.answer import Answer, Screen, show
from mistralrs.cli.chat import COMMANDS, Chat, interpret, part, reachable
from mistralrs.cli.journal import Notes
from mistralrs.cli.options import SamplingOptions
from mistralrs.cli.start import present

if TYPE_CHECKING:
    from mistralrs.runner import ChatStream, Runner

log = logging.getLogger("mistralrs")


def new_chat(options: SamplingOptions, **media: Sequence[str]) -> Chat:
    """A conversation with the settings, and the `image` and `audio`, of the command line.

    They are checked before anything is loaded.
    """
    given = present(**asdict(options))
    chat = Chat(system=given.pop("system", None), sampling=given)
    ChatCompletionRequest(messages="any", **chat.sampling)
    for kind, names in media.items():
        for name in names:
            if not reachable(name):
                raise RequestError(f"--{kind} {name}: there is no such file")
            chat.media.append(part(kind, name))
    return chat


class Talk:
    """A conversation on a terminal; `path` names the file of `--log`."""

    def __init__(self, chat: Chat, path: str | None = None) -> None:
        self.chat, self.notes = chat, Notes(path) if path else None
        self.screen = Screen()

    def serve(self, runner: "Runner", text: str | None) -> None:
        """Answer `text`, or converse where there is none."""
        if text is None:
            self.session(runner)
        else:
            self.once(runner, text)

    def once(self, runner: "Runner", text: str) -> None:
        """Answer one message; Ctrl-C ends the program as well."""
        answer = self.ask(runner, text)
        log.info(answer.figures())
        if answer.finish == "canceled":
            raise KeyboardInterrupt

    def session(self, runner: "Runner") -> None:
        """Converse until Ctrl-D, Ctrl-C at the prompt, or /exit."""
        typed = sys.stdin.isatty()
        if typed:
            typing_in.begin([f"/{name}" for name in COMMANDS])
            print("/help lists the commands, Ctrl-D exits", file=sys.stderr)
        try:
            while True:
                self.answer(runner, typing_in.message(typed))
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
        finally:
            if typed:
                typing_in.end()

    def answer(self, runner: "Runner", line: str) -> None:
        """Obey a command, or answer a message and show its figures; a message that is refused is forgotten."""
        before = len(self.chat.messages)
        reply = interpret(self.chat, line)
        if reply is None and line:
            try:
                reply = self.ask(runner, line).figures()
            except MistralRsError as error:
                del self.chat.messages[before:]
                log.info("traceback", exc_info=True)
                reply = f"error: {error}"
        if reply:
            print(reply, file=sys.stderr)

    def ask(self, runner: "Runner", text: str) -> Answer:
        """Stream the answer to `text`. Ctrl-C cancels it; what had arrived stays in the conversation."""
        self.chat.say("user", text)
        answer, request = Answer(), self.chat.request()
        stream = cast("ChatStream", runner.send_chat_completion_request(request))
        try:
            show(stream, self.screen, answer)
        except KeyboardInterrupt:
            answer.finish = "canceled"
        finally:
            stream.close()
        self.chat.say("assistant", answer.text)
        self.screen.end(cut=answer.finish == "length")
        if self.notes:
            self.notes.write(request=request.messages, response=answer.entry())
        return answer

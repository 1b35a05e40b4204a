"""The channels of gpt-oss: messages of a header, which names a channel and perhaps a recipient, and a body.

Format: https://cookbook.openai.com/articles/openai-harmony
"""

from mistralrs.api.piece import Finish as Reason
from mistralrs.stream.calls import NO_TOOLS, Tools, Writer
from mistralrs.stream.events import Content, Event, Reasoning, Spoken, Voice
from mistralrs.stream.headed import program
from mistralrs.stream.jsontext import Extent, Malformed, dumps
from mistralrs.stream.scan import first, partial

HARMONY = (
    "<|start|>",
    "<|channel|>",
    "<|constrain|>",
    "<|message|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
)
FINAL = r"<\|channel\|>final[^<]*(<\|constrain\|>[^<]*)?<\|message\|>"
CODE = "python"  # the tool whose messages are programs


def kind_of(channel: str, addressed: bool) -> Spoken:
    """What a message is to the user: commentary to nobody is a preamble, which the user reads."""
    if channel == "analysis" or (channel == "commentary" and addressed):
        return Reasoning
    return Content


def recipient(to: str, tools: Tools) -> str | None:
    """The name of the tool that a message goes to; None where it is no call."""
    if not tools:
        return None
    if to.startswith("functions."):
        return to.removeprefix("functions.")
    return to if to == CODE or to.startswith("browser.") or to in tools else None


class Harmony:
    """Splits gpt-oss output into content, reasoning and calls."""

    def __init__(self, prompt: str, tools: Tools = NO_TOOLS) -> None:
        self._writer = Writer(tools)
        self._voice = Voice()
        self._held = ""
        self._kind: Spoken | None = Content  # None inside a call
        self._call = ""  # the text of the call that is open
        self._clean: Extent | None = None  # what makes its text strict JSON; None for a program
        self._header: str | None = ""  # None inside a body
        self.push(prompt[max(prompt.rfind("<|start|>"), 0) :])  # the prompt may begin the message
        self._voice = Voice()
        self._header = None if self._header is None else ""
        self._marked = self._header is None

    def push(self, text: str) -> list[Event]:
        """Take more text and return the events that became certain."""
        self._held += text
        while at := first(self._held, HARMONY):
            self._take(self._held[: at[0]])
            self._turn(self._held[at[0] : at[1]])
            self._held = self._held[at[1] :]
        certain = len(self._held) - partial(self._held, HARMONY)
        self._take(self._held[:certain])
        self._held = self._held[certain:]
        return self._writer.flush()

    def end(self, reason: Reason) -> list[Event]:
        """Return what is held back, then the Finish; output without any marker is content."""
        if not self._marked:
            self._held, self._header = (self._header or "") + self._held, None
        self._take(self._held)
        self._held = ""
        self._end_call(whole=reason == "stop")  # the end of a call is an end token too
        return [*self._writer.flush(), self._writer.finish(reason)]

    def _take(self, text: str) -> None:
        if self._header is not None:
            self._header += text
        elif self._kind is None:
            self._call += text
            if self._clean is not None:
                self._writer.write("".join(map(self._clean.step, text)))
        else:
            self._writer.events += self._voice.say(self._kind, text)

    def _end_call(self, whole: bool = True) -> None:
        if self._writer.arguments is None:
            return
        try:
            if not whole:
                raise Malformed("it was cut off")
            if self._clean is None:
                self._writer.write(dumps(program(self._call)))
            self._writer.close()
        except Malformed as error:
            self._writer.fail(self._call, error)

    def _turn(self, marker: str) -> None:
        """Go where `marker` leads: into a body, or to the next part of a header."""
        self._marked = True
        self._end_call()
        words = (self._header or "").split()
        to = [word for word in words if word.startswith("to=")]
        if marker == "<|message|>":
            channel = next((word for word in words if word not in to), "")
            self._body(channel, to[0].removeprefix("to=") if to else "")
        elif marker == "<|constrain|>":
            self._header = (self._header or "") + " "
        else:  # the recipient may stand before the channel
            self._header = "".join(f"{word} " for word in to if marker == "<|channel|>")

    def _body(self, channel: str, to: str) -> None:
        """Begin a message of a channel, perhaps to a tool."""
        self._header, self._kind = None, kind_of(channel, bool(to))
        name = recipient(to, self._writer.tools)
        if name:
            self._kind, self._call = None, ""
            self._clean = None if name == CODE else Extent()
            self._writer.open(name)

"""The channels of gpt-oss: messages of a header, which names a channel and perhaps a tool, and a body."""

from mistralrs.api.piece import Finish as Reason
from mistralrs.stream.calls import NO_TOOLS, Tools, Writer
from mistralrs.stream.events import Content, Event, Reasoning, Spoken, Voice
from mistralrs.stream.reader import Malformed
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
CHANNELS: dict[str, Spoken] = {"analysis": Reasoning, "commentary": Reasoning, "final": Content}


class Harmony:
    """Splits gpt-oss output: messages of a header, which names a channel, and a body."""

    def __init__(self, prompt: str, tools: Tools = NO_TOOLS) -> None:
        self._writer = Writer(tools)
        self._voice = Voice()
        self._held = ""
        self._kind: Spoken | None = Content  # None inside a call
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
            self._writer.write(text)
        else:
            self._writer.events += self._voice.say(self._kind, text)

    def _end_call(self, whole: bool = True) -> None:
        if self._writer.arguments is None:
            return
        text = "".join(self._writer.arguments)
        try:
            if not whole:
                raise Malformed("it was cut off")
            self._writer.close()
        except Malformed as error:
            self._writer.fail(text, error)

    def _turn(self, marker: str) -> None:
        """Go where `marker` leads: into a body, or to the next part of a header."""
        self._marked = True
        self._end_call()
        words = (self._header or "").split()
        to = [word for word in words if word.startswith("to=")]
        if marker == "<|message|>":
            self._body(next((word for word in words if word not in to), ""), to)
        elif marker == "<|constrain|>":
            self._header = (self._header or "") + " "
        else:  # the recipient may stand before the channel
            self._header = "".join(f"{word} " for word in to if marker == "<|channel|>")

    def _body(self, channel: str, to: list[str]) -> None:
        self._header, self._kind = None, CHANNELS.get(channel, Content)
        if self._writer.tools and to and (name := to[0].removeprefix("to=functions.")) != to[0]:
            self._kind = None
            self._writer.open(name)

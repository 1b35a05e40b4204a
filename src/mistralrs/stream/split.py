"""The text of an answer, split into content, reasoning and tool calls."""

import re

from mistralrs.api.piece import Finish as Reason
from mistralrs.stream.calls import Dialect, Tools, Writer, log
from mistralrs.stream.events import Content, Event, Reasoning, Voice
from mistralrs.stream.jsontext import Malformed
from mistralrs.stream.objects import unmarked
from mistralrs.stream.reader import Reader, Steps
from mistralrs.stream.scan import first, partial
from mistralrs.stream.think import Mark

BRACE = re.compile(r"(\n|\A)\s*(?=[\[{])")


class Split:
    """Reads words that begin something: reasoning, a call, or a header to drop. A call's own text is not searched."""

    def __init__(
        self, marks: tuple[Mark, ...], inside: Mark | None, dialect: Dialect, tools: Tools
    ) -> None:
        """`inside` is the mark of the reasoning that the prompt has begun."""
        self._marks = {mark.begin: mark for mark in marks}
        self._inside = inside
        self._dialect = dialect
        self._reader = Reader()
        self._writer = Writer(tools, dialect.new_id, forget=self._forget)
        self._parser: Steps[None] | None = None
        self._voice = Voice()
        self._blank = ""  # white space that is content only if text follows
        self._before = ""  # such white space before the call that is read
        self._fresh = dialect.first and bool(tools)  # the answer may begin with an unmarked call
        self._lines = dialect.lines and bool(tools)
        self._line = True  # only white space was said on this line
        drops = [drop for mark in marks for drop in mark.drops] + list(dialect.drops)
        names = tools or ("",)
        self._drops = {drop.replace("NAME", name) for drop in drops for name in names}
        opens = dialect.opens if tools else ()
        self._words = tuple({*opens, *self._marks, *self._drops})

    def push(self, text: str) -> list[Event]:
        """Take more text and return the events that became certain."""
        self._reader.text += text
        while self._step():
            pass
        return self._writer.flush()

    def end(self, reason: Reason) -> list[Event]:
        """Return what is held back, then the Finish; a call that was cut off is content."""
        self._reader.over = True
        events = self.push("")
        if self._blank and not self._writer.complete:
            events += self._voice.say(Content, self._blank)
        return [*events, self._writer.finish(reason)]

    def _step(self) -> bool:
        """Do one thing that the text allows and tell whether there may be more to do."""
        if self._parser is not None:
            return self._parse(self._parser)
        return self._think(self._inside) if self._inside else self._speak()

    def _parse(self, parser: Steps[None]) -> bool:
        """Read on in a call."""
        try:
            next(parser)
            return False
        except StopIteration:
            self._reader.forget()
            self._before = ""
        except Malformed as error:
            self._give_up(error)
        self._parser = None
        return True

    def _think(self, mark: Mark) -> bool:
        """Pass on reasoning up to its end."""
        reader = self._reader
        at = first(reader.text, (mark.end,))
        held = 0 if at or reader.over else partial(reader.text, (mark.end,))
        said, end = at or (len(reader.text) - held, len(reader.text) - held)
        self._writer.events += self._voice.say(Reasoning, reader.text[:said])
        reader.text = reader.text[end:]
        if at:
            self._inside, self._line = None, True
        return at is not None

    def _speak(self) -> bool:
        """Pass on content up to what begins something else, and begin that."""
        reader = self._reader
        if self._fresh:
            self._fresh = not (reader.text.strip() or reader.over)
            return not self._fresh and self._start(0, 0)
        at = first(reader.text, self._words)
        held = 0 if reader.over else partial(reader.text, self._words)
        brace = self._brace(at[0] if at else len(reader.text) - held)
        if brace is not None:
            return self._start(brace, brace)
        if not at:
            self._say(reader.text[: len(reader.text) - held])
            reader.text = reader.text[len(reader.text) - held :]
            return False
        word = reader.text[at[0] : at[1]]
        if word in self._drops or word in self._marks:
            self._say(reader.text[: at[0]])
            reader.text = reader.text[at[1] :]
            self._inside, self._line = self._marks.get(word), True
            return True
        return self._start(*at)

    def _brace(self, end: int) -> int | None:
        """Where a line begins with JSON, before `end`."""
        if not self._lines:
            return None
        for found in BRACE.finditer(self._reader.text):
            if (found[1] or self._line) and found.end() < end:
                return found.end()
        return None

    def _start(self, begin: int, end: int) -> bool:
        """Begin to read a call, marked by what stands between `begin` and `end`."""
        self._say(self._reader.text[:begin])
        self._before, self._blank = self._blank, ""
        self._reader.text = self._reader.text[begin:]
        self._reader.forget()
        self._reader.take(end - begin)
        marked = end > begin or self._dialect.first
        parse = self._dialect.parse if marked else unmarked
        self._parser = parse(self._reader, self._writer)
        self._line = False
        return True

    def _give_up(self, error: Malformed) -> None:
        """What was read is text."""
        before, text = self._before, self._reader.read
        self._forget()
        if self._writer.arguments is not None:
            self._writer.fail(before + text, error)
            self._voice.begin(Content)
        else:
            log.debug("no tool call: %s", error)
            self._blank = before
            self._say(text)

    def _forget(self) -> None:
        self._reader.forget()
        self._before = ""

    def _say(self, text: str) -> None:
        """Content; the white space at its end waits for what follows."""
        line = text[text.rfind("\n") + 1 :]
        self._line = not line.strip() and ("\n" in text or self._line)
        whole = self._blank + text
        said = whole.rstrip()
        self._blank = whole[len(said) :]
        self._writer.events += self._voice.say(Content, said)

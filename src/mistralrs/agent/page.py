"""Pages as text: what a reader sees, without scripts, menus and markup."""

import re
import textwrap
from html.parser import HTMLParser

from mistralrs.agent.web import Document

WIDTH = 80  # characters of a line
SILENT = frozenset({"script", "style", "noscript", "template", "svg", "nav", "head", "iframe"})
BLOCKS = re.compile(  # elements that begin and end a paragraph
    "address|article|aside|blockquote|br|dd|div|dl|dt|fieldset|figure|footer|form|h[1-6r]|header|li|main|ol|p|pre"
    "|section|table|td|th|tr|ul"
)


def text_of(document: Document) -> str:
    """The text of a page, in paragraphs of lines of at most 80 characters."""
    if "html" not in document.kind:
        return document.text.strip()
    reader = Reader()
    reader.feed(document.text)
    reader.close()
    paragraphs = (re.sub(r"\s+", " ", part).strip() for part in "".join(reader.parts).split("\0"))
    return "\n".join(
        textwrap.fill(p, WIDTH, break_long_words=False, break_on_hyphens=False)
        for p in paragraphs
        if p
    )


class Reader(HTMLParser):
    """Collects text; a NUL stands between paragraphs."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.silence: list[str] = []  # open elements that nobody sees

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an element."""
        if tag == "body":
            self.silence = []  # whatever was left open before
        if tag in SILENT:
            self.silence.append(tag)
        if BLOCKS.fullmatch(tag):
            self.parts.append("\0")

    def handle_endtag(self, tag: str) -> None:
        """End an element."""
        if tag in self.silence:
            del self.silence[self.silence.index(tag) :]
        if BLOCKS.fullmatch(tag):
            self.parts.append("\0")

    def handle_data(self, data: str) -> None:
        """Take text."""
        if not self.silence:
            self.parts.append(data.replace("\0", ""))

"""Search results of DuckDuckGo's page for browsers without scripts."""

from collections.abc import Callable
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlencode, urlsplit

from mistralrs.agent.web import Document, fetch
from mistralrs.api.errors import ToolError

ADDRESS = "https://html.duckduckgo.com/html/"
RESULTS = 10


def duckduckgo(
    query: str, address: str = ADDRESS, fetch: Callable[[str, bytes], Document] = fetch
) -> list[dict[str, str]]:
    """Titles, descriptions and addresses for a query, best first."""
    page = fetch(address, urlencode({"q": query}).encode())
    reader = Reader()
    reader.feed(page.text)
    if not reader.found and "anomaly" in page.text:
        raise ToolError(
            "DuckDuckGo takes this machine for a robot and does not answer; wait a while"
        )
    return [result for result in reader.found if result["url"]][:RESULTS]


class Reader(HTMLParser):
    """Collects links of class result__a and texts of class result__snippet."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[dict[str, str]] = []
        self.field: str | None = None  # what text belongs to
        self.tag = ""  # the element that ends it

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an element."""
        given = dict(attrs)
        classes = (given.get("class") or "").split()
        if "result__a" in classes:
            url = target(given.get("href") or "")
            self.found.append({"title": "", "description": "", "url": url})
            self.field, self.tag = "title", tag
        elif "result__snippet" in classes and self.found:
            self.field, self.tag = "description", tag

    def handle_endtag(self, tag: str) -> None:
        """End an element."""
        if tag == self.tag:
            self.field = None

    def handle_data(self, data: str) -> None:
        """Take text."""
        if self.field:
            self.found[-1][self.field] += data


def target(link: str) -> str:
    """Where a result leads: the page redirects through an address that carries it; nothing for an ad."""
    parts = urlsplit(f"https:{link}" if link.startswith("//") else link)
    inside = parse_qs(parts.query).get("uddg", [""])[0]
    url = inside or link
    own = (urlsplit(url).hostname or "").endswith("duckduckgo.com")
    return "" if own or not url.startswith(("http://", "https://")) else url

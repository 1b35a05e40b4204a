"""Web search: the default engine against a page of its kind, pages as text, ranking, budgets, addresses."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mistralrs import (
    ApproximateUserLocation,
    ChatCompletionRequest,
    SearchContextSize,
    WebSearchOptions,
    WebSearchUserLocation,
)
from mistralrs.agent import web
from mistralrs.agent.duckduckgo import duckduckgo
from mistralrs.agent.loop import converse
from mistralrs.agent.page import text_of
from mistralrs.agent.rank import bm25, by_vectors
from mistralrs.agent.search import Search, called, search_tools
from mistralrs.agent.web import Document, fetch, public
from mistralrs.api import errors
from tests.agent.scripted import Script, call
from tests.agent.test_loop import told

RESULTS = """<html><body>
<div class="result"><h2><a rel="nofollow" class="result__a"
 href="//duckduckgo.com/l/?uddg={base}%2Fbears&amp;rut=1">All <b>bears</b> &amp; more</a></h2>
 <a class="result__snippet" href="x">Bears are <b>large</b>.</a></div>
<div class="result result--ad"><a class="result__a" href="https://duckduckgo.com/y.js?ad=1">Buy</a></div>
<div class="result"><a class="result__a" href="{base}/gone">Gone</a><a class="result__snippet">Lost</a></div>
</body></html>"""
BEARS = """<html><head><title>t</title><style>p {{}}</style></head><body><nav>Menu</nav>
<h1>Bears</h1><p>Bears   eat
honey.</p><script>alert("no")</script><ul><li>brown<li>black</ul><p>Tom &amp; Jerry</p></body></html>"""
PAGES = {
    "/bears": ("text/html; charset=utf-8", BEARS.encode()),
    "/latin": ("text/plain; charset=latin-1", "Bär".encode("latin-1")),
    "/odd": ("text/plain; charset=klingon", "Bär".encode()),
    "/picture": ("image/png", b"png"),
    "/large": ("text/plain", b"x" * (3 << 20)),
}


@pytest.fixture(scope="module")
def site():
    """A web site with a search engine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/away":
                self.send_response(302)
                self.send_header("Location", "http://169.254.169.254/latest/meta-data")
                return self.end_headers()
            kind, body = PAGES.get(self.path, (None, b""))
            self.send_response(200 if kind else 404)
            self.send_header("Content-Type", kind or "text/plain")
            self.end_headers()
            return self.wfile.write(body)

        def do_POST(self):
            self.server.asked = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            base = f"http://127.0.0.1:{self.server.server_port}"
            self.wfile.write(RESULTS.format(base=base).encode())

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.base = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()


def here(url, data=None):
    """Fetch from this machine too."""
    return fetch(url, data, private=True)


def test_the_default_engine(site):
    found = duckduckgo("brown bears", f"{site.base}/html/", here)
    assert site.asked == b"q=brown+bears"
    assert found == [
        {
            "title": "All bears & more",
            "description": "Bears are large.",
            "url": f"{site.base}/bears",
        },
        {"title": "Gone", "description": "Lost", "url": f"{site.base}/gone"},
    ]


def test_a_refusal_of_the_engine_is_told():
    page = Document("u", "text/html", "<div class='anomaly-modal'></div>")
    with pytest.raises(errors.ToolError, match="robot"):
        duckduckgo("x", "u", lambda url, data: page)


READ = {
    "/bears": "Bears\nBears eat honey.\nbrown\nblack\nTom & Jerry",
    "/latin": "Bär",
    "/odd": "Bär",
}


@pytest.mark.parametrize("path", READ)
def test_pages_are_read(site, path):
    assert text_of(here(site.base + path)) == READ[path]


def test_long_lines_are_wrapped_and_long_pages_cut(site):
    page = Document("u", "text/html", "<p>" + "word " * 100)
    assert max(map(len, text_of(page).splitlines())) <= 80
    assert len(here(f"{site.base}/large").text) == web.LARGEST


REFUSED = {
    "missing": ("{}/gone", "HTTP 404"),
    "picture": ("{}/picture", "type image/png"),
    "file": ("file:///etc/passwd", "no http or https address"),
    "ftp": ("ftp://example.com/", "no http or https address"),
    "nobody": ("http://127.0.0.1:9/", "cannot be read"),
    "no host": ("http://", "cannot be read"),
}


@pytest.mark.parametrize(("url", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read(site, url, message):
    with pytest.raises(errors.ToolError, match=message):
        here(url.format(site.base))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0x7f000001", "2130706433"])
def test_this_machine_is_refused(site, host):
    with pytest.raises(errors.ToolError, match="not on the public web"):
        fetch(f"http://{host}:{site.server_port}/bears")


def test_redirects_are_checked(site, monkeypatch):
    """Only the first connection is allowed to be private; the redirect leads to one that is not looked up."""
    reach, asked = web.reach, []

    def once(host, port, timeout, private):
        asked.append(host)
        return reach(host, port, timeout, private=host == "127.0.0.1")

    monkeypatch.setattr(web, "reach", once)
    with pytest.raises(errors.ToolError, match="'169.254.169.254' is not on the public web"):
        fetch(f"{site.base}/away")
    assert asked == ["127.0.0.1", "169.254.169.254"]


ADDRESSES = {
    "8.8.8.8": True,
    "2606:4700::1111": True,
    "127.0.0.1": False,
    "10.1.2.3": False,
    "172.16.0.1": False,
    "192.168.1.1": False,
    "169.254.169.254": False,
    "100.64.0.1": False,
    "0.0.0.0": False,
    "224.0.0.1": False,
    "::1": False,
    "::": False,
    "fe80::1%eth0": False,
    "fd00::1": False,
    "::ffff:10.0.0.1": False,
    "2002:7f00:1::": False,
    "64:ff9b::a00:1": False,
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_public_addresses(address):
    assert public(address) == ADDRESSES[address]


def test_ranking_by_words():
    passages = ["the cat sat", "bears eat honey and bears sleep", "the honey pot", ""]
    scores = bm25("Bears honey", passages)
    assert sorted(range(4), key=lambda i: -scores[i])[:2] == [1, 2]
    assert scores[0] == scores[3] == 0
    assert bm25("x", []) == []


def test_ranking_by_vectors():
    asked = []

    def embed(texts):
        asked.append(texts)
        return [[1.0, 0.0] if "bear" in text else [0.0, 1.0] for text in texts]

    scores = by_vectors(embed)("bears", ["bear"] + ["cat"] * 8)
    assert scores == [1.0] + [0.0] * 8
    assert [len(batch) for batch in asked] == [1, 8, 1]
    assert asked[0] == ["task: search result | query: bears"]


def run(search, tool, arguments, **options):
    """What the model reads of a search."""
    request = ChatCompletionRequest("hi", web_search_options=WebSearchOptions(**options))
    tools = search_tools(search, request.web_search_options, lambda text: len(text.split()))
    script = Script([call(tool, json.dumps(arguments))], "ok")
    converse(script, request, tools, None).whole()
    assert script.asked[0].web_search_options is None
    return told(script)[0]


def test_search_and_read(site):
    search = Search(
        lambda query: duckduckgo(query, f"{site.base}/html/", here), lambda url: text_of(here(url))
    )
    output = json.loads(run(search, "search_the_web", {"query": "honey"}))["output"]
    assert [result["content"] for result in output] == [READ["/bears"], ""]
    assert [result["title"] for result in output] == ["All bears & more", "Gone"]
    read = run(search, "website_content_extractor", {"url": f"{site.base}/bears"})
    assert json.loads(read) == {
        "output": [{"url": f"{site.base}/bears", "content": READ["/bears"]}]
    }
    assert "HTTP 404" in run(search, "website_content_extractor", {"url": f"{site.base}/gone"})


def test_the_default_reader_refuses_this_machine(site):
    page = run(Search(lambda q: []), "website_content_extractor", {"url": f"{site.base}/bears"})
    assert page == "ERROR: '127.0.0.1' is not on the public web and is not read"


def test_the_best_passages_stay_within_the_budget():
    lines = [f"{n} " + "filler " * 150 for n in range(60)]
    lines[40] = "the honey is here " + "filler " * 150
    search = Search(
        lambda query: [dict(title="t", description="", url="u", content="\n".join(lines))]
    )
    sizes = {}
    for size in SearchContextSize:
        text = run(search, "search_the_web", {"query": "honey"}, search_context_size=size)
        assert "the honey is here" in text
        sizes[size] = len(text.split())
    assert sizes[SearchContextSize.Low] <= 4096 < sizes[SearchContextSize.Medium] <= 8192
    numbers = [int(n) for n in json.loads(text)["output"][0]["content"].split() if n.isdecimal()]
    assert numbers == sorted(numbers), "in the order of the page"


CALLBACKS = {
    "content": (
        lambda q: [dict(title=q, url="u", content="c")],
        '{"output": [{"title": "x", "desc',
    ),
    "nothing": (lambda q: [], '{"output": []}'),
    "no list": (lambda q: "text", "ERROR: search_callback returned str, not a list of dicts"),
    "no dicts": (lambda q: ["text"], "ERROR: search_callback returned a list of str, not of dicts"),
    "raises": (lambda q: 1 / 0, "ERROR: division by zero"),
}


@pytest.mark.parametrize(("callback", "text"), CALLBACKS.values(), ids=CALLBACKS)
def test_search_callback(callback, text):
    assert run(Search(called(callback)), "search_the_web", {"query": "x"}).startswith(text)


def test_descriptions_and_place():
    place = WebSearchUserLocation(approximate=ApproximateUserLocation(city="Rome", country="IT"))
    options = WebSearchOptions(
        user_location=place, search_description="Find.", extract_description="Read."
    )
    tools = search_tools(Search(lambda q: []), options, len)
    described = [tool.schema["function"]["description"] for tool in tools]
    assert described == ["Find. The user is in: Rome, IT.", "Read."]


def test_a_wrong_argument_is_told():
    assert "has to be a text" in run(Search(lambda q: []), "search_the_web", {"q": 1})

"""Web search as two tools of the model: find pages, and read one."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from typing import Any

from mistralrs.agent.callbacks import in_thread
from mistralrs.agent.page import text_of
from mistralrs.agent.rank import Rank, bm25
from mistralrs.agent.web import SECONDS, fetch
from mistralrs.api.enums import AgentToolKind, AgentToolSource, SearchContextSize
from mistralrs.api.errors import ToolError
from mistralrs.api.options import WebSearchOptions
from mistralrs.api.toolbox import Outcome, Tool

Result = dict[str, str]  # title, description, url, content

FIELDS = ("title", "description", "url", "content")
BUDGET = {  # tokens for all results of a search
    SearchContextSize.Low: 4096,
    SearchContextSize.Medium: 8192,
    SearchContextSize.High: 16384,
}
PASSAGE = 1200  # characters that are ranked as one
SEARCH = "Search the web. Returns pages with title, description, address and the passages that fit the query."
EXTRACT = "Read a web page. Returns the text of the page at an address."


@dataclass(frozen=True)
class Search:
    """How the web is searched and read."""

    find: Callable[[str], list[Result]]
    read: Callable[[str], str] = lambda url: text_of(fetch(url))
    rank: Rank = bm25


def search_tools(
    search: Search, options: WebSearchOptions, length: Callable[[str], int]
) -> list[Tool]:
    """The tools of one request; `length` counts the tokens of a text."""
    budget = BUDGET[options.search_context_size or SearchContextSize.Medium]

    def searching(query: str) -> list[Result]:
        return trimmed(search, query, found(search, query), budget, length)

    def reading(url: str) -> list[Result]:
        return trimmed(search, "", [{"url": url, "content": search.read(url)}], budget, length)

    where = location(options)
    return [
        tool("search_the_web", "query", (options.search_description or SEARCH) + where, searching),
        tool("website_content_extractor", "url", options.extract_description or EXTRACT, reading),
    ]


def tool(name: str, argument: str, description: str, work: Callable[[str], list[Result]]) -> Tool:
    """A tool of one text argument, whose result is `{"output": [...]}`."""

    def run(arguments: dict[str, Any]) -> Outcome:
        value = arguments.get(argument)
        if not isinstance(value, str) or not value.strip():
            raise ToolError(f"the argument {argument!r} has to be a text")
        return Outcome(json.dumps({"output": work(value.strip())}, ensure_ascii=False))

    def start(arguments: dict[str, Any]) -> "Future[Outcome]":
        return in_thread(lambda: run(arguments), f"tool-{name}")

    parameters = {
        "type": "object",
        "properties": {argument: {"type": "string"}},
        "required": [argument],
    }
    function = {"name": name, "description": description, "parameters": parameters}
    schema = {"type": "function", "function": function}
    return Tool(name, start, schema, AgentToolSource.BuiltIn, AgentToolKind.WebSearch)


def found(search: Search, query: str) -> list[Result]:
    """The results of a search with the text of their pages; what cannot be read keeps its description."""
    results = [
        result for result in map(plain, search.find(query)) if result["url"] or result["content"]
    ]
    missing = [result for result in results if not result["content"]]

    def load(result: Result) -> Outcome:
        return Outcome(search.read(result["url"]))

    futures = [in_thread(lambda r=r: load(r), "page") for r in missing]  # type: ignore[misc]
    wait_for(futures, timeout=2 * SECONDS)
    for result, future in zip(missing, futures):
        if future.done() and future.exception() is None:
            result["content"] = future.result().text
    return results


def plain(result: Any) -> Result:
    """A result with all fields, as a user's callback may leave some out."""
    if not isinstance(result, dict):
        raise ToolError(f"search_callback returned a list of {type(result).__name__}, not of dicts")
    return {key: str(result.get(key) or "") for key in FIELDS}


def trimmed(
    search: Search, query: str, results: list[Result], budget: int, length: Callable[[str], int]
) -> list[Result]:
    """Results whose contents are their best passages, in the order of the page, within a number of tokens."""
    pieces = [(i, text) for i, r in enumerate(results) for text in passages(r["content"])]
    texts = [text for _, text in pieces]
    scores = search.rank(query, texts) if query and texts else [0.0] * len(texts)
    left = budget - sum(length(json.dumps({**r, "content": ""})) for r in results)
    chosen = set()
    for number in sorted(range(len(pieces)), key=lambda n: -scores[n]):
        left -= length(texts[number])
        if left < 0:
            break
        chosen.add(number)
    return [
        {**result, "content": "\n".join(texts[n] for n in sorted(chosen) if pieces[n][0] == i)}
        for i, result in enumerate(results)
    ]


def passages(text: str) -> list[str]:
    """A text in passages of whole lines, of about the same length; a longer line is cut."""
    done: list[str] = []
    lines = [
        line[i : i + PASSAGE] for line in text.splitlines() for i in range(0, len(line), PASSAGE)
    ]
    for line in lines:
        if done and len(done[-1]) + len(line) < PASSAGE:
            done[-1] += f"\n{line}"
        else:
            done.append(line)
    return done


def location(options: WebSearchOptions) -> str:
    """What the description of the tool says about where the user is."""
    if options.user_location is None:
        return ""
    place = options.user_location.approximate
    parts = [part for part in (place.city, place.region, place.country, place.timezone) if part]
    return f" The user is in: {', '.join(parts)}." if parts else ""


def called(function: Any) -> Callable[[str], list[Result]]:
    """A user's `search_callback`, whose results are checked."""

    def find(query: str) -> list[Result]:
        results: Sequence[Any] = function(query)
        if isinstance(results, (str, dict)) or not isinstance(results, Sequence):
            raise ToolError(
                f"search_callback returned {type(results).__name__}, not a list of dicts"
            )
        return list(results)

    return find

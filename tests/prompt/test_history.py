"""Ids of calls in a history, as Mistral's templates want them."""

import re

import pytest

from mistralrs.prompt.history import nine, with_ids
from mistralrs.prompt.template import ChatTemplate

LONG, OTHER = "call_0123456789abcdef01234567", "call_1"
TEMPLATE = (  # refuses what Mistral's own refuse
    "[TOOL_CALLS]{% for m in messages %}{% for c in m.tool_calls or [m] %}{% set id = c.id or c.tool_call_id %}"
    "{% if m.role != 'user' %}{% if id is not string or id|length != 9 %}{{ raise_exception('length') }}{% endif %}"
    "{{ id }} {% endif %}{% endfor %}{% endfor %}"
)


def call(id: str | None) -> dict:
    named = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    return named if id is None else {**named, "id": id}


def history(ids: list[str | None], results: list[str | None]) -> list[dict]:
    answers = [{"role": "tool", "content": "1", "tool_call_id": id} for id in results]
    return [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "tool_calls": [call(id) for id in ids]},
        *answers,
    ]


HISTORIES = {
    "ours": (["abcdefghi"], ["abcdefghi"], [0]),
    "long": ([LONG, OTHER], [OTHER, LONG], [1, 0]),
    "none": ([None, None], [None, None], [0, 1]),
    "none in results": ([LONG, OTHER], [None, None], [0, 1]),
    "some": ([LONG, OTHER], [LONG, None], [0, 1]),
    "same": ([LONG, LONG], [LONG, LONG], [0, 0]),
}


@pytest.mark.parametrize("case", HISTORIES)
def test_results_keep_their_calls(case):
    ids, results, order = HISTORIES[case]
    text = ChatTemplate(TEMPLATE).render(with_ids(history(ids, results)))
    called, answered = (
        (found := re.findall(r"\b[a-zA-Z0-9]{9}\b", text))[: len(ids)],
        found[len(ids) :],
    )
    assert answered == [called[at] for at in order]


def test_ids():
    assert nine("abcdefghi") == "abcdefghi"
    assert nine(LONG) == nine(LONG) != nine(OTHER)
    assert with_ids(history([LONG], [LONG])) == with_ids(with_ids(history([LONG], [LONG])))


def test_what_is_no_call_stays():
    strange = [{"role": "assistant", "tool_calls": ["x"]}, {"role": "user", "content": "y"}]
    assert with_ids(strange) == strange
    (orphan,) = with_ids([{"role": "tool", "content": "z"}])
    assert len(orphan["tool_call_id"]) == 9

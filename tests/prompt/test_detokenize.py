"""Decoding token by token equals decoding at once, for any ids."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BOUNDED = settings(
    max_examples=200,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def streamed(stream, ids) -> str:
    return "".join(map(stream.push, ids)) + stream.flush()


@BOUNDED
@given(data=st.data())
def test_any_ids(tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, tokenizer.size), max_size=24))
    assert streamed(tokenizer.stream(), ids) == tokenizer.decode(ids, skip_special=True)


@BOUNDED
@given(text=st.text(max_size=30))
def test_any_text(tokenizer, text):
    ids = tokenizer.encode(text)
    assert streamed(tokenizer.stream(), ids) == tokenizer.decode(ids, skip_special=True)


@BOUNDED
@given(data=st.data())
def test_any_ids_with_every_special_token_kept(tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, tokenizer.size - 1), max_size=24))
    assert streamed(tokenizer.stream(tokenizer.added), ids) == tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("keep", "text"),
    [((), "<think>ab</think>"), (("<tool_call>", "unknown"), "<think>a<tool_call>b</think>")],
)
def test_only_kept_special_tokens_show(plain, keep, text):
    ids = plain.encode("<s><|im_start|><think>a<tool_call>b</think><|im_end|>")
    assert streamed(plain.stream(keep), ids) == text


def test_an_incomplete_character_is_withheld(plain):
    ids = plain.encode("\U00010fff", special=False)
    assert len(ids) > 1
    stream = plain.stream()
    assert [stream.push(id) for id in ids] == [""] * (len(ids) - 1) + ["\U00010fff"]
    stream.push(ids[0])
    assert stream.flush() == "\ufffd"


def test_no_token_is_decoded_twice(plain):
    """A long text costs as many looks at the vocabulary as it has tokens."""
    seen = []
    vocabulary, lookup = plain.vocabulary, plain.vocabulary.token
    vocabulary.token = lambda id: seen.append(id) or lookup(id)
    try:
        ids = plain.encode("The quick brown fox. " * 50)
        streamed(plain.stream(), ids)
    finally:
        vocabulary.token = lookup
    assert len(seen) <= len(ids)

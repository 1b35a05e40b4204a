"""Stop strings: found across borders of tokens, removed, and nothing held back longer than needed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistralrs.stream.scan import first, partial
from mistralrs.stream.text import TextStream


class Pieces:
    """A decoder whose vocabulary is a list of texts."""

    def __init__(self, texts, rest=""):
        self.texts, self.rest = texts, rest

    def push(self, id):
        return self.texts[id]

    def flush(self):
        return self.rest


def run(pieces, stops, rest=""):
    """Push all pieces as an engine does; return what each push gave, then the flush."""
    stream = TextStream(Pieces(pieces, rest), stops)
    said = []
    for token in range(len(pieces)):
        said.append(stream.push(token))
        if stream.stopped:
            return said
    return [*said, stream.flush()]


@pytest.mark.parametrize(
    ("pieces", "stops", "said"),
    [
        (["ab", "c"], (), ["ab", "c", ""]),
        (["ab", "c"], ("x",), ["ab", "c", ""]),
        (["abXY", "c"], ("XY",), ["ab"]),
        (["abX", "Yc"], ("XY",), ["ab", ""]),
        (["abX", "Z", "X"], ("XY",), ["ab", "XZ", "", "X"]),
        (["\n", "\n", "\n"], ("\n\n",), ["", ""]),
        (["a", "a", "b"], ("aab",), ["", "", ""]),
        (["a", "a", "a", "b"], ("aab",), ["", "", "a", ""]),
        (["one END two"], ("two", "END"), ["one "]),
        (["abcd"], ("abcd", "c"), ["ab"]),
        (["abc"], ("abc", "c"), [""]),
        (["a", "", "b"], ("ab",), ["", "", ""]),
    ],
)
def test_stop_strings(pieces, stops, said):
    assert run(pieces, stops) == said


def test_the_rest_of_the_decoder_counts():
    assert run(["a"], ("ab",), rest="b") == ["", ""]
    assert run(["a"], ("ax",), rest="\ufffd") == ["", "a\ufffd"]


CUTS = settings(max_examples=300, deadline=None, database=None)


@CUTS
@given(
    pieces=st.lists(st.text("ab", max_size=4), max_size=8),
    stops=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3).map(tuple),
)
def test_the_cut_of_a_text_does_not_matter(pieces, stops):
    whole = "".join(pieces)
    match = first(whole, stops)
    assert "".join(run(pieces, stops)) == (whole[: match[0]] if match else whole)


@CUTS
@given(text=st.text("ab", max_size=8), words=st.lists(st.text("ab", min_size=1, max_size=4)))
def test_partial_is_the_longest_beginning(text, words):
    ends = [text[-length:] for length in range(1, len(text) + 1)]
    begun = [len(end) for end in ends for word in words if word != end and word.startswith(end)]
    assert partial(text, words) == max(begun, default=0)

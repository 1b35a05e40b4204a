"""Constructors that explain unknown arguments."""

import pytest

from mistralrs.api.strict import aliases, did_you_mean, strict


@strict
class Plain:
    def __init__(self, width: int, *, height: int = 1) -> None:
        self.size = (width, height)


@aliases(breadth="width")
@strict
class Renamed:
    def __init__(self, width: int) -> None:
        self.width = width


@pytest.mark.parametrize(
    ("name", "hint"),
    [("hieght", "; did you mean 'height'?"), ("WIDTH", "; did you mean 'width'?"), ("zzz", "")],
)
def test_did_you_mean(name, hint):
    assert did_you_mean(name, ["width", "height"]) == hint


def test_ordinary_classes():
    assert Plain(2, height=3).size == (2, 3)
    with pytest.raises(TypeError, match="Plain has no argument 'hight'; did you mean 'height'?"):
        Plain(2, hight=3)
    with pytest.raises(TypeError, match="no argument 'zzz'; its arguments are: width, height"):
        Plain(2, zzz=3)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'width'"):
        Plain()


def test_aliases():
    assert Renamed(breadth=2).width == Renamed(2).width == 2
    with pytest.raises(TypeError, match="'breadth' is another name of 'width'; give one"):
        Renamed(breadth=2, width=3)

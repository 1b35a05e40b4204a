"""Classes whose members are classes: `Which.Plain(...)` makes a Which."""

from typing import Any


class Family:
    """Base of a class that only serves as the common type and namespace of its members."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        members = ", ".join(member.__qualname__ for member in type(self).__subclasses__())
        raise TypeError(f"{type(self).__qualname__} is made through its members: {members}")


def publish(parent: type[Family]) -> None:
    """Make every subclass an attribute of `parent`, named by the end of its __qualname__."""
    for member in parent.__subclasses__():
        setattr(parent, member.__qualname__.rpartition(".")[2], member)

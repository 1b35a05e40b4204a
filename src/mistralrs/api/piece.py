"""What the engine delivers: one Piece for every step of every continuation of a request."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Finish = Literal["stop", "length", "canceled"]


@dataclass(frozen=True)
class Token:
    """A sampled token; log-probabilities are natural logs of the model's own distribution."""

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()  # (token id, log-probability), most likely first


@dataclass(frozen=True)
class Piece:
    """The tokens that one step added to continuation `index`, and the text that became certain with them."""

    index: int
    tokens: tuple[Token, ...] = ()
    text: str = ""
    finish: Finish | None = None


class Constraint(Protocol):
    """What may follow, by a grammar. The engine drives one per continuation."""

    done: bool  # nothing can follow

    def push(self, token: int) -> None:
        """Take a token that was appended."""
        ...

    def allowed(self) -> "NDArray[np.uint8]":
        """Return one bit per token id, lowest first; called on another thread between two pushes."""
        ...

    def forced(self) -> list[int]:
        """Return the tokens that must follow, empty where there is a choice."""
        ...


class Follower(Protocol):
    """Turns sampled ids into text as they come and watches for stop strings. The engine drives one per continuation."""

    stopped: bool

    def push(self, token: int) -> str:
        """Take one token; return the text that no later token can change or remove."""
        ...

    def flush(self) -> str:
        """Return the text still held back, when the continuation ends for another reason than a stop string."""
        ...

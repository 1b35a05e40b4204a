"""The mutable state of a request inside the engine: a Job and its Sequences, one for each continuation."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mistralrs.api.piece import Constraint, Finish, Follower, Piece
from mistralrs.api.prompt import Prompt
from mistralrs.engine.memory import digest
from mistralrs.engine.penalties import Penalties
from mistralrs.nn.media import runs, views

Deliver = Callable[[Piece | BaseException], None]


@dataclass(eq=False)
class Job:
    """One request: what to continue, where the pieces go, and what it cost."""

    prompt: Prompt
    follow: Callable[[], Follower]
    deliver: Deliver  # called on the engine's thread, must not block
    constrain: Callable[[], Constraint] | None = None  # to a grammar
    canceled: bool = False
    open: int = 0  # continuations that have not finished
    queued_at: float = field(default_factory=time.perf_counter)
    started_at: float = 0.0  # first step that computed a prompt token
    prompt_at: float = 0.0  # prompt computed, first token sampled
    finished_at: float = 0.0
    generated: int = 0
    cached: int = 0  # prompt tokens found in the prefix cache


@dataclass(eq=False)
class Sequence:
    """One continuation of a Job: its tokens and what of them the cache holds."""

    job: Job
    index: int
    context: int  # most tokens it may grow to
    salt: bytes = b""  # what else than the tokens decides cached content
    finish: Finish | None = None
    computed: int = 0  # tokens whose keys and values are in the cache
    pages: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)  # of the full pages so far
    slot: int = 0  # of its recurrent state
    snapshot: bytes | None = None  # of its state, to be replaced by the next one
    branch: int = 0  # tokens that it shares with an earlier sequence
    suspect: int = 0  # tokens it must compute alone, since a step with others failed
    held: list[Tensor] = field(default_factory=list)  # what its latest tokens saw beside the text

    def __post_init__(self) -> None:
        prompt = self.job.prompt
        self.tokens = list(prompt.tokens)
        self.prompt_length = self.basis = len(prompt.tokens)
        media = prompt.media
        spans = runs(prompt.tokens) if any(m.joined for m in media.values()) else ()
        self.joined = [(first, end) for number, first, end in spans if media[number].joined]
        self.views = views(prompt.tokens, media) if media else []
        self.follower = self.job.follow()
        self.constraint = self.job.constrain and self.job.constrain()
        self.mask_seconds = math.inf  # that its last mask took
        self.forced = self.constraint.forced() if self.constraint else []  # tokens that come next
        self.penalties = Penalties.start(prompt.sampling, prompt.tokens)
        room = self.context - self.prompt_length
        self.limit = room if prompt.max_tokens is None else min(room, prompt.max_tokens)

    @property
    def seed(self) -> bytes:
        """What its first page is hashed with: pages computed under different adapters are different."""
        return (self.job.prompt.adapter or "").encode()

    @property
    def pending(self) -> int:
        """Tokens that the cache does not hold yet."""
        return len(self.tokens) - self.computed

    @property
    def generated(self) -> int:
        """Tokens sampled so far."""
        return len(self.tokens) - self.prompt_length

    def next(self, count: int) -> list[int]:
        """The next tokens to compute."""
        return self.tokens[self.computed : self.computed + count]

    def axes(self, at: Tensor) -> Tensor:
        """Positions [3, n] of the tokens `at` [n]; what follows the prompt counts on from its highest."""
        given = self.job.prompt.positions
        if given is None:
            return at.expand(3, -1)
        beyond = at[at >= self.prompt_length] - self.prompt_length + 1 + given.max()
        return torch.cat((given[:, at[at < self.prompt_length]], beyond.expand(3, -1)), 1)

    def whole(self, end: int) -> int:
        """`end`, or the nearest place where no run of joined rows is cut: before it, or after it if it starts now."""
        for first, last in self.joined:
            if first < end < last:
                return first if first > self.computed else last
        return end

    def append(self, token: int) -> None:
        """Add a token. One that ends the continuation means nothing to a grammar."""
        self.tokens.append(token)
        if self.constraint is not None and token not in self.job.prompt.stop_ids:
            self.constraint.push(token)
            self.forced = self.forced[1:] or self.constraint.forced()
        if self.penalties is not None:
            self.penalties.history.add(token)

    def restart(self, salt: bytes) -> None:
        """Let the present length decide about rope scaling; nothing that was cached may be used any more."""
        self.basis, self.salt = len(self.tokens), salt
        self.digests, self.snapshot = [], None

    def ended_by(self, token: int) -> Finish | None:
        """Why the continuation ends with this token, if it does."""
        complete = self.constraint is not None and self.constraint.done
        if token in self.job.prompt.stop_ids or self.follower.stopped or complete:
            return "stop"
        return "length" if self.generated >= self.limit else None

    def chain(self, size: int, upto: int) -> list[bytes]:
        """Digests of the full pages of `size` tokens among the first `upto` tokens."""
        while (len(self.digests) + 1) * size <= upto:
            start = len(self.digests) * size
            parent = self.digests[-1] if self.digests else self.seed
            self.digests.append(digest(parent, self.tokens[start : start + size], self.salt))
        return self.digests[: upto // size]

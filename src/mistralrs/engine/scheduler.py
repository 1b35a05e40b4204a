"""Which sequences run in the next step, and how many tokens of each."""

from collections import deque
from typing import NamedTuple

from mistralrs.engine.memory import Pages
from mistralrs.engine.sequence import Sequence


class Turn(NamedTuple):
    """`count` tokens of a sequence in one step."""

    sequence: Sequence
    count: int


class Scheduler:
    """First come, first served. Every running sequence that only needs its next token gets it in every step; prompts
    fill what is left of the step's budget in chunks. When pages run out the youngest sequence goes back to the queue.
    """

    def __init__(self, pages: Pages, max_running: int, budget: int):
        self.pages, self.max_running, self.budget = pages, max_running, budget
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    def __len__(self) -> int:
        return len(self.waiting) + len(self.running)

    def plan(self) -> list[Turn]:
        """The next step. Every turn has the pages it needs; empty only when nothing is left to do."""
        turns: list[Turn] = []
        left = self.budget
        for sequence in sorted(self.running, key=lambda s: s.pending > 1):  # next tokens first
            left -= self.give(turns, sequence, left)
        while left > 0 and self.admit():
            left -= self.give(turns, self.running[-1], left)
        return [t for t in turns if t.sequence in self.running]

    def give(self, turns: list[Turn], sequence: Sequence, left: int) -> int:
        """Add a turn of at most `left` tokens, or of the one token that a finished prompt waits for."""
        count = 1 if sequence.pending == 1 else min(sequence.pending, max(left, 0))
        if not count or sequence not in self.running or not self.reserve(sequence, count):
            return 0
        turns.append(Turn(sequence, count))
        return count

    def admit(self) -> bool:
        """Start the oldest waiting sequence if a place and the pages for all its tokens are free."""
        if not self.waiting or len(self.running) >= self.max_running:
            return False
        sequence = self.waiting[0]
        self.reuse(sequence)
        missing = self.pages.need(len(sequence.tokens) + 1) - len(sequence.pages)
        if missing > self.pages.free or not self.extend(sequence, len(sequence.tokens)):
            self.drop(sequence)
            return False
        self.running.append(self.waiting.popleft())
        return True

    def reuse(self, sequence: Sequence) -> None:
        """Give a new sequence the cached pages of its beginning; at least one token stays to be computed."""
        if self.pages.reuse:
            sequence.pages = self.pages.match(
                sequence.chain(self.pages.size, len(sequence.tokens) - 1)
            )
            sequence.computed = len(sequence.pages) * self.pages.size

    def reserve(self, sequence: Sequence, count: int) -> bool:
        """Get the pages for `count` more tokens, from younger sequences if need be; False when it lost its own."""
        while not self.extend(sequence, sequence.computed + count):
            youngest = self.running[-1]
            self.preempt(youngest)
            if youngest is sequence:
                return False
        return True

    def extend(self, sequence: Sequence, tokens: int) -> bool:
        """Hold pages for the first `tokens` tokens of a sequence."""
        fresh = self.pages.take(max(self.pages.need(tokens) - len(sequence.pages), 0))
        if fresh is None:
            return False
        sequence.pages += fresh
        return True

    def preempt(self, sequence: Sequence) -> None:
        """Send a running sequence back to the head of the queue; its tokens are computed again later."""
        self.running.remove(sequence)
        self.drop(sequence)
        self.waiting.appendleft(sequence)

    def drop(self, sequence: Sequence) -> None:
        """Let go of everything a sequence holds in the cache."""
        self.pages.release(sequence.pages)
        sequence.pages, sequence.computed = [], 0

    def advance(self, turn: Turn) -> None:
        """Record that a turn was computed and make its full pages findable."""
        sequence, size = turn.sequence, self.pages.size
        first = sequence.computed // size
        sequence.computed += turn.count
        if self.pages.reuse:
            chain = sequence.chain(size, sequence.computed)
            for i in range(first, len(chain)):
                self.pages.publish(sequence.pages[i], chain[i])

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, running or waiting."""
        if sequence in self.running:
            self.running.remove(sequence)
            self.drop(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

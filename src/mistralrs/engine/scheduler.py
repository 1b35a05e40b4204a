"""Which sequences run in the next step, and how many tokens of each."""

from collections import deque
from typing import NamedTuple

from mistralrs.engine.memory import Pages, Slots
from mistralrs.engine.sequence import Sequence


class Turn(NamedTuple):
    """So many tokens of a sequence in one step."""

    sequence: Sequence
    tokens: int


class Scheduler:
    """First come, first served. Every running sequence that only needs its next token gets it in every step; prompts
    fill what is left of the step's budget in chunks. When pages run out the youngest sequence goes back to the queue.
    """

    def __init__(self, pages: Pages, max_running: int, budget: int, slots: Slots | None = None):
        self.pages, self.max_running, self.budget, self.slots = pages, max_running, budget, slots
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
        turns = [t for t in turns if t.sequence in self.running]
        alone = [t for t in turns if t.sequence.computed < t.sequence.suspect]
        return alone[:1] or turns

    def give(self, turns: list[Turn], sequence: Sequence, left: int) -> int:
        """Add a turn of at most `left` tokens, or of the one token that a finished prompt waits for."""
        count = 1 if sequence.pending == 1 else self.chunk(sequence, left)
        if not count or sequence not in self.running or not self.reserve(sequence, count):
            return 0
        turns.append(Turn(sequence, count))
        return count

    def chunk(self, sequence: Sequence, left: int) -> int:
        """Tokens of a prompt to compute next. With recurrent layers chunks end with pages, where snapshots can be
        taken: at the last whole page before the prompt's end at the latest, and where another prompt branched off.
        """
        count, size = min(sequence.pending, max(left, 0)), self.pages.size
        if count:
            count = sequence.whole(sequence.computed + count) - sequence.computed
        if self.slots is None:
            return count
        end = min(sequence.computed + count, (len(sequence.tokens) - 1) // size * size)
        if sequence.computed < sequence.branch:
            end = min(end, sequence.branch)
        aligned = end // size * size - sequence.computed
        return aligned if aligned > 0 else count

    def admit(self) -> bool:
        """Start the oldest waiting sequence if a place and the pages for all its tokens are free."""
        if not self.waiting or len(self.running) >= self.max_running:
            return False
        sequence = self.waiting[0]
        self.reuse(sequence)
        wanted = self.pages.need(len(sequence.tokens) + 1)  # its next token should not preempt it
        missing = min(wanted, self.pages.count) - len(sequence.pages)
        if missing > self.pages.free or not self.extend(sequence, len(sequence.tokens)):
            self.drop(sequence)
            return False
        self.start(self.waiting.popleft())
        return True

    def start(self, sequence: Sequence) -> None:
        """Run a sequence that has its pages."""
        self.running.append(sequence)
        if self.slots is not None:
            sequence.slot = self.slots.take()
            self.restore(sequence, self.slots)

    def restore(self, sequence: Sequence, slots: Slots) -> None:
        """Put the state that belongs to the cached pages into the sequence's slot; without pages it is zero."""
        if sequence.computed:
            slots.restore(self.digest(sequence), sequence.slot)

    def digest(self, sequence: Sequence) -> bytes:
        """The identity of what a sequence has computed, at the end of a page."""
        return sequence.digests[sequence.computed // self.pages.size - 1]

    def reuse(self, sequence: Sequence) -> None:
        """Give a new sequence the cached pages of its beginning; at least one token stays to be computed."""
        if self.pages.reuse:
            chain = sequence.chain(self.pages.size, len(sequence.tokens) - 1)
            pages = self.pages.match(chain)
            keep = len(pages) if self.slots is None else self.slots.covered(chain[: len(pages)])
            sequence.branch = len(pages) * self.pages.size
            self.pages.release(pages[keep:])
            sequence.pages = pages[:keep]
            sequence.computed = keep * self.pages.size

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
        self.stop(sequence)
        self.waiting.appendleft(sequence)

    def stop(self, sequence: Sequence) -> None:
        """Take a sequence out of those that run."""
        self.running.remove(sequence)
        self.drop(sequence)
        if self.slots is not None:
            self.slots.release(sequence.slot)

    def drop(self, sequence: Sequence) -> None:
        """Let go of a sequence's pages."""
        self.pages.release(sequence.pages)
        sequence.pages, sequence.computed = [], 0

    def advance(self, turn: Turn) -> None:
        """Record that a turn was computed and make its full pages findable."""
        sequence, size = turn.sequence, self.pages.size
        first = sequence.computed // size
        sequence.computed += turn.tokens
        if sequence.computed >= sequence.suspect:
            sequence.suspect = 0
        if self.pages.reuse:
            chain = sequence.chain(size, sequence.computed)
            for i in range(first, len(chain)):
                self.pages.publish(sequence.pages[i], chain[i])
            if self.slots is not None and sequence.computed % size == 0:
                self.snap(sequence, self.slots)

    def snap(self, sequence: Sequence, slots: Slots) -> None:
        """Keep the state at the end of a page: for good at a branch and at the end of the prompt, elsewhere until the
        next one, so that a long text leaves only its latest.
        """
        digest, done, size = self.digest(sequence), sequence.computed, self.pages.size
        added = slots.save(digest, sequence.slot)
        if sequence.snapshot is not None and sequence.snapshot != digest:
            slots.forget(sequence.snapshot)
        lasting = done in (sequence.branch, (sequence.prompt_length - 1) // size * size)
        sequence.snapshot = digest if added and not lasting else None

    def isolate(self, turns: list[Turn]) -> None:
        """After a step that failed: each of its sequences computes these tokens again, alone. Keys and values are
        simply written again, but a recurrent state may have moved on, so it starts from its last snapshot.
        """
        for sequence, count in turns:
            sequence.suspect = max(sequence.suspect, sequence.computed + count)
            if self.slots is not None and sequence in self.running:
                self.drop(sequence)
                self.reuse(sequence)
                self.restore(sequence, self.slots)

    def clear(self) -> None:
        """Forget all cached content that nobody uses, for example after the weights changed."""
        self.pages.clear()
        if self.slots is not None:
            self.slots.clear()

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, running or waiting."""
        if sequence in self.running:
            self.stop(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

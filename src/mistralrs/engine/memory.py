"""Cache pages and state slots: who holds them, which can be found again by their content, which are free."""

from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b


class Pages:
    """A pool of cache pages with reference counts. A full page is known by its digest, a hash chain over all tokens
    up to its end, so that a later prompt with the same beginning reuses it; unused pages keep their content until
    they are needed, least recently used first.
    """

    def __init__(self, count: int, size: int, reuse: bool = True):
        self.count, self.size, self.reuse = count, size, reuse
        self.holders = [0] * count
        self.digests: list[bytes | None] = [None] * count
        self.known: dict[bytes, int] = {}
        self.blank = list(reversed(range(count)))  # free, content worthless
        self.idle: OrderedDict[int, None] = OrderedDict()  # free, content findable, oldest first

    @property
    def free(self) -> int:
        """Pages that nobody holds."""
        return len(self.blank) + len(self.idle)

    def need(self, tokens: int) -> int:
        """How many pages hold that many tokens."""
        return -(-tokens // self.size)

    def take(self, count: int) -> list[int] | None:
        """Hold `count` pages of undefined content; None when fewer are free."""
        if count > self.free:
            return None
        pages = [self.blank.pop() if self.blank else self.evict() for _ in range(count)]
        for page in pages:
            self.holders[page] = 1
        return pages

    def evict(self) -> int:
        """Forget the least recently used findable page."""
        page, _ = self.idle.popitem(last=False)
        self.forget(page)
        return page

    def forget(self, page: int) -> None:
        """Make a page impossible to find."""
        digest, self.digests[page] = self.digests[page], None
        if digest is not None:
            del self.known[digest]

    def match(self, digests: Iterable[bytes]) -> list[int]:
        """Hold and return the pages of the longest known beginning of a digest chain."""
        pages = []
        for digest in digests:
            page = self.known.get(digest)
            if page is None:
                break
            self.idle.pop(page, None)
            self.holders[page] += 1
            pages.append(page)
        return pages

    def publish(self, page: int, digest: bytes) -> None:
        """Make a full page findable, unless an equal one is already."""
        if self.reuse and digest not in self.known and self.digests[page] is None:
            self.known[digest] = page
            self.digests[page] = digest

    def release(self, pages: Sequence[int]) -> None:
        """Let go of pages; the end of a chain becomes evictable before its beginning."""
        for page in reversed(pages):
            self.holders[page] -= 1
            assert self.holders[page] >= 0, "page released twice"
            if self.holders[page] == 0:
                if self.digests[page] is None:
                    self.blank.append(page)
                else:
                    self.idle[page] = None

    def clear(self) -> None:
        """Forget all content, for example after the weights changed."""
        for page in range(self.count):
            self.forget(page)
        self.blank.extend(reversed(self.idle))
        self.idle.clear()


class Slots:
    """The recurrent states of running sequences, and snapshots of states at ends of pages: what `Pages` is for
    layers that remember everything, this is for layers that remember a summary.
    """

    def __init__(self, count: int, snapshots: int, copy: Callable[[int, int], None]):
        self.copy = copy  # (from slot, to slot)
        self.free = list(reversed(range(count)))
        self.spare = list(range(count, count + snapshots))
        self.saved: OrderedDict[bytes, int] = OrderedDict()  # least recently used first

    def take(self) -> int:
        """Hold a slot of undefined content; there are as many as sequences may run."""
        return self.free.pop()

    def release(self, slot: int) -> None:
        """Let go of a slot."""
        self.free.append(slot)

    def covered(self, digests: Sequence[bytes]) -> int:
        """How many pages from the beginning of a chain end in a snapshot."""
        return next((n for n in range(len(digests), 0, -1) if digests[n - 1] in self.saved), 0)

    def save(self, digest: bytes, slot: int) -> bool:
        """Keep the state in a slot as that of a chain; False when it is kept already or there is no room."""
        if digest in self.saved:
            self.saved.move_to_end(digest)
            return False
        if not self.spare and self.saved:
            self.spare.append(self.saved.popitem(last=False)[1])
        if not self.spare:
            return False
        self.saved[digest] = self.spare.pop()
        self.copy(slot, self.saved[digest])
        return True

    def forget(self, digest: bytes) -> None:
        """Let go of a snapshot, if it is still there."""
        if digest in self.saved:
            self.spare.append(self.saved.pop(digest))

    def clear(self) -> None:
        """Forget all snapshots, for example after the weights changed."""
        self.spare += self.saved.values()
        self.saved.clear()

    def restore(self, digest: bytes, slot: int) -> None:
        """Put a snapshot into a slot."""
        self.saved.move_to_end(digest)
        self.copy(self.saved[digest], slot)


def digest(parent: bytes, tokens: Sequence[int], salt: bytes = b"") -> bytes:
    """The identity of a page: 128 bits over the chain so far, its tokens, and whatever else decides its content."""
    return blake2b(parent + array("q", tokens).tobytes() + salt, digest_size=16).digest()

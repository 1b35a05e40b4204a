"""What a loaded model is made of: `Runner.explain()`."""

from dataclasses import dataclass

from mistralrs.api.strict import strict


@dataclass(frozen=True)
class Matrices:
    """The matrices of one place in a model that share a format."""

    place: str  # such as "self_attn.q_proj"
    count: int
    format: str  # such as "Q4_K" or "bfloat16"
    kernel: str  # what computes with them
    bits: float  # per weight, scales included
    bytes: int
    read: int  # bytes that one token reads: of experts and tables only what it needs


@strict
@dataclass(frozen=True)
class Explanation:
    """A loaded model, its memory, and how fast memory lets it write; print it for a table."""

    model: str
    device: str
    instructions: str  # the chosen instruction set, or "reference"
    threads: int
    activations: str  # dtype
    matrices: tuple[Matrices, ...]
    cache_dtype: str
    cache_tokens: int
    cache_bytes: int
    page_tokens: int
    token_bytes: int  # of cache for one token
    bandwidth: float | None = None  # bytes per second that memory gives, as measured by the caller
    speed: float | None = None  # tokens per second of one request, as measured by the caller

    @property
    def bytes(self) -> int:
        """All matrices."""
        return sum(m.bytes for m in self.matrices)

    @property
    def read(self) -> int:
        """Bytes of matrices that one token of one request reads."""
        return sum(m.read for m in self.matrices)

    @property
    def roof(self) -> float | None:
        """Tokens per second of one request if nothing but reading its matrices took time."""
        return None if self.bandwidth is None else self.bandwidth / max(1, self.read)

    @property
    def share(self) -> float | None:
        """The measured speed as a share of the roof."""
        return None if self.speed is None or self.roof is None else self.speed / self.roof

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [
            ("matrices", "count", "format", "kernel", "bits", "size", "per token")
        ]
        rows += [
            (
                m.place,
                str(m.count),
                m.format,
                m.kernel,
                f"{m.bits:.2f}",
                size(m.bytes),
                size(m.read),
            )
            for m in self.matrices
        ]
        rows.append(("together", "", "", "", "", size(self.bytes), size(self.read)))
        return "\n".join([self.head(), *table(rows), *self.foot()])

    def head(self) -> str:
        """The model and what runs it."""
        return (
            f"{self.model} on {self.device}: {self.instructions}, {self.threads} threads, "
            f"activations {self.activations}"
        )

    def foot(self) -> list[str]:
        """The cache, and the roof where the bandwidth is known."""
        lines = [
            f"cache: {self.cache_tokens} tokens in pages of {self.page_tokens}, {self.cache_dtype}, "
            f"{size(self.token_bytes)} each, {size(self.cache_bytes)}"
        ]
        if self.roof is not None:
            line = f"memory gives {size(self.bandwidth or 0)}/s: at most {self.roof:.0f} tokens/s"
            lines.append(line + (f", {self.share:.0%} reached" if self.share is not None else ""))
        return lines


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Lines of aligned columns: text to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cells(row, widths)).rstrip() for row in rows]


def cells(row: tuple[str, ...], widths: list[int]) -> list[str]:
    """One line; columns 1 and from 4 on hold numbers."""
    return [
        text.rjust(width) if i == 1 or i > 3 else text.ljust(width)
        for i, (text, width) in enumerate(zip(row, widths, strict=True))
    ]


def size(count: float) -> str:
    """Bytes for people, in powers of ten as bandwidths are given."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"

"""Attention over a paged cache, for any mix of prefill and decode."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from mistralrs.kernels import native


class Ragged(Protocol):
    """What attention reads of a batch; all int32 on the host."""

    @property
    def starts(self) -> Tensor: ...  # [B + 1] row where each sequence begins
    @property
    def lengths(
        self,
    ) -> Tensor: ...  # [B] tokens of each sequence in the cache, those of this batch included
    @property
    def pages(self) -> Tensor: ...  # [B, P] cache pages of each sequence


def attention(
    q: Tensor,
    k_pages: Tensor,
    v_pages: Tensor,
    batch: Ragged,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    causal: bool = True,
) -> Tensor:
    """q [T, H, Dk], k_pages [P, KV, page, Dk], v_pages [P, KV, page, Dv] -> [T, H, Dv].

    A query sees the keys up to its own position, with a `window` the last `window` of them. One that is not
    `causal` also sees the keys after it that this batch holds, with a `window` those nearer than it. Scores
    are multiplied by `scale`, then bent by softcap * tanh(score / softcap); `sinks` [H] are scores
    without a value, as gpt-oss has them.
    """
    return native.first(
        ATTENTION, q, k_pages, v_pages, batch, scale, window, softcap, sinks, causal
    )


def write(k: Tensor, v: Tensor | None, k_pages: Tensor, v_pages: Tensor, batch: Ragged) -> None:
    """Store the rows k [T, KV, Dk], v [T, KV, Dv] of this batch in their pages.

    v is None where v_pages is a view of k_pages.
    """
    for backend in WRITE:
        if backend(k, v, k_pages, v_pages, batch):
            return


def spans(batch: Ragged) -> Iterator[tuple[int, int, int, int]]:
    """(sequence, first row, row after the last, position of the first row) of each sequence."""
    starts = batch.starts.tolist()
    for b, length in enumerate(batch.lengths.tolist()):
        yield b, starts[b], starts[b + 1], length - (starts[b + 1] - starts[b])


def history(pages: Tensor, numbers: Tensor, first: int, end: int) -> Tensor:
    """Tokens [first, end) of one sequence: [KV, end - first, D]."""
    size = pages.shape[2]
    held = pages[numbers[first // size : (end + size - 1) // size].to(pages.device)]
    return held.transpose(0, 1).flatten(1, 2)[:, first % size :][:, : end - first]


def attention_reference(
    q: Tensor,
    k_pages: Tensor,
    v_pages: Tensor,
    batch: Ragged,
    scale: float,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
    causal: bool,
) -> Tensor:
    """In torch, a sequence at a time; the softmax in float32."""
    out = q.new_empty(*q.shape[:2], v_pages.shape[-1])
    groups = k_pages.shape[1]
    for b, start, end, position in spans(batch):
        if start == end:
            continue
        last = position + end - start
        first = max(0, position - window + 1) if window else 0
        k = history(k_pages, batch.pages[b], first, last).to(q.dtype)
        v = history(v_pages, batch.pages[b], first, last).to(q.dtype)
        rows = q[start:end].unflatten(1, (groups, -1)).permute(1, 2, 0, 3)  # [KV, H / KV, n, Dk]
        scores = (rows @ k[:, None].transpose(-1, -2)).float() * scale
        if softcap:
            scores = torch.tanh(scores / softcap) * softcap
        behind = torch.arange(position, last, device=q.device)[:, None] - torch.arange(
            first, last, device=q.device
        )
        weights = soften(scores.masked_fill(hidden(behind, window, causal), float("-inf")), sinks)
        out[start:end] = (weights.to(q.dtype) @ v[:, None]).permute(2, 0, 1, 3).flatten(1, 2)
    return out


def hidden(behind: Tensor, window: int | None, causal: bool) -> Tensor:
    """Whether a query does not see a key that is `behind` it by so many positions."""
    ahead = behind < 0 if causal else torch.zeros_like(behind, dtype=torch.bool)
    return ahead if window is None else ahead | (behind.abs() >= window)


def soften(scores: Tensor, sinks: Tensor | None) -> Tensor:
    """Softmax of scores [KV, G, n, S] with one more score for each head, whose weight is dropped."""
    if sinks is None:
        return scores.softmax(-1)
    extra = sinks.float().view(*scores.shape[:2], 1, 1).expand(*scores.shape[:3], 1)
    return torch.cat((scores, extra), -1).softmax(-1)[..., :-1]


def write_reference(
    k: Tensor, v: Tensor | None, k_pages: Tensor, v_pages: Tensor, batch: Ragged
) -> bool:
    """In torch: one indexed store."""
    size = k_pages.shape[2]
    numbers, places = [], []
    for b, start, end, position in spans(batch):
        at = torch.arange(position, position + end - start)
        numbers.append(batch.pages[b][at // size])
        places.append(at % size)
    page = torch.cat(numbers).long().to(k_pages.device)
    place = torch.cat(places).to(k_pages.device)
    k_pages[page, :, place] = k.to(k_pages.dtype)
    if v is not None:
        v_pages[page, :, place] = v.to(v_pages.dtype)
    return True


def attention_cpu(
    q: Tensor,
    k_pages: Tensor,
    v_pages: Tensor,
    batch: Ragged,
    scale: float,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
    causal: bool,
) -> Tensor | None:
    """Compiled."""
    if (
        not native.ready(q)
        or k_pages.dtype not in native.TYPES
        or v_pages.dtype not in native.TYPES
    ):
        return None
    q = q.contiguous()
    if sinks is not None:
        sinks = sinks.to(torch.float32).contiguous()
    out = torch.empty(q.shape[0], q.shape[1], v_pages.shape[3])
    native.ops.attention(
        q.data_ptr(), out.data_ptr(), side(k_pages), side(v_pages), index(batch, k_pages.shape[2]),
        native.address(sinks), q.shape[1], k_pages.shape[1], window or 0, scale, softcap or 0.0, causal,
    )  # fmt: skip
    return out


def write_cpu(k: Tensor, v: Tensor | None, k_pages: Tensor, v_pages: Tensor, batch: Ragged) -> bool:
    """Compiled; False where it declines."""
    if (
        not native.ready(k)
        or k_pages.dtype not in native.TYPES
        or v_pages.dtype not in native.TYPES
    ):
        return False
    k = k if k.stride(2) == 1 else k.contiguous()
    v = v if v is None or v.stride(2) == 1 else v.contiguous()
    native.ops.write(
        k.data_ptr(), native.address(v), side(k_pages), side(v_pages), index(batch, k_pages.shape[2]),
        k.shape[1], k.stride(0), k.stride(1), *(v.stride()[:2] if v is not None else (0, 0)),
    )  # fmt: skip
    return True


def side(pages: Tensor) -> tuple[int, int, int, int, int, int]:
    """The keys or the values of a cache, as cpu/ops.cpp takes them; features must be dense."""
    page, head, token, feature = pages.stride()
    assert feature == 1
    return pages.data_ptr(), native.TYPES[pages.dtype], page, head, token, pages.shape[3]


def index(batch: Ragged, page: int) -> tuple[int, int, int, int, int, int]:
    """The ragged indices of a batch and the tokens of a page, as cpu/ops.cpp takes them."""
    table = batch.pages
    return (
        batch.starts.data_ptr(), batch.lengths.data_ptr(), table.data_ptr(),
        batch.lengths.shape[0], table.stride(0), page,
    )  # fmt: skip


ATTENTION = (attention_cpu, attention_reference)
WRITE = (write_cpu, write_reference)

"""Linear recurrences with a matrix as state: Mamba 2 and the gated delta rule."""

from collections.abc import Iterator

import torch
from torch import Tensor

from mistralrs.kernels import native
from mistralrs.kernels.slots import Slotted, index, read, write


def recurrence(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    beta: Tensor | None,
    states: Tensor,
    batch: Slotted,
) -> Tensor:
    """q, k [T, G, K], v [T, H, V], decay, beta [T, H] -> [T, H, V]; states [slots, H, K, V] move on.

    S <- decay S + k u^T and out = S^T q in float32, token by token, where u is v itself (Mamba 2, arXiv
    2405.21060) or, with `beta`, what S did not know of it: beta (v - S^T k) after the decay (the gated delta
    rule, arXiv 2412.06464). A pair of q and k serves H / G heads side by side.
    """
    return native.first(RECURRENCE, q, k, v, decay, beta, states, batch)


def recurrence_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    beta: Tensor | None,
    states: Tensor,
    batch: Slotted,
) -> Tensor:
    """In torch, all sequences a token at a time."""
    each = v.shape[1] // k.shape[1]
    q, k = (x.float().repeat_interleave(each, 1)[..., None] for x in (q, k))
    decay, out = decay.float()[..., None, None], torch.empty_like(v, dtype=torch.float32)
    order, waves = march(batch, v.device)
    state = read(states, batch)[order]
    for rows in waves:
        now = state[: len(rows)].mul_(decay[rows])
        value = v[rows].float()
        if beta is not None:
            value = (value - (now * k[rows]).sum(-2)) * beta[rows, :, None].float()
        now += k[rows] * value[..., None, :]
        out[rows] = (now * q[rows]).sum(-2)
    write(states, batch, state[order.argsort()])
    return out.to(v.dtype)


def march(batch: Slotted, device: torch.device) -> tuple[Tensor, Iterator[Tensor]]:
    """All sequences advance together: their order, longest first, and the rows of the first, second ... token.

    A wave has one row of each sequence that is long enough, in that order.
    """
    starts = batch.starts.long()
    counts = starts[1:] - starts[:-1]
    order = counts.argsort(descending=True, stable=True)
    first, counts = starts[order].to(device), counts[order]
    sizes = ((counts > step).sum() for step in range(int(counts[0])))
    return order.to(device), (first[:size] + step for step, size in enumerate(sizes))


def recurrence_cpu(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    beta: Tensor | None,
    states: Tensor,
    batch: Slotted,
) -> Tensor | None:
    """Compiled: the loop over tokens inside, states in place."""
    if not all(native.ready(x) for x in (q, k, v, states)) or not states.is_contiguous():
        return None
    out, decay = torch.empty(v.shape), decay.float().contiguous()
    beta = None if beta is None else beta.float().contiguous()
    q, k, v = (x if x.stride(2) == 1 else x.contiguous() for x in (q, k, v))
    native.ops.recurrence(
        *(place(x) for x in (q, k, v)), decay.data_ptr(), native.address(beta), out.data_ptr(),
        states.data_ptr(), index(batch), v.shape[1], k.shape[1], *states.shape[2:],
    )  # fmt: skip
    return out


def place(x: Tensor) -> tuple[int, int, int]:
    """x [T, H, D] with dense features, as cpu/ops.cpp takes it."""
    return x.data_ptr(), x.stride(0), x.stride(1)


RECURRENCE = (recurrence_cpu, recurrence_reference)

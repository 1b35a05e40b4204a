"""Matrix times vectors with short codes: a code is an integer or a small float, and groups of inputs share a scale.

Codes are read as they lie in files, lowest bits first. The compiled kernels decode a block at a time and multiply in
the order of `linear`, so a product is bit for bit that of the decoded float32 matrix.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mistralrs.kernels import native
from mistralrs.kernels.gather import gather as gather_floats
from mistralrs.kernels.linear import linear

NUMBERS = {  # enum Numbers of cpu/table.h, and the widths of a code that it comes in
    "shifted": (0, (2, 3, 4, 6, 8)),  # scale * code + zero
    "centered": (1, (4, 8)),  # (code - zero) * scale
    "integers": (2, (8,)),  # scale * code, a signed byte
    "e2m1": (3, (4,)),  # scale * code, a float of four bits
    "e4m3": (4, (8,)),  # scale * code, a float of eight bits
}
SCALES = {  # enum Scale
    torch.float32: 0, torch.float16: 1, torch.bfloat16: 2, torch.float8_e8m0fnu: 3, torch.float8_e4m3fn: 4,
}  # fmt: skip
MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
E2M1 = torch.tensor([*MAGNITUDES, *(-m for m in MAGNITUDES)])  # by code
STEP = 32  # inputs come in multiples of it


@dataclass(frozen=True)
class Codes:
    """A matrix [N, K] or a stack [E, N, K]; a scale for `band` rows times `group` inputs."""

    numbers: str
    bits: int
    codes: Tensor  # uint8 [..., N, K * bits / 8]
    scales: Tensor  # [..., ceil(N / band), ceil(K / group)]; E4M3 scales count in 448ths
    zeros: Tensor | None = None  # like scales
    group: int = 32
    band: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, K] or [E, N, K]."""
        return (*self.codes.shape[:-1], self.codes.shape[-1] * 8 // self.bits)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return sum(t.nbytes for t in (self.codes, self.scales, self.zeros) if t is not None)

    def of(self, index: int) -> "Codes":
        """One matrix of a stack."""
        zeros = None if self.zeros is None else self.zeros[index]
        return replace(self, codes=self.codes[index], scales=self.scales[index], zeros=zeros)


def pack(values: Tensor, bits: int) -> Tensor:
    """Codes uint8 [..., K] of 2, 3, 4, 6 or 8 bits -> bytes uint8 [..., K * bits / 8]; 8 divides K."""
    if bits == 8:
        return values
    shifts = bits * torch.arange(8, device=values.device)
    words = (values.unflatten(-1, (-1, 8)).long() << shifts).sum(-1, keepdim=True)
    return (words >> 8 * torch.arange(bits, device=values.device) & 255).byte().flatten(-2)


def unpack(packed: Tensor, bits: int) -> Tensor:
    """The codes that `pack` was given."""
    if bits == 8:
        return packed
    places = 8 * torch.arange(bits, device=packed.device)
    words = (packed.unflatten(-1, (-1, bits)).long() << places).sum(-1, keepdim=True)
    shifts = bits * torch.arange(8, device=packed.device)
    return (words >> shifts & (1 << bits) - 1).byte().flatten(-2)


def decode(w: Codes, ids: Tensor | None = None) -> Tensor:
    """A matrix [N, K] as float32, or only its rows `ids` [T]."""
    return native.first(DECODE, w, ids)


def decode_reference(w: Codes, ids: Tensor | None) -> Tensor:
    """In torch."""
    rows = torch.arange(w.shape[-2], device=w.codes.device) if ids is None else ids
    codes = unpack(w.codes[rows], w.bits)
    scale, zero = (t if t is None else spread(t, w, rows) for t in (w.scales, w.zeros))
    assert scale is not None
    if zero is not None:
        q = codes.float()
        return q.mul_(scale).add_(zero) if w.numbers == "shifted" else q.sub_(zero).mul_(scale)
    if w.numbers == "e2m1":
        # Half the scale of doubled numbers: the largest scale is then finite, as in ggml.
        return (2 * E2M1.to(codes.device))[codes.int()].mul_(scale)
    dtype = torch.int8 if w.numbers == "integers" else torch.float8_e4m3fn
    return codes.view(dtype).float().mul_(scale)


def spread(scales: Tensor, w: Codes, rows: Tensor) -> Tensor:
    """Scales or zeros of some rows as float32 [T, K]."""
    chosen = scales[rows // w.band]
    if scales.dtype is torch.float8_e8m0fnu:
        power = chosen.view(torch.uint8).int()
        bits = torch.where(power < 2, 0x00200000 << power.clamp(max=1), (power - 1) << 23)
        numbers = bits.where(power < 255, 0x7FC00000).int().view(torch.float32)
    elif scales.dtype is torch.float8_e4m3fn:
        numbers = chosen.float() / 448
    else:
        numbers = chosen.float()
    return numbers.repeat_interleave(w.group, -1)[:, : w.shape[-1]]


def decode_cpu(w: Codes, ids: Tensor | None) -> Tensor | None:
    """Compiled."""
    if not ready(w):
        return None
    rows, inner = w.shape
    if ids is not None:
        ids = ids.long().contiguous()
        assert ids.numel() == 0 or (int(ids.min()) >= 0 and int(ids.max()) < rows)
    out = torch.empty(rows if ids is None else len(ids), inner)
    native.ops.decode(address(w), native.address(ids), out.data_ptr(), len(out), inner)
    return out


def coded(x: Tensor, w: Codes, bias: Tensor | None = None) -> Tensor:
    """x [T, K], bias [N] -> x w^T + bias [T, N] in x's dtype."""
    return native.first(CODED, x, w, bias)


def coded_reference(x: Tensor, w: Codes, bias: Tensor | None) -> Tensor:
    """As `linear` does it, from the decoded matrix."""
    return linear(x, decode_reference(w, None).to(x.dtype), bias)


def coded_cpu(x: Tensor, w: Codes, bias: Tensor | None) -> Tensor | None:
    """Compiled."""
    if not (native.ready(x) and ready(w)):
        return None
    x, bias = x.contiguous(), None if bias is None else bias.float().contiguous()
    (cols, inner), y = w.shape, torch.empty(len(x), w.shape[-2])
    native.ops.coded(
        x.data_ptr(), address(w), native.address(bias), 0, y.data_ptr(), 0, 0, len(x), cols, inner
    )
    return y


def gather(x: Tensor, w: Codes, ids: Tensor) -> Tensor:
    """x [M, K] -> [M, N] in x's dtype: row m times matrix `ids[m]` of a stack."""
    return native.first(GATHER, x, w, ids)


def gather_reference(x: Tensor, w: Codes, ids: Tensor) -> Tensor:
    """As `gather` does it; only the matrices that are asked for are decoded."""
    used, places = ids.unique(return_inverse=True)
    if not len(used):
        return x.new_empty(0, w.shape[1])
    stack = torch.stack([decode_reference(w.of(i), None) for i in used.tolist()])
    return gather_floats(x, stack.to(x.dtype), places)


def gather_cpu(x: Tensor, w: Codes, ids: Tensor) -> Tensor | None:
    """Compiled: the rows of a matrix together, so that each matrix is read once."""
    if not (native.ready(x) and ready(w)):
        return None
    x, ids = x.contiguous(), ids.long().contiguous()
    rows, (count, cols, inner) = len(x), w.shape
    y, room = torch.empty(rows, cols), torch.empty(rows * (inner + cols))
    places = torch.empty(rows + 2 * count + 1, dtype=torch.int64)
    if not native.ops.coded(
        x.data_ptr(), address(w), 0, ids.data_ptr(), y.data_ptr(), room.data_ptr(),
        places.data_ptr(), rows, cols, inner,
    ):  # fmt: skip
        raise IndexError(f"an id outside of a stack of {count} matrices")
    return y


def ready(w: Codes) -> bool:
    """True where the compiled kernels take the codes."""
    steps = w.shape[-1] % STEP == 0 and (w.group % STEP == 0 or w.group >= w.shape[-1])
    parts = [t for t in (w.codes, w.scales, w.zeros) if t is not None]
    dense = all(t.is_cpu and t.is_contiguous() for t in parts)
    known = w.bits in NUMBERS[w.numbers][1] and w.scales.dtype in SCALES
    return native.ops is not None and steps and dense and known


def address(w: Codes) -> tuple[int, ...]:
    """What `Codes` of ops.cpp lists."""
    stack = w.codes.dim() == 3
    count, step, scales = (
        (len(w.codes), w.codes[0].numel(), w.scales[0].numel()) if stack else (1, 0, 0)
    )
    return (
        w.codes.data_ptr(), w.scales.data_ptr(), native.address(w.zeros), NUMBERS[w.numbers][0],
        SCALES[w.scales.dtype], w.bits, w.group, w.band, count, step, scales,
    )  # fmt: skip


DECODE = (decode_cpu, decode_reference)
CODED = (coded_cpu, coded_reference)
GATHER = (gather_cpu, gather_reference)

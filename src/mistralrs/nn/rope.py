"""Rotary position embedding and the ways checkpoints stretch it over longer contexts.

Every scheme is one function `(dim, spec) -> (inverse frequencies [dim / 2], amplitude)`; the exceptions are `dynamic`
and `longrope`, whose frequencies depend on the length of the sequence.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mistralrs.api.errors import NotSupportedError
from mistralrs.kernels.rope import rope as rotate
from mistralrs.nn.batch import Batch

Spec = Mapping[str, Any]


def inverse(dim: int, theta: float) -> Tensor:
    """The frequencies of the original paper (arXiv 2104.09864): theta^(-2i / dim)."""
    return 1.0 / theta ** (torch.arange(0, dim, 2, dtype=torch.int64).float() / dim)


def default(dim: int, spec: Spec) -> tuple[Tensor, float]:
    """Plain rope."""
    return inverse(dim, spec["rope_theta"]), 1.0


def linear(dim: int, spec: Spec) -> tuple[Tensor, float]:
    """Position interpolation (arXiv 2306.15595): all positions divided by the factor."""
    return inverse(dim, spec["rope_theta"]) / spec["factor"], 1.0


def proportional(dim: int, spec: Spec) -> tuple[Tensor, float]:
    """Gemma 4: the frequencies of whole heads, of which the slow ones stand still."""
    freq = inverse(dim, spec["rope_theta"]) / spec.get("factor", 1.0)
    freq[int(spec["partial_rotary_factor"] * dim // 2) :] = 0
    return freq, 1.0


def llama3(dim: int, spec: Spec) -> tuple[Tensor, float]:
    """Llama 3.1: long wavelengths divided by the factor, short ones kept, a ramp between."""
    freq = inverse(dim, spec["rope_theta"])
    length, low, high = (
        spec[k] for k in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor")
    )
    wave = 2 * math.pi / freq
    ramp = (length / wave - low) / (high - low)
    mixed = (1 - ramp) * freq / spec["factor"] + ramp * freq
    scaled = torch.where(wave > length / low, freq / spec["factor"], freq)
    return torch.where((wave <= length / low) & (wave >= length / high), mixed, scaled), 1.0


def factors(dim: int, spec: Spec) -> tuple[Tensor, float]:
    """A divisor for each frequency, as GGUF files keep Llama 3's scheme."""
    return inverse(dim, spec["rope_theta"]) / torch.tensor(spec["factors"]), 1.0


def yarn(dim: int, spec: Spec) -> tuple[Tensor, float]:
    """YaRN (arXiv 2309.00071): interpolate slow dimensions, keep fast ones, raise the attention's temperature."""
    theta, length = spec["rope_theta"], spec["original_max_position_embeddings"]
    factor = spec.get("factor") or spec["max_position_embeddings"] / length
    turns = [spec.get("beta_fast") or 32, spec.get("beta_slow") or 1]
    low, high = (dim * math.log(length / (t * 2 * math.pi)) / (2 * math.log(theta)) for t in turns)
    if spec.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp = ((torch.arange(dim // 2).float() - low) / (max(high - low, 0.001))).clamp(0, 1)
    freq = inverse(dim, theta)
    return freq / factor * ramp + freq * (1 - ramp), amplitude(spec, factor)


def amplitude(spec: Spec, factor: float) -> float:
    """The factor on cos and sin that YaRN checkpoints ask for."""

    def mscale(m: float) -> float:
        return 0.1 * m * math.log(factor) + 1.0 if factor > 1 else 1.0

    if spec.get("attention_factor") is not None:
        return spec["attention_factor"]
    if spec.get("mscale") and spec.get("mscale_all_dim"):
        return mscale(spec["mscale"]) / mscale(spec["mscale_all_dim"])
    return mscale(1.0)


def longrope(dim: int, spec: Spec, long: bool = False) -> tuple[Tensor, float]:
    """LongRoPE (arXiv 2402.13753): every frequency has its own divisor, for long sequences another than for short."""
    side = "long" if long else "short"
    divisors = torch.tensor(spec[f"{side}_factor"], dtype=torch.float32)
    power = torch.arange(0, dim, 2, dtype=torch.int64).float() / dim
    amplitude = spec.get(f"{side}_mscale") or temperature(spec)
    return 1.0 / (divisors * spec["rope_theta"] ** power), amplitude


def temperature(spec: Spec) -> float:
    """The factor on cos and sin of LongRoPE checkpoints, from how much longer they became."""
    if spec.get("attention_factor") is not None:
        return spec["attention_factor"]
    trained = spec["original_max_position_embeddings"]
    factor = spec.get("factor") or spec["max_position_embeddings"] / trained
    return math.sqrt(1 + math.log(factor) / math.log(trained)) if factor > 1 else 1.0


SCALINGS: dict[str, Callable[[int, Spec], tuple[Tensor, float]]] = {
    "default": default,
    "dynamic": default,
    "factors": factors,
    "linear": linear,
    "llama3": llama3,
    "longrope": longrope,
    "proportional": proportional,
    "yarn": yarn,
}


class Rope(nn.Module):
    """Rotates the first `dim` features of every head; pairs are halves, or neighbours when interleaved."""

    def __init__(self, dim: int, spec: Spec, interleaved: bool = False):
        super().__init__()
        self.dim, self.spec, self.interleaved = dim, dict(spec), interleaved
        self.kind = spec.get("rope_type", "default")
        if self.kind not in SCALINGS:
            raise NotSupportedError(
                f"rope_type '{self.kind}' of config.json is not available; these are: {', '.join(SCALINGS)}"
            )
        self.freq, self.amplitude = SCALINGS[self.kind](dim, spec)
        self.long = longrope(dim, spec, long=True) if self.kind == "longrope" else None
        self.axes = axes(spec, dim // 2)
        parts = tuple(self.freq.tolist()), tuple(self.axes.tolist())
        self.key = ("rope", dim, *parts, self.amplitude, self.kind)
        # A position has the same angles in every sequence.
        self.steady = self.kind not in ("dynamic", "longrope") and not self.axes.any()
        self.known = torch.empty(0, dim // 2), torch.empty(0, dim // 2)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, H, D] -> [T, H, D]."""
        return rotate(x, *self.turns(batch), self.interleaved)

    def turns(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """`angles`, computed once in a step."""
        if self.key not in batch.memo:
            batch.memo[self.key] = self.angles(batch)
        return batch.memo[self.key]

    def angles(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """cos and sin [T, dim / 2] of this step's tokens."""
        if self.steady and batch.positions.dim() == 1:
            cos, sin = self.table(batch)
            return cos[batch.positions], sin[batch.positions]
        freq, amplitude = self.scaled(batch)
        angle = batch.positions[..., None].float() * freq.to(batch.positions.device)
        if angle.dim() == 3:  # [3, T, dim / 2]
            angle = angle[self.axes.to(angle.device), :, torch.arange(angle.shape[2])].T
        return angle.cos() * amplitude, angle.sin() * amplitude

    def table(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """cos and sin [N, dim / 2] of all positions that this step's sequences reach; kept, where they are `steady`."""
        end, size = max(batch.lengths.tolist()), len(self.known[0])
        if end > size:
            at = torch.arange(max(end, 2 * size, 256), device=batch.positions.device)
            angle = at[:, None].float() * self.freq.to(at.device)
            self.known = angle.cos() * self.amplitude, angle.sin() * self.amplitude
        return self.known

    def scaled(self, batch: Batch) -> tuple[Tensor, Tensor | float]:
        """Frequencies [dim / 2] or [T, dim / 2] and amplitude, also [T, 1], of this step's tokens."""
        if self.kind == "dynamic":
            return self.stretched(batch), self.amplitude
        if self.long is not None:
            return self.switched(batch, *self.long)
        return self.freq, self.amplitude

    def switched(self, batch: Batch, freq: Tensor, amplitude: float) -> tuple[Tensor, Tensor]:
        """Of LongRoPE's two sets the one for the sequence's length [T, dim / 2], [T, 1]; all its tokens use the same.

        A sequence that outgrows the short set is computed again: see `salt`.
        """
        long = (prompts(batch) > self.spec["original_max_position_embeddings"])[:, None]
        short = self.freq.to(long.device)
        sizes = torch.tensor([self.amplitude, amplitude], device=long.device)
        return torch.where(long, freq.to(long.device), short), sizes[long.long()]

    def stretched(self, batch: Batch) -> Tensor:
        """Dynamic NTK frequencies [T, dim / 2]: a sequence longer than the trained context raises theta.

        The length is the prompt's, or the token's own position once past it, which is what `generate` of
        transformers computes with; so a cached page stays valid for every sequence with the same prompt length.
        """
        spec, longest = self.spec, self.spec["max_position_embeddings"]
        length = torch.maximum(prompts(batch), batch.positions + 1).clamp(min=longest).double()
        growth = spec["factor"] * length / longest - (spec["factor"] - 1)
        theta = spec["rope_theta"] * growth ** (self.dim / (self.dim - 2))
        power = torch.arange(0, self.dim, 2, dtype=torch.int64).double() / self.dim
        return (1.0 / theta[:, None] ** power.to(theta.device)).float()

    def salt(self, prompt: int, length: int) -> int:
        """What else than the tokens decides the cached keys of a sequence; when it changes they are worth nothing."""
        if self.kind == "dynamic" and prompt > self.spec["max_position_embeddings"]:
            return prompt
        return int(self.long is not None and length > self.spec["original_max_position_embeddings"])


def axes(spec: Spec, pairs: int) -> Tensor:
    """Which of the axes frame, line and column turns each pair [dim / 2]: blocks of `mrope_section`, or in turn."""
    sections = spec.get("mrope_section")
    if not sections:
        return torch.zeros(pairs, dtype=torch.int64)
    if not spec.get("mrope_interleaved"):
        return torch.arange(3).repeat_interleave(torch.tensor(sections))
    found = torch.zeros(pairs, dtype=torch.int64)
    for axis in (1, 2):
        found[axis : sections[axis] * 3 : 3] = axis
    return found


def prompts(batch: Batch) -> Tensor:
    """The length that decides about scaling [T], for every token of the batch."""
    counts = (batch.starts[1:] - batch.starts[:-1]).long()
    return batch.prompts.long().repeat_interleave(counts).to(batch.positions.device)

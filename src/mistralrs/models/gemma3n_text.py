"""Gemma 3n, text only: four streams that predict each other (AltUp), a detour of low rank, words for each layer."""

from functools import partial
from statistics import NormalDist
from typing import Any, cast

import torch
from torch import Tensor, nn

from mistralrs.kernels.glu import glu
from mistralrs.models import gemma4_text
from mistralrs.nn.activation import tanh
from mistralrs.nn.batch import Batch
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Linear, empty
from mistralrs.nn.mlp import GatedMLP
from mistralrs.nn.norm import RMSNorm


class AltUp(nn.Module):
    """Alternating updates: a layer computes one of N streams, the others follow by what it changed (NeurIPS 2023)."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim, self.count, self.active = cfg.hidden_size, cfg.altup_num_inputs, cfg.altup_active_idx
        self.modality_router = Linear(dim, self.count)
        self.router_norm = RMSNorm(dim, cfg.rms_norm_eps)
        self.prediction_coefs = Linear(self.count, self.count**2)
        self.correction_coefs = Linear(self.count, self.count)
        self.correct_output_scale = empty(dim) if cfg.altup_correct_scale else None

    def modalities(self, x: Tensor) -> Tensor:
        """x [T, D] -> [T, N] from -1 to 1."""
        return tanh(self.modality_router(self.router_norm(x) * x.shape[1] ** -1.0).float()).to(x)

    def predict(self, x: Tensor) -> Tensor:
        """Streams before a layer [T, N, D] -> what they may be behind it."""
        share = self.prediction_coefs(self.modalities(x[:, self.active]))
        share = share.unflatten(1, (self.count, self.count))[..., None]  # [T, to, from, 1]
        out = x.clone()
        for stream in range(self.count):  # in this order, however many tokens there are
            out += share[:, :, stream] * x[:, None, stream]
        return out

    def correct(self, predicted: Tensor, computed: Tensor) -> Tensor:
        """Predicted streams [T, N, D] by the computed one [T, D]."""
        gain = self.correction_coefs(self.modalities(computed)) + 1.0
        news = computed - predicted[:, self.active]
        return predicted + gain[..., None] * news[:, None]


class Laurel(nn.Module):
    """x + norm(right(left(x))): a residual path of low rank (arXiv 2411.07501)."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim, rank = cfg.hidden_size, cfg.laurel_rank
        self.linear_left, self.linear_right = Linear(dim, rank), Linear(rank, dim)
        self.post_laurel_norm = RMSNorm(dim, cfg.rms_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """x [T, D] -> [T, D]."""
        return x + self.post_laurel_norm(self.linear_right(self.linear_left(x)))


class SparseMLP(GatedMLP):
    """Of the gates of a token only the largest open: those above a quantile of the normal distribution around them."""

    def __init__(self, dim: int, width: int, act: str, sparsity: float):
        super().__init__(dim, width, act)
        self.reach = NormalDist().inv_cdf(sparsity)

    def forward(self, x: Tensor) -> Tensor:
        """x [T, D] -> [T, D]."""
        gate = self.gate_proj(x)
        gate = gate - gate.mean(-1, keepdim=True)
        spread = (gate * gate).mean(-1, keepdim=True).sqrt()
        gate = (gate - spread * self.reach).clamp(min=0)
        return self.down_proj(glu(gate, self.up_proj(x), self.act))


def feed_forward(cfg: Settings, layer: int) -> GatedMLP:
    """The feed-forward block of a layer; widths and sparsities may be lists."""
    width, sparsity = cfg.intermediate_size, cfg.activation_sparsity_pattern
    if sparsity is None:
        sparsity = [0.95 if i < 10 < cfg.num_hidden_layers else 0.0 for i in range(layer + 1)]
    width = width[layer] if isinstance(width, list) else width
    sparsity = sparsity[layer] if isinstance(sparsity, list) else sparsity
    if not sparsity:
        return GatedMLP(cfg.hidden_size, width, cfg.hidden_activation)
    return SparseMLP(cfg.hidden_size, width, cfg.hidden_activation, sparsity)


class Block(nn.Module):
    """Attention and feed-forward on the active stream, between AltUp's prediction and its correction."""

    def __init__(self, cfg: Settings, layer: int):
        super().__init__()
        norm = partial(RMSNorm, cfg.hidden_size, cfg.rms_norm_eps)
        self.self_attn = gemma4_text.Attention(cfg, layer)
        self.mlp = feed_forward(cfg, layer)
        self.altup, self.laurel = AltUp(cfg), Laurel(cfg)
        self.input_layernorm, self.post_attention_layernorm = norm(), norm()
        self.pre_feedforward_layernorm, self.post_feedforward_layernorm = norm(), norm()
        self.layer, self.act, second = layer, self.mlp.act, cfg.hidden_size_per_layer_input
        self.per_layer_input_gate = Linear(cfg.hidden_size, second)
        self.per_layer_projection = Linear(second, cfg.hidden_size)
        self.post_per_layer_input_norm = norm()

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, N * D] -> [T, N * D]."""
        predicted = self.altup.predict(x.unflatten(1, (self.altup.count, -1)))
        out = self.altup.correct(predicted, self.computed(predicted[:, self.altup.active], batch))
        active, scale = out[:, self.altup.active], self.altup.correct_output_scale
        out[:, 1:] += gemma4_text.spoken(self, active if scale is None else active * scale, batch)[
            :, None
        ]
        return out.flatten(1)

    def computed(self, x: Tensor, batch: Batch) -> Tensor:
        """The active stream x [T, D] -> [T, D]."""
        y = self.input_layernorm(x)
        attended = x + self.post_attention_layernorm(self.self_attn(y, batch))
        x = (attended + self.laurel(y)) * 2**-0.5
        return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))


def sized(x: Tensor, like: Tensor) -> Tensor:
    """x [T, D] with the root mean squares of another one's rows."""
    mean = (x * x).mean(-1, keepdim=True).clamp(min=1e-5)
    return x * (like * like).mean(-1, keepdim=True).sqrt() / mean.sqrt()


class Gemma3n(gemma4_text.Gemma4):
    Block = Block
    defaults = dict(
        gemma4_text.Gemma4.defaults,
        vocab_size=262400,
        vocab_size_per_layer_input=262144,
        final_logit_softcapping=30.0,
        sliding_window_pattern=5,
        max_position_embeddings=32768,
        global_head_dim=None,
        num_kv_shared_layers=15,
        activation_sparsity_pattern=None,
        altup_num_inputs=4,
        altup_active_idx=0,
        altup_correct_scale=True,
        laurel_rank=64,
        rope_parameters=None,
        rope_theta=1e6,
        rope_local_base_freq=1e4,
    )
    blank = 0

    def __init__(self, cfg: Settings):
        super().__init__(cfg)
        for name in ("altup_projections", "altup_unembed_projections"):
            others = range(cfg.altup_num_inputs - 1)
            matrices = nn.ModuleList(Linear(cfg.hidden_size, cfg.hidden_size) for _ in others)
            setattr(self.model, name, matrices)

    def embed(self, batch: Batch) -> Tensor:
        x = super().embed(batch)
        markers = getattr(self.encoder, "markers", None)  # tokens beside images have other tables
        return x if markers is None else markers(batch.tokens, x)

    def inputs(self, batch: Batch) -> Tensor:
        x = super().inputs(batch)
        model: Any = self.model
        return torch.cat([x, *(sized(matrix(x), x) for matrix in model.altup_projections)], 1)

    def ends(self, x: Tensor, batch: Batch) -> Tensor:
        first, *others = x[batch.outputs].chunk(self.cfg.altup_num_inputs, 1)
        total, model = first, cast(Any, self.model)
        for matrix, other in zip(model.altup_unembed_projections, others, strict=True):
            total = total + sized(matrix(other), first)
        return model.norm(total / self.cfg.altup_num_inputs)

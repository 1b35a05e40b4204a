"""The vocabulary that image encoders are written in: patches, blocks, the plain vision transformer."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mistralrs.kernels.glu import ACTS as SMOOTH
from mistralrs.nn.checkpoint import Lazy
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Linear, empty
from mistralrs.nn.norm import LayerNorm

ACTS: Mapping[str, Callable[[Tensor], Tensor]] = {
    **SMOOTH,
    "gelu_new": SMOOTH["gelu_pytorch_tanh"],
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "swish": F.silu,
}


def patches(pixels: Tensor, size: int) -> Tensor:
    """pixels [N, C, H, W] -> [N * P, C * size * size], line by line."""
    x = pixels.unfold(2, size, size).unfold(3, size, size)  # [N, C, h, w, size, size]
    return x.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2)


def attend(
    q: Tensor, k: Tensor, v: Tensor, pictures: int = 1, mask: Tensor | None = None
) -> Tensor:
    """q, k, v [N * P, H, D] -> [N * P, H * D]; the patches of each picture see each other, where `mask` is true."""
    q, k, v = (x.unflatten(0, (pictures, -1)).transpose(1, 2) for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return out.transpose(1, 2).flatten(0, 1).flatten(1)


def stitched(tiles: Tensor, down: int) -> Tensor:
    """tiles [N, h, w, D], `down` lines of them -> [down * h, N / down * w, D]."""
    return tiles.unflatten(0, (down, -1)).transpose(1, 2).flatten(2, 3).flatten(0, 1)


def ended(x: Tensor, end: Tensor) -> Tensor:
    """x [L, C, D] -> [L * (C + 1), D]: every line with the row `end` [D] behind it."""
    return torch.cat((x, end.expand(len(x), 1, -1)), 1).flatten(0, 1)


def flatten_kernels(tensors: Mapping[str, Lazy], *ends: str) -> dict[str, Lazy]:
    """Convolution kernels [N, ...] whose names end so as the matrices [N, K] that multiply patches."""
    return {
        name: lazy.reshape(lazy.shape[0], int(torch.tensor(lazy.shape[1:]).prod()))
        if name.endswith(ends)
        else lazy
        for name, lazy in tensors.items()
    }


class SelfAttention(nn.Module):
    """Every patch sees every patch of its picture."""

    def __init__(self, dim: int, heads: int, bias: bool = True):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (Linear(dim, dim, bias) for _ in range(3))
        self.out_proj, self.heads = Linear(dim, dim, bias), heads

    def forward(self, x: Tensor, pictures: int, mask: Tensor | None = None) -> Tensor:
        """x [N * P, D] -> [N * P, D]."""
        q, k, v = (
            p(x).unflatten(1, (self.heads, -1)) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(attend(q, k, v, pictures, mask))


class FeedForward(nn.Module):
    """fc2(act(fc1(x)))."""

    def __init__(self, dim: int, width: int, act: str, bias: bool = True):
        super().__init__()
        self.fc1, self.fc2 = Linear(dim, width, bias), Linear(width, dim, bias)
        self.act = ACTS[act]

    def forward(self, x: Tensor) -> Tensor:
        """x [T, D] -> [T, D]."""
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), as CLIP and SigLIP name them."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim, eps = cfg.hidden_size, cfg.layer_norm_eps
        self.self_attn = SelfAttention(dim, cfg.num_attention_heads)
        self.mlp = FeedForward(dim, cfg.intermediate_size, cfg.hidden_act)
        self.layer_norm1, self.layer_norm2 = LayerNorm(dim, eps), LayerNorm(dim, eps)

    def forward(self, x: Tensor, pictures: int, mask: Tensor | None = None) -> Tensor:
        """x [N * P, D] -> [N * P, D]."""
        x = x + self.self_attn(self.layer_norm1(x), pictures, mask)
        return x + self.mlp(self.layer_norm2(x))


class Table(nn.Module):
    """Learned embeddings of positions."""

    def __init__(self, rows: int, dim: int):
        super().__init__()
        self.weight = empty(rows, dim)


class Transformer(nn.Module):
    """CLIP's (with a class token and a norm before the blocks) or SigLIP's vision transformer.

    Its parameters have the names of checkpoints without `vision_model.`, `embeddings.` and `encoder.`.
    """

    def __init__(self, cfg: Settings, clip: bool, layers: int, post: bool = False):
        super().__init__()
        dim, self.size = cfg.hidden_size, cfg.patch_size
        count = (cfg.image_size // cfg.patch_size) ** 2
        self.class_embedding = empty(dim) if clip else None
        self.patch_embedding = Linear(cfg.num_channels * self.size**2, dim, bias=not clip)
        self.position_embedding = Table(count + clip, dim)
        self.pre_layrnorm = LayerNorm(dim, cfg.layer_norm_eps) if clip else None
        self.layers = nn.ModuleList(Block(cfg) for _ in range(layers))
        self.post_layernorm = LayerNorm(dim, cfg.layer_norm_eps) if post else None

    def forward(self, pixels: Tensor, wanted: Sequence[int] = (-1,)) -> list[Tensor]:
        """pixels [N, C, H, W] -> states [N, P, D]: 0 before all blocks, i behind the i-th, -1 behind the last."""
        count, last = len(pixels), len(self.layers)
        numbers = [i if i >= 0 else last + 1 + i for i in wanted]
        x, states = self.embed(pixels), {}
        for number in range(last + 1):
            if number:
                x = self.layers[number - 1](x, count)
            if number in numbers:
                states[number] = x
        if self.post_layernorm is not None and last in states:
            states[last] = self.post_layernorm(x)
        return [states[i].unflatten(0, (count, -1)) for i in numbers]

    def embed(self, pixels: Tensor) -> Tensor:
        """pixels [N, C, H, W] -> what the first block reads [N * P, D]."""
        x = self.patch_embedding(patches(pixels, self.size)).unflatten(0, (len(pixels), -1))
        if self.class_embedding is not None:
            x = torch.cat((self.class_embedding.expand(len(x), 1, -1), x), 1)
        lines, columns = (side // self.size for side in pixels.shape[2:])
        x = (x + self.places(lines, columns)).flatten(0, 1)
        return x if self.pre_layrnorm is None else self.pre_layrnorm(x)

    def places(self, lines: int, columns: int) -> Tensor:
        """Embeddings [P, D] of the places in a picture of that many patches."""
        return self.position_embedding.weight


TRANSFORMER = {  # names of checkpoints -> those of Transformer
    r"\.vision_model\.": ".",
    r"\.embeddings\.": ".",
    r"\.encoder\.layers\.": ".layers.",
}

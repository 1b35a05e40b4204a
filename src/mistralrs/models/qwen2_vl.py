"""Qwen 2 VL: pictures and films of any size, in patches of two frames, four to a row; three axes of positions."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mistralrs.api.errors import MediaError
from mistralrs.kernels.rope import rope
from mistralrs.nn import image
from mistralrs.nn.checkpoint import Lazy, rename
from mistralrs.nn.decoder import Settings
from mistralrs.nn.film import Film, groups, spread
from mistralrs.nn.linear import Linear
from mistralrs.nn.media import Encoder, Media, Prepared, runs
from mistralrs.nn.norm import LayerNorm
from mistralrs.nn.vision import FeedForward, attend, flatten_kernels

NAMES = {
    r"^(model\.)?visual\.": "encoder.visual.",
    r"^model\.language_model\.": "model.",
    r"(patch_embed)\.proj\.": r"\1.",
    r"merger\.mlp\.0\.": "merger.fc1.",
    r"merger\.mlp\.2\.": "merger.fc2.",
}
LONGEST_RATIO = 200  # of the edges


class Processor:
    """Edges become multiples of a merged patch, within limits of the whole number of pixels."""

    joined = False
    placeholder = "<|image_pad|>"

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        vision, size = cfg.vision_config, files.get("size") or {}
        self.look = image.Look.of(files, **image.CLIP)
        self.patch, self.merge = vision.patch_size, vision.spatial_merge_size
        self.frames = vision.temporal_patch_size
        self.least = files.get("min_pixels") or size.get("shortest_edge") or 56 * 56
        self.most = files.get("max_pixels") or size.get("longest_edge") or 28 * 28 * 1280

    def marker(self, index: int) -> str:
        return f"<|vision_start|>{self.placeholder}<|vision_end|>"

    def prepare(self, picture: image.Picture) -> Prepared:
        proportioned(picture.size)
        size = image.multiples(picture.size, self.patch * self.merge, self.least, self.most)
        pixels = self.look.pixels(self.look.resize(picture, size))
        still = pixels.expand(self.frames, -1, -1, -1)  # a picture is a film that stands still
        columns, lines = (edge // (self.patch * self.merge) for edge in size)
        grid = (1, lines, columns)
        return Prepared({"patches": patches(still, self.patch, self.merge)}, lines * columns, grid)

    def expand(self, prepared: Prepared, index: int) -> str:
        return f"<|vision_start|>{self.placeholder * prepared.rows}<|vision_end|>"


def proportioned(size: image.Size) -> None:
    """Raise MediaError for a size with too different edges."""
    if max(size) > LONGEST_RATIO * min(size):
        raise MediaError(
            f"an image of {size[0]} x {size[1]} pixels is too long: one edge may be at most "
            f"{LONGEST_RATIO} times the other; crop it"
        )


def patches(pixels: Tensor, size: int, merge: int) -> Tensor:
    """pixels [F, 3, H, W] of a patch's frames -> [P, 3 * F * size * size]; those of one row follow each other."""
    frames, _, h, w = pixels.shape
    square = size * merge
    x = pixels.view(frames, 3, h // square, merge, size, w // square, merge, size)
    return x.permute(2, 5, 3, 6, 1, 0, 4, 7).flatten(4).flatten(0, 3)


class Watcher:
    """Two frames per second, two of which make one picture; all together have a limited number of rows.

    Sizes are those of Qwen's own tools: a limit for each frame and one for the whole film.
    """

    joined = False
    placeholder = "<|video_pad|>"

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        vision, own = cfg.vision_config, files.get("video") or {}
        self.look = image.Look.of(
            {key: files[key] for key in image.LOOKS if key in files} | own, **self.looks
        )
        self.patch, self.merge = vision.patch_size, vision.spatial_merge_size
        self.frames, square = vision.temporal_patch_size, (self.patch * self.merge) ** 2
        size = own.get("size") or {}
        self.least, self.most = (
            own.get(old) or size.get(name) or default * square
            for old, name, default in (
                ("min_pixels", "shortest_edge", 128),
                ("max_pixels", "longest_edge", 768),
            )
        )
        self.capped = own.get("cap_pixels_per_frame") is not False
        self.tokens = own.get("max_video_tokens") or self.context(cfg)
        self.fps, self.fewest = own.get("fps") or 2, own.get("min_frames") or 4
        self.highest = own.get("max_frames") or 768

    looks: ClassVar[Mapping[str, Any]] = image.CLIP

    def context(self, cfg: Settings) -> int:
        """The tokens that a film may fill most of."""
        return min(128000, cfg.text.get("max_position_embeddings", 128000))

    def marker(self, index: int) -> str:
        return f"<|vision_start|>{self.placeholder}<|vision_end|>"

    def prepare(self, film: Film) -> Prepared:
        proportioned(film.size)
        places = list(range(film.frames)) if film.whole else self.sample(film)
        if len(places) > self.highest:
            raise MediaError(
                f"a video of {len(places)} frames is too long, {self.highest} are the most; leave some out"
            )
        size = self.size(film.size, len(places))
        steps = -(-len(places) // self.frames)
        columns, lines = (edge // (self.patch * self.merge) for edge in size)
        whole = torch.empty(steps, lines * columns * self.merge**2, 3 * self.frames * self.patch**2)
        for step, group in enumerate(groups(film.read(places), self.frames)):
            pixels = torch.stack([self.look.pixels(self.look.resize(f, size)) for f in group])
            whole[step] = patches(pixels, self.patch, self.merge)
        grid = (steps, lines, columns, *self.moments(film, places, steps))
        rows = steps * lines * columns
        times = self.times(film, places)
        return Prepared({"patches": whole.flatten(0, 1)}, rows, grid, times=times)

    def sample(self, film: Film) -> list[int]:
        """The frames that are looked at: an even number, if there are that many."""
        most = min(self.highest, film.frames) // self.frames * self.frames
        count = min(max(film.frames / film.rate * (film.wanted or self.fps), self.fewest), most)
        return spread(film.frames, max(1, int(count / self.frames) * self.frames))

    def size(self, size: image.Size, frames: int) -> image.Size:
        """The size of every frame: the more there are, the smaller."""
        most = self.most
        if self.capped:
            share = int(self.tokens * (self.patch * self.merge) ** 2 * 0.9) * self.frames // frames
            most = max(min(most, share), int(self.least * 1.05))
        return image.multiples(size, self.patch * self.merge, self.least, most)

    def moments(self, film: Film, places: Sequence[int], steps: int) -> Sequence[int]:
        """Positions of the pictures on the axis of time, where they do not just count."""
        return ()

    def times(self, film: Film, places: Sequence[int]) -> tuple[float, ...]:
        """Seconds that the text tells of each picture."""
        return ()

    def expand(self, prepared: Prepared, index: int) -> str:
        return f"<|vision_start|>{self.placeholder * prepared.rows}<|vision_end|>"


class Attention(nn.Module):
    """Patches turned by their line and column; those of one range of `spans` see each other."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.qkv, self.proj, self.heads = Linear(dim, 3 * dim, True), Linear(dim, dim, True), heads

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], spans: Sequence[int]) -> Tensor:
        """x [P, D], turn cos and sin [P, d / 2], lengths of spans -> [P, D]."""
        q, k, v = self.qkv(x).unflatten(1, (3, self.heads, -1)).unbind(1)
        q, k = rope(q, *turn), rope(k, *turn)
        parts = zip(q.split(spans), k.split(spans), v.split(spans), strict=True)
        return self.proj(torch.cat([attend(*part) for part in parts]))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, cfg: Settings):
        super().__init__()
        dim = cfg.embed_dim
        self.norm1, self.norm2 = LayerNorm(dim, 1e-6), LayerNorm(dim, 1e-6)
        self.attn = Attention(dim, cfg.num_heads)
        self.mlp: nn.Module = FeedForward(dim, int(dim * cfg.mlp_ratio), cfg.hidden_act)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], spans: Sequence[int]) -> Tensor:
        """x [P, D] -> [P, D]."""
        x = x + self.attn(self.norm1(x), turn, spans)
        return x + self.mlp(self.norm2(x))


class Merger(nn.Module):
    """A square of patches -> a row of the text model."""

    def __init__(self, cfg: Settings, norm: nn.Module, dim: int, out: int):
        super().__init__()
        wide = dim * cfg.spatial_merge_size**2
        self.ln_q, self.wide = norm, wide
        self.fc1, self.fc2 = Linear(wide, wide, True), Linear(wide, out, True)

    def forward(self, x: Tensor) -> Tensor:
        """x [P, V] -> [P / square, D]."""
        x = self.fc1(self.ln_q(x).view(-1, self.wide))
        return self.fc2(nn.functional.gelu(x))


def turns(grid: Sequence[int], merge: int, dim: int) -> tuple[Tensor, Tensor]:
    """cos and sin [P, dim / 2]: half of the pairs turn with a patch's line, half with its column, in merged order."""
    frames, h, w = grid[0], grid[1] * merge, grid[2] * merge
    at = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
    at = at.view(2, h // merge, merge, w // merge, merge).transpose(2, 3).flatten(1)
    freq = 1.0 / 10000 ** (torch.arange(0, dim // 2, 2).float() / (dim // 2))
    angle = (at.T[:, :, None].float() * freq).flatten(1).repeat(frames, 1)
    return angle.cos(), angle.sin()


class Visual(nn.Module):
    """The vision tower."""

    def __init__(self, cfg: Settings):
        super().__init__()
        self.merge, self.head_dim = cfg.spatial_merge_size, cfg.embed_dim // cfg.num_heads
        inputs = cfg.in_channels * cfg.temporal_patch_size * cfg.patch_size**2
        self.patch_embed = Linear(inputs, cfg.embed_dim)
        self.blocks = nn.ModuleList(Block(cfg) for _ in range(cfg.depth))
        self.merger = Merger(cfg, LayerNorm(cfg.embed_dim, 1e-6), cfg.embed_dim, cfg.hidden_size)

    def forward(self, patches: Tensor, grid: Sequence[int]) -> Tensor:
        """patches [P, K] of one picture -> [rows, D]."""
        x, turn = self.patch_embed(patches), turns(grid, self.merge, self.head_dim)
        turn = turn[0].to(x.device), turn[1].to(x.device)
        spans = [len(x) // grid[0]] * grid[0]
        for block in self.blocks:
            x = block(x, turn, spans)
        return self.merger(x)


class Qwen2VL(Encoder):
    text = "qwen2"
    defaults: ClassVar[Mapping[str, Any]] = dict(
        vision_config=dict(
            depth=32, embed_dim=1280, hidden_size=3584, num_heads=16, mlp_ratio=4, patch_size=14,
            in_channels=3, spatial_merge_size=2, temporal_patch_size=2, hidden_act="quick_gelu",
        )
    )  # fmt: skip
    Visual: ClassVar[type[nn.Module]] = Visual

    def __init__(self, cfg: Settings):
        super().__init__()
        self.visual = type(self).Visual(cfg.vision_config)

    def forward(self, media: Media) -> Tensor:
        return self.visual(media.inputs["patches"], media.grid)

    def positions(self, tokens: Sequence[int], media: Mapping[int, Media]) -> Tensor | None:
        """[3, T]: text moves along all axes together, a picture spreads over its lines and columns.

        The pictures of a film move along the first axis, unless text stands between them.
        """
        parts, here, end = [], 0, 0
        for number, first, last in runs(tokens) if media else ():
            _, lines, columns, *moments = media[number].grid
            parts.append(torch.arange(here, here + first - end).expand(3, -1))
            here, end = here + first - end, last
            count = (last - first) // (lines * columns)  # all, or those between two texts
            at = torch.tensor(moments) if moments else torch.arange(count)
            axes = torch.meshgrid(at, torch.arange(lines), torch.arange(columns), indexing="ij")
            parts.append(torch.stack(axes).flatten(1) + here)
            here += max(lines, columns)
        if not parts:
            return None
        parts.append(torch.arange(here, here + len(tokens) - end).expand(3, -1))
        return torch.cat(parts, 1)

    @classmethod
    def processor(cls, cfg: Settings, files: Mapping[str, Any]) -> Processor:
        return Processor(cfg, files)

    @classmethod
    def watcher(cls, cfg: Settings, files: Mapping[str, Any]) -> Watcher:
        return Watcher(cfg, files)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        return flatten_kernels(rename(tensors, NAMES), "patch_embed.weight")

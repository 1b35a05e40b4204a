"""Phi 4 multimodal as transformers writes it, without adapters: SigLIP on square crops, a conformer for sounds."""

import math
from collections.abc import Collection, Mapping
from functools import lru_cache, partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from mistralrs.api.errors import MediaError
from mistralrs.models import idefics3
from mistralrs.nn import image
from mistralrs.nn.audio import log_fbank
from mistralrs.nn.checkpoint import Lazy, drop, rename
from mistralrs.nn.conformer import Conformer
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Linear, empty
from mistralrs.nn.media import Encoder, Media, Prepared
from mistralrs.nn.vision import TRANSFORMER, ended, flatten_kernels, patches, stitched

EXTEND = r"^model\.embed_tokens_extend\."
NAMES = {
    EXTEND + r"image_embed\.img_processor\.": "encoder.tower.",
    EXTEND + r"audio_embed\.encoder\.": "encoder.conformer.",
    EXTEND + r"(image|audio)_embed\.": "encoder.",
}
CONFORMER = {  # names of checkpoints -> those of Conformer
    r"relative_attention_bias_layer\.": "",
    r"(conformer\.embed)\.conv\.0\.": r"\1.first.",
    r"(conformer\.embed)\.conv\.2\.": r"\1.depthwise.0.",
    r"(conformer\.embed)\.conv\.3\.": r"\1.pointwise.0.",
    r"(conformer\.embed)\.conv\.5\.": r"\1.depthwise.1.",
    r"(conformer\.embed)\.conv\.6\.": r"\1.pointwise.1.",
    r"(conv\.glu)\.ext_pw_conv_1d\.": r"\1.",
    r"conv\.ext_pw_conv_1d\.": "conv.out.",
    r"dw_sep_conv_1d\.dw_conv\.": "depthwise.",
    r"dw_sep_conv_1d\.pw_conv\.": "pointwise.",
}
THIN = 10  # pixels that a picture must have left


class Processor:
    """As many square crops as the picture's size asks for, white at the right or below; and the whole of it."""

    joined = False
    placeholder = "<|endoftext10|>"

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        vision = cfg.vision_config
        # Theirs never hands the file's filter to the function that resizes.
        self.look = image.Look.of({**files, "resample": image.BILINEAR}, **image.HALF)
        self.most = files.get("dynamic_hd", 36)
        self.edge, self.patch = vision.crop_size, vision.patch_size

    def marker(self, index: int) -> str:
        return f"<|image_{index + 1}|>"

    def prepare(self, picture: image.Picture) -> Prepared:
        across, down = grid(picture.size, self.most, self.edge)
        canvas = Image.new("RGB", (across * self.edge, down * self.edge), "white")
        inside = self.look.resize(picture, fitted(picture.size, canvas.size))
        canvas.paste(inside)
        columns, lines = (
            whole // self.patch - (whole - part) // self.patch
            for whole, part in zip(canvas.size, inside.size, strict=True)
        )
        side = self.edge // self.patch // 2
        rows = side * (side + 1) + 1 + -(-lines // 2) * (-(-columns // 2) + 1)
        pixels = image.squares(self.look.pixels(canvas), self.edge)
        return Prepared({"pixels": pixels}, rows, (down, across, lines, columns))

    def expand(self, prepared: Prepared, index: int) -> str:
        return self.placeholder * prepared.rows


def grid(size: image.Size, most: int, edge: int) -> image.Size:
    """How many crops side by side and below each other: enough for all pixels, or the nearest proportions."""
    across, down = (math.ceil(side / edge) for side in size)
    if across * down <= most:
        return across, down
    found, least = (1, 1), math.inf
    for one in grids(most):
        off = abs(size[0] / size[1] - one[0] / one[1])
        large = math.prod(size) > 0.5 * edge * edge * math.prod(one)
        if off < least or (off == least and large):
            found, least = one, off
    return found


@lru_cache(maxsize=8)
def grids(most: int) -> list[image.Size]:
    """All grids of at most so many crops, small ones first."""
    every = [(x, y) for x in range(1, most + 1) for y in range(1, most // x + 1)]
    return sorted(every, key=math.prod)


def fitted(size: image.Size, box: image.Size) -> image.Size:
    """The largest size with the same proportions that fits in a box; MediaError when little is left of it."""
    width, height = (whole / side for whole, side in zip(box, size, strict=True))
    inside = (box[0], int(size[1] * width)) if width < height else (int(size[0] * height), box[1])
    if min(inside) < THIN:
        raise MediaError(f"an image of {size[0]} x {size[1]} pixels is too long; crop it")
    return inside


class Listener:
    """Log filter banks of the whole sound."""

    joined = False
    placeholder = "<|endoftext11|>"
    rate = 16000

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        self.bands, self.step = cfg.audio_config.input_size, cfg.audio_config.time_reduction

    def marker(self, index: int) -> str:
        return f"<|audio_{index + 1}|>"

    def prepare(self, sound: Tensor) -> Prepared:
        banks = log_fbank(sound, self.bands)
        return Prepared({"banks": banks}, -(-len(banks) // self.step))

    def expand(self, prepared: Prepared, index: int) -> str:
        return self.placeholder * prepared.rows


class Tower(idefics3.Tower):
    """SigLIP for crops of which only the upper left part is picture."""

    def forward(self, pixels: Tensor, parts: list[tuple[int, int]]) -> Tensor:  # type: ignore[override]
        """pixels [N, 3, H, W], lines and columns of picture in each -> [N, h, w, V]."""
        size = 4  # crops at a time, for their memory
        pieces = (slice(i, i + size) for i in range(0, len(parts), size))
        return torch.cat([self.some(pixels[piece], parts[piece]) for piece in pieces])

    def some(self, pixels: Tensor, parts: list[tuple[int, int]]) -> Tensor:
        """The same for a few crops."""
        count, side = len(pixels), pixels.shape[2] // self.size
        x = self.patch_embedding(patches(pixels, self.size)).unflatten(0, (count, side, side))
        places = self.position_embedding.weight[0].expand(x.shape).clone()
        seen = torch.zeros(count, side, side, dtype=torch.bool, device=x.device)
        for i, (lines, columns) in enumerate(parts):
            places[i, :lines, :columns] = self.places(lines, columns).unflatten(0, (lines, columns))
            seen[i, :lines, :columns] = True
        mask = None if seen.all() else seen.flatten(1)[:, None, None]
        x = (x + places).flatten(0, 2)
        for block in self.layers:
            x = block(x, count, mask)
        return x.unflatten(0, (count, side, side))


class Phi4Multimodal(Encoder):
    text = "phi3"
    defaults = dict(
        vision_config=dict(
            hidden_size=1152, intermediate_size=4304, num_hidden_layers=27, num_attention_heads=16, num_channels=3,
            image_size=448, patch_size=14, crop_size=448, feature_layer=-2, hidden_act="gelu_pytorch_tanh",
            layer_norm_eps=1e-6,
        ),
        audio_config=dict(
            hidden_size=1024, intermediate_size=1536, num_blocks=24, num_attention_heads=16, activation="swish",
            ext_pw_out_channel=1024, depthwise_separable_out_channel=1024, depthwise_multiplier=1, kernel_size=3,
            conv_activation="swish", conv_glu_type="swish", time_reduction=8, bias_max_distance=1000,
            bias_symmetric=False, nemo_activation="relu", nemo_conv_channels=1024, input_size=80, downsample_rate=1,
        ),
    )  # fmt: skip
    text_defaults = {
        "phi4_multimodal": dict(
            vocab_size=200064, hidden_size=3072, intermediate_size=8192, num_hidden_layers=32, num_attention_heads=32,
            num_key_value_heads=8, max_position_embeddings=131072, original_max_position_embeddings=4096,
        )
    }  # fmt: skip

    def __init__(self, cfg: Settings):
        super().__init__()
        vision, wide, dim = cfg.vision_config, cfg.audio_config.hidden_size, cfg.text.hidden_size
        self.tower = Tower(vision, clip=False, layers=depth(vision))
        self.img_projection_up = Linear(vision.hidden_size, dim, True)
        self.img_projection_down = Linear(dim, dim, True)
        self.line_end, self.between = empty(vision.hidden_size), empty(vision.hidden_size)
        self.conformer = Conformer(cfg.audio_config)
        self.up_proj_for_speech = Linear(wide, dim, True)
        self.down_proj_for_speech = Linear(dim, dim, True)
        self.up_proj_for_vision_speech = Linear(wide, dim, True)
        self.down_proj_for_vision_speech = Linear(dim, dim, True)

    def forward(self, media: Media) -> Tensor:
        if "pixels" in media.inputs:
            rows = self.picture(media.inputs["pixels"], *media.grid)
            return self.img_projection_down(F.gelu(self.img_projection_up(rows)))
        states = self.conformer(media.inputs["banks"])
        if media.adapter == "vision":
            return self.down_proj_for_vision_speech(F.gelu(self.up_proj_for_vision_speech(states)))
        return self.down_proj_for_speech(F.gelu(self.up_proj_for_speech(states)))

    def picture(self, pixels: Tensor, down: int, across: int, lines: int, columns: int) -> Tensor:
        """pixels [1 + N, 3, H, W] -> [rows, V]: the lines of the crops, a row, the lines of the whole."""
        side = pixels.shape[2] // self.tower.size
        corners = [(y * side, x * side) for y in range(down) for x in range(across)]
        parts = [(min(side, lines - y), min(side, columns - x)) for y, x in corners]
        states = self.tower(pixels, [(side, side), *parts])
        means = F.avg_pool2d(states.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        crops = stitched(means[1:], down)[: -(-lines // 2), : -(-columns // 2)]
        ends = self.line_end
        return torch.cat((ended(crops, ends), self.between[None], ended(means[0], ends)))

    def adapter(self, kinds: Collection[str]) -> str | None:
        return "vision" if "image" in kinds else "speech" if "audio" in kinds else None

    @classmethod
    def processor(cls, cfg: Settings, files: Mapping[str, Any]) -> Processor:
        return Processor(cfg, files)

    @classmethod
    def listener(cls, cfg: Settings, files: Mapping[str, Any]) -> Listener:
        return Listener(cfg, files)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        named = rename(tensors, NAMES | TRANSFORMER | CONFORMER | SEPARATORS)
        first, every = depth(cfg.vision_config), cfg.vision_config.num_hidden_layers
        unused = [rf"tower\.layers\.{i}\." for i in range(first, every)]
        named = drop(named, r"tower\.post_layernorm", r"tower\.head\.", *unused)
        wide = cfg.vision_config.hidden_size
        for name in ("encoder.line_end", "encoder.between"):
            if name in named:
                named[name] = named[name].reshape(wide)
        kernels = ("patch_embedding.weight", "pointwise.weight", "conv.out.weight", "glu.weight")
        pointwise = tuple(f"pointwise.{i}.weight" for i in range(2))
        return flatten_kernels(biased(named), *kernels, *pointwise)


SEPARATORS = {
    r"encoder\.sub_img_feature_extensor$": "encoder.line_end",
    r"encoder\.global_img_feature_extensor$": "encoder.between",
}


def depth(cfg: Settings) -> int:
    """How many of the tower's blocks are needed."""
    layer: int = cfg.feature_layer
    return layer if layer >= 0 else cfg.num_hidden_layers + 1 + layer


def biased(tensors: dict[str, Lazy]) -> dict[str, Lazy]:
    """The biases that a gate has beside those of its matrix, added to them."""
    out = {name: t for name, t in tensors.items() if not name.endswith(("glu.b1", "glu.b2"))}
    for name, bias in out.items():
        if name.endswith("glu.bias") and f"{name[:-4]}b1" in tensors:
            halves = [tensors[name[:-4] + half] for half in ("b1", "b2")]
            out[name] = bias.map(partial(plus, halves=halves))
    return out


def plus(bias: Tensor, halves: list[Lazy]) -> Tensor:
    """A bias [2 * C] plus halves [1, C, 1]."""
    return bias + torch.cat([half.load().flatten() for half in halves])

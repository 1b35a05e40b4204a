"""Phi 3 and 3.5 vision: CLIP on square tiles and the whole picture, four patches to a row, lines with learned ends."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from mistralrs.api.errors import MediaError
from mistralrs.nn import image
from mistralrs.nn.checkpoint import Lazy, drop, rename
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Linear, empty
from mistralrs.nn.media import Encoder, Media, Prepared
from mistralrs.nn.vision import TRANSFORMER, Transformer, ended, flatten_kernels, stitched

NAMES = {
    r"^model\.vision_embed_tokens\.img_processor\.": "encoder.tower.",
    r"^model\.vision_embed_tokens\.img_projection\.0\.": "encoder.linear_1.",
    r"^model\.vision_embed_tokens\.img_projection\.2\.": "encoder.linear_2.",
    r"^model\.vision_embed_tokens\.sub_GN$": "encoder.line_end",
    r"^model\.vision_embed_tokens\.glb_GN$": "encoder.between",
}
BEGIN = "<s>"  # the tokenizer of the hub's processor writes it before every piece of text
TURN = Image.Transpose.TRANSPOSE


class Processor:
    """As wide as a number of tiles allows, white above and below; tall pictures lie on their side meanwhile."""

    joined = False
    placeholder = "<|image|>"
    behind = "\n"  # as in the model's card

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        vision = cfg.vision_config
        self.look = image.Look.of({**files, "resample": image.BILINEAR}, **image.CLIP)
        self.tiles, self.edge = files.get("num_crops", 1), vision.image_size
        self.side = vision.image_size // vision.patch_size // 2

    def marker(self, index: int) -> str:
        return f"<|image_{index + 1}|>"

    def prepare(self, picture: image.Picture) -> Prepared:
        tall = picture.width < picture.height
        canvas = self.canvas(picture.transpose(TURN) if tall else picture)
        canvas = canvas.transpose(TURN) if tall else canvas
        down, across = canvas.height // self.edge, canvas.width // self.edge
        rows = (down * across + 1) * self.side**2 + 1 + (down + 1) * self.side
        pixels = image.squares(self.look.pixels(canvas), self.edge)
        return Prepared({"pixels": pixels}, rows, (down,))

    def canvas(self, picture: image.Picture) -> image.Picture:
        """A wide picture scaled, in the middle of whole tiles."""
        ratio, across = picture.width / picture.height, 1
        while (across + 1) * math.ceil((across + 1) / ratio) <= self.tiles:
            across += 1
        width = across * self.edge
        height = int(width / ratio)
        if not height:
            raise MediaError(
                f"an image {picture.width} pixels long and {picture.height} wide is too long; crop it"
            )
        canvas = Image.new("RGB", (width, -(-height // self.edge) * self.edge), "white")
        canvas.paste(self.look.resize(picture, (width, height)), (0, (canvas.height - height) // 2))
        return canvas

    def expand(self, prepared: Prepared, index: int) -> str:
        return self.placeholder * prepared.rows + BEGIN

    def tidy(self, text: str) -> str:
        """The text as it begins for the hub's processor."""
        return text if text.startswith(BEGIN) else BEGIN + text


class Phi3V(Encoder):
    text = "phi3"
    defaults = dict(
        vision_config=dict(
            hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, num_channels=3,
            image_size=336, patch_size=14, hidden_act="quick_gelu", layer_norm_eps=1e-5, layer_idx=-2,
        ),
    )  # fmt: skip

    def __init__(self, cfg: Settings):
        super().__init__()
        vision, dim = cfg.vision_config, cfg.text.hidden_size
        self.tower, wide = (
            Transformer(vision, clip=True, layers=depth(vision)),
            4 * vision.hidden_size,
        )
        self.line_end, self.between = empty(wide), empty(wide)
        self.linear_1, self.linear_2 = Linear(wide, dim, True), Linear(dim, dim, True)

    def forward(self, media: Media) -> Tensor:
        (down,) = media.grid
        (states,) = self.tower(media.inputs["pixels"])
        squares = merged(states[:, 1:])
        tiles, whole = stitched(squares[1:], down), squares[0]
        ends = self.line_end
        rows = torch.cat((ended(tiles, ends), self.between[None], ended(whole, ends)))
        return self.linear_2(F.gelu(self.linear_1(rows)))

    @classmethod
    def spelled(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        named = raw.get("img_processor") or {}
        layer = {"layer_idx": named["layer_idx"]} if "layer_idx" in named else {}
        return {**raw, "vision_config": {**layer, **(raw.get("vision_config") or {})}}

    @classmethod
    def processor(cls, cfg: Settings, files: Mapping[str, Any]) -> Processor:
        return Processor(cfg, files)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        vision = cfg.vision_config
        named = rename(tensors, NAMES | TRANSFORMER)
        unused = [rf"tower\.layers\.{i}\." for i in range(depth(vision), vision.num_hidden_layers)]
        named = drop(named, r"tower\.post_layernorm", r"position_ids", r"\.wte\.", *unused)
        for name in ("encoder.line_end", "encoder.between"):
            if name in named:
                named[name] = named[name].reshape(4 * vision.hidden_size)
        return flatten_kernels(named, "patch_embedding.weight")


def depth(cfg: Settings) -> int:
    """How many of the tower's blocks are needed."""
    layer: int = cfg.layer_idx
    return layer if layer >= 0 else cfg.num_hidden_layers + 1 + layer


def merged(x: Tensor) -> Tensor:
    """Patches [N, P, V] of squares -> four neighbours side by side [N, h, w, 4 * V]."""
    side = int(x.shape[1] ** 0.5) // 2
    x = x.unflatten(1, (side, 2, side, 2)).transpose(2, 3)
    return x.flatten(3)

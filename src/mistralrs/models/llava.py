"""LLaVA 1.5: the last but one states of CLIP, projected by two layers, in the place of words."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mistralrs.api.errors import NotSupportedError
from mistralrs.nn import image
from mistralrs.nn.checkpoint import Lazy, drop, rename
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Linear
from mistralrs.nn.media import Encoder, Media, Prepared
from mistralrs.nn.vision import ACTS, TRANSFORMER, Transformer, flatten_kernels

# The layouts of transformers 4 and 5, shared by several families.
NAMES = {
    r"^(model\.)?vision_tower\.": "encoder.tower.",
    r"^(model\.)?multi_modal_projector\.": "encoder.projector.",
    r"^language_model\.model\.": "model.",
    r"^model\.language_model\.": "model.",
    r"^language_model\.lm_head\.": "lm_head.",
}
TOWERS = {"clip_vision_model": True, "siglip_vision_model": False}  # whether it is a CLIP


class Projector(nn.Module):
    """linear_2(act(linear_1(x)))."""

    def __init__(self, cfg: Settings, width: int):
        super().__init__()
        dim, bias = cfg.text.hidden_size, cfg.multimodal_projector_bias
        self.linear_1, self.linear_2 = Linear(width, dim, bias), Linear(dim, dim, bias)
        self.act = ACTS[cfg.projector_hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        """x [P, V] -> [P, D]."""
        return self.linear_2(self.act(self.linear_1(x)))


def feature_layers(cfg: Settings) -> list[int]:
    """The indices of the states that the projector reads."""
    layer = cfg.vision_feature_layer
    return [layer] if isinstance(layer, int) else list(layer)


def depth(cfg: Settings) -> int:
    """How many of the tower's blocks are needed."""
    every = cfg.vision_config.num_hidden_layers
    return max(i if i >= 0 else every + 1 + i for i in feature_layers(cfg))


def tower(cfg: Settings) -> Transformer:
    """The vision transformer up to the last states that are read."""
    kind = cfg.vision_config.model_type
    if kind not in TOWERS:
        raise NotSupportedError(
            f"vision tower '{kind}' is not available; these are: {', '.join(TOWERS)}"
        )
    return Transformer(cfg.vision_config, TOWERS[kind], depth(cfg))


class Processor:
    """CLIP's: shorter edge to the size, the middle of it, normalized."""

    joined = False

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        self.look = image.Look.of(files, **image.CLIP)
        self.edge = image.edge(files.get("size", 336))
        self.crop = image.box(files.get("crop_size", 336))
        self.placeholder = files.get("image_token") or "<image>"
        self.patch, self.full = (
            cfg.vision_config.patch_size,
            cfg.vision_feature_select_strategy == "full",
        )
        self.full = self.full and TOWERS.get(cfg.vision_config.model_type, False)

    def marker(self, index: int) -> str:
        return self.placeholder

    def prepare(self, picture: image.Picture) -> Prepared:
        resized = self.look.resize(picture, image.shortest(picture.size, self.edge))
        pixels = self.look.pixels(image.center_crop(resized, self.crop))
        count = (self.crop[0] // self.patch) * (self.crop[1] // self.patch)
        return Prepared({"pixels": pixels[None]}, count + self.full)

    def expand(self, prepared: Prepared, index: int) -> str:
        return self.placeholder * prepared.rows


class Llava(Encoder):
    defaults = dict(
        projector_hidden_act="gelu",
        multimodal_projector_bias=True,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        vision_config=dict(
            model_type="clip_vision_model",
            num_channels=3,
            hidden_act="quick_gelu",
            layer_norm_eps=1e-5,
        ),
    )
    text_defaults = {
        "llama": dict(
            hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32
        ),
    }

    def __init__(self, cfg: Settings):
        super().__init__()
        self.layers, self.skip = (
            feature_layers(cfg),
            cfg.vision_feature_select_strategy == "default",
        )
        self.tower = tower(cfg)
        self.projector = Projector(cfg, cfg.vision_config.hidden_size * len(self.layers))
        self.wanted = [
            i if i >= 0 else cfg.vision_config.num_hidden_layers + 1 + i for i in self.layers
        ]

    def forward(self, media: Media) -> Tensor:
        return self.projector(self.features(media.inputs["pixels"]).flatten(0, 1))

    def features(self, pixels: Tensor) -> Tensor:
        """pixels [N, C, H, W] -> [N, P, V], without the class token where config.json says so."""
        states = torch.cat(self.tower(pixels, self.wanted), -1)
        return states[:, 1:] if self.skip else states

    @classmethod
    def processor(cls, cfg: Settings, files: Mapping[str, Any]) -> Processor:
        return Processor(cfg, files)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        named = rename(tensors, NAMES | TRANSFORMER)
        unused = [
            rf"tower\.layers\.{i}\." for i in range(depth(cfg), cfg.vision_config.num_hidden_layers)
        ]
        named = drop(named, r"tower\.post_layernorm", r"tower\.head\.", r"position_ids", *unused)
        return flatten_kernels(named, "patch_embedding.weight")

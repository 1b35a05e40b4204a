"""Phi 3 vision: transformers has none, so its parts there are put together here as the hub's code does it."""

import json
import math
import re
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from tests.models.media.case import FIRST, TEXT, TOWER, Case

EDGE, CROPS = 56, 4
CLIP = dict(TOWER, hidden_act="quick_gelu", layer_norm_eps=1e-5)
FACTORS = dict(
    short_factor=[1.0 + 0.05 * i for i in range(8)], long_factor=[1.0 + 0.5 * i for i in range(8)]
)


def config():
    text = TEXT | dict(original_max_position_embeddings=256, sliding_window=None)
    return hf.Phi3Config(**text, rope_scaling=dict(type="longrope", **FACTORS))


class Model(nn.Module):
    """CLIP's last but one states, 2 x 2 of them to a row, two matrices; then Phi 3."""

    def __init__(self, config):
        super().__init__()
        self.text = hf.Phi3ForCausalLM(config)
        self.vision = hf.CLIPVisionModel(hf.CLIPVisionConfig(**CLIP))
        wide, dim = 4 * CLIP["hidden_size"], config.hidden_size
        self.sub_GN = nn.Parameter(torch.zeros(1, 1, 1, wide))
        self.glb_GN = nn.Parameter(torch.zeros(1, 1, wide))
        self.projector = nn.Sequential(nn.Linear(wide, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, input_ids, pixel_values=None, image_sizes=None, attention_mask=None):
        x = self.text.model.embed_tokens(input_ids.clamp(min=0))
        if pixel_values is not None:
            pairs = zip(pixel_values, image_sizes.tolist(), strict=True)
            x[input_ids == FIRST] = torch.cat([self.image(*pair) for pair in pairs])
        return self.text(inputs_embeds=x)

    def image(self, views, size):
        """views [1 + crops, 3, EDGE, EDGE] -> rows."""
        down, across = (side // EDGE for side in size)
        states = self.vision(views, output_hidden_states=True).hidden_states[-2][:, 1:]
        parts = self.lines(states[1 : 1 + down * across], down, across)
        whole = self.lines(states[:1], 1, 1)
        return self.projector(torch.cat((parts, self.glb_GN[0], whole)))

    def lines(self, states, down, across):
        """states [down * across, P, V] -> rows, line by line, each line with its end."""
        count, patches, wide = states.shape
        half = int(patches**0.5) // 2
        x = states.reshape(count, half, 2, half, 2, wide).permute(0, 1, 3, 2, 4, 5)
        x = x.reshape(down, across, half, half, 4 * wide).permute(0, 2, 1, 3, 4)
        x = x.reshape(down * half, across * half, 4 * wide)
        ends = self.sub_GN[0].expand(down * half, 1, -1)
        return torch.cat((x, ends), 1).reshape(-1, 4 * wide)

    def tie_weights(self):
        self.text.tie_weights()

    def save_pretrained(self, folder):
        """The names and the config.json of the hub, with the sizes of a small tower."""
        inside = "model.vision_embed_tokens."
        names = {
            r"^text\.": "",
            r"^vision\.(vision_model\.)?": f"{inside}img_processor.vision_model.",
            r"^projector\.": f"{inside}img_projection.",
            r"^(sub|glb)_GN$": rf"{inside}\1_GN",
        }
        tensors = {}
        for name, tensor in self.state_dict().items():
            for pattern, replacement in names.items():
                name = re.sub(pattern, replacement, name)
            tensors[name] = tensor.contiguous()
        Path(folder).mkdir(exist_ok=True)
        save_file(tensors, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(hub_config(self.text.config)))


def hub_config(config):
    keys = "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads"
    keys += " max_position_embeddings original_max_position_embeddings rms_norm_eps hidden_act tie_word_embeddings"
    keys += " sliding_window bos_token_id eos_token_id pad_token_id"
    return {
        **{key: getattr(config, key) for key in keys.split()},
        "architectures": ["Phi3VForCausalLM"],
        "model_type": "phi3_v",
        "rope_theta": 10000.0,
        "rope_scaling": dict(type="su", **FACTORS),
        "embd_layer": {"hd_transform_order": "sub_glb", "use_hd_transform": True},
        "img_processor": {
            "image_dim_out": CLIP["hidden_size"], "name": "clip_vision_model", "num_img_tokens": 144,
            "model_name": "openai/clip-vit-large-patch14-336",
        },
        "vision_config": CLIP,
    }  # fmt: skip


class Processor:
    """The hub's, with Pillow in the place of torchvision (which calls it for pictures)."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, text, images, return_tensors):
        views, sizes, rows = zip(*(self.image(one) for one in images))
        pieces = re.split(r"<\|image_\d+\|>", text)
        ids = []
        for index, piece in enumerate(pieces):
            ids += [FIRST + 1, *self.tokenizer(piece)["input_ids"]]
            ids += [FIRST] * rows[index] if index < len(rows) else []
        pads = [F.pad(v, (0, 0, 0, 0, 0, 0, 0, CROPS + 1 - len(v))) for v in views]
        return {
            "input_ids": torch.tensor([ids]),
            "pixel_values": torch.stack(pads),
            "image_sizes": torch.tensor(sizes),
        }

    def image(self, picture):
        """Views, height and width of all tiles, rows."""
        turned = picture.width < picture.height
        if turned:
            picture = picture.transpose(Image.Transpose.TRANSPOSE)
        ratio, scale = picture.width / picture.height, 1
        while scale * np.ceil(scale / ratio) <= CROPS:
            scale += 1
        scale -= 1
        wide = int(scale * EDGE)
        high = int(wide / ratio)
        target = int(np.ceil(high / EDGE) * EDGE)
        padded = Image.new("RGB", (wide, target), (255, 255, 255))
        resized = picture.resize((wide, high), Image.Resampling.BILINEAR)
        padded.paste(resized, (0, int((target - high) / 2)))
        if turned:
            padded = padded.transpose(Image.Transpose.TRANSPOSE)
        mean, std = (
            torch.tensor(v)[:, None, None]
            for v in (hf.image_utils.OPENAI_CLIP_MEAN, hf.image_utils.OPENAI_CLIP_STD)
        )
        x = (torch.from_numpy(np.array(padded)).permute(2, 0, 1) / 255 - mean) / std
        whole = F.interpolate(x[None], size=(EDGE, EDGE), mode="bicubic")
        down, across = x.shape[1] // EDGE, x.shape[2] // EDGE
        parts = x.reshape(3, down, EDGE, across, EDGE).permute(1, 3, 0, 2, 4)
        half = math.isqrt((EDGE // 14) ** 2) // 2
        rows = (down * across + 1) * half**2 + 1 + (down + 1) * half
        return torch.cat((whole, parts.flatten(0, 1))), (x.shape[1], x.shape[2]), rows


CASES = {
    "": Case(
        Model,
        config,
        ("<|image|>", "<s>"),
        "{% set seen.count = seen.count + 1 %}<|image_{{ seen.count }}|>",
        Processor,
        ("pixels", "pixel_values"),
        files={"num_crops": CROPS},
        lead="<s>",
    )
}  # fmt: skip

"""Phi 4 multimodal by transformers' model; the adapters are added to its layers by hooks."""

import json
import math
import re
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

from tests.models.media.case import FIRST, TEXT, Case

IMAGE, SOUND = "<|endoftext10|>", "<|endoftext11|>"
EDGE, PATCH, MOST = 56, 14, 4
VISION = dict(
    hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, image_size=EDGE,
    patch_size=PATCH, crop_size=EDGE, image_token_id=FIRST,
)  # fmt: skip
AUDIO = dict(
    hidden_size=32, intermediate_size=48, num_blocks=2, num_attention_heads=4, ext_pw_out_channel=32,
    depthwise_separable_out_channel=32, nemo_conv_channels=24, bias_max_distance=6, audio_token_id=FIRST + 1,
)  # fmt: skip
RANK, ALPHA = {"vision": 6, "speech": 4}, 2
FACTORS = dict(short_factor=[1.0, 1.1, 1.2, 1.3, 1.4, 1.5], long_factor=[2.0, 2.5, 3.0, 4, 5, 6])


def config(**settings):
    def make():
        text = TEXT | dict(
            partial_rotary_factor=0.75,
            original_max_position_embeddings=256,
            sliding_window=None,
            rope_scaling=dict(type="longrope", **FACTORS),
        )
        return hf.Phi4MultimodalConfig(**text, vision_config=VISION, audio_config=AUDIO, **settings)

    return make


class Model(torch.nn.Module):
    """Sounds are encoded one by one: theirs does not mask what fills up the shorter ones of a batch."""

    def __init__(self, config):
        super().__init__()
        self.hf = hf.Phi4MultimodalForCausalLM(config)
        self.config = self.hf.config

    def forward(self, input_ids, audio_input_features=None, audio_lengths=None, **inputs):
        model, images = self.hf.model, {k: v for k, v in inputs.items() if k.startswith("image_")}
        x = model.embed_tokens(input_ids)
        if images:
            x = model.embed_tokens_extend.image_embed(input_ids, x, **images)
        if audio_lengths is not None:
            embed, mode = model.embed_tokens_extend.audio_embed, "vision_" * bool(images) + "speech"
            up, down = (getattr(embed, f"{way}_proj_for_{mode}") for way in ("up", "down"))
            pairs = zip(audio_input_features, audio_lengths, strict=True)
            rows = [down(F.gelu(up(embed.encoder(one[None, :n], None)[0]))) for one, n in pairs]
            x = torch.where((input_ids == FIRST + 1)[..., None], scattered(x, input_ids, rows), x)
        return self.hf(inputs_embeds=x)

    def tie_weights(self):
        self.hf.tie_weights()

    def save_pretrained(self, folder):
        self.hf.save_pretrained(folder)


def scattered(x, ids, rows):
    out = x.clone()
    out[ids == FIRST + 1] = torch.cat(rows)
    return out


class Adapted(Model):
    """With low-rank adapters, and written as the hub's checkpoint is."""

    def __init__(self, config):
        super().__init__(config)
        self.mode, self.factors = None, torch.nn.ParameterDict()
        for name, layer in self.hf.model.layers.named_modules():
            if isinstance(layer, torch.nn.Linear):
                for mode, rank in RANK.items():
                    shapes = {"A": (rank, layer.in_features), "B": (layer.out_features, rank)}
                    for half, shape in shapes.items():
                        key = f"layers.{name}.lora_{half}.{mode}.weight"
                        self.factors[key.replace(".", "!")] = torch.zeros(shape)
                layer.register_forward_hook(self.hook(f"layers.{name}"))

    def hook(self, name):
        def add(layer, inputs, output):
            if self.mode is None:
                return output
            a, b = (
                self.factors[f"{name}.lora_{h}.{self.mode}.weight".replace(".", "!")] for h in "AB"
            )
            return output + F.linear(F.linear(inputs[0], a), b) * ALPHA / RANK[self.mode]

        return add

    def forward(self, input_ids, **inputs):
        self.mode = (
            "vision" if "image_sizes" in inputs else "speech" if "audio_lengths" in inputs else None
        )
        return super().forward(input_ids, **inputs)

    def save_pretrained(self, folder):
        tensors = {hub_name(name): t for name, t in self.hf.state_dict().items()}
        for name, factor in self.factors.items():
            tensors[f"model.{name.replace('!', '.')}"] = factor.data
        Path(folder).mkdir(exist_ok=True)
        save_file({k: t.contiguous() for k, t in tensors.items()}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(hub_config(self.config)))


HUB = (  # names of transformers -> those of the hub
    (r"(model\.layers\.\d+\.(?:self_attn|mlp)\.\w+)\.weight", r"\1.base_layer.weight"),
    (r"image_embed\.img_projection_up", "image_embed.img_projection.0"),
    (r"image_embed\.img_projection_down", "image_embed.img_projection.2"),
    (r"global_img_feature_extensor", "glb_GN"),
    (r"sub_img_feature_extensor", "sub_GN"),
    (r"up_proj_for_vision_speech", "audio_projection.vision.0"),
    (r"down_proj_for_vision_speech", "audio_projection.vision.2"),
    (r"up_proj_for_speech", "audio_projection.speech.0"),
    (r"down_proj_for_speech", "audio_projection.speech.2"),
    (r"(encoders\.\d+\.feed_forward_\w+)\.gate_up_proj", r"\1.net.0.linear"),
    (r"(encoders\.\d+\.feed_forward_\w+)\.down_proj", r"\1.net.2"),
    (r"(encoders\.\d+)\.self_attn\.([qkv])_proj", r"\1.self_attn.linear_\2"),
    (r"(encoders\.\d+)\.self_attn\.o_proj", r"\1.self_attn.linear_out"),
)  # fmt: skip


def hub_name(name):
    for pattern, replacement in HUB:
        name = re.sub(pattern, replacement, name)
    return name


def hub_config(config):
    """config.json as the hub has it; what it leaves to code, the tower, is added."""
    one, audio = config.to_dict(), AUDIO
    keys = "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads"
    keys += " max_position_embeddings rms_norm_eps sliding_window original_max_position_embeddings hidden_act"
    keys += " tie_word_embeddings bos_token_id eos_token_id pad_token_id"
    lora = {f"{m}_lora": dict(r=r, lora_alpha=ALPHA, dp=0.0) for m, r in RANK.items()}
    return {
        **{key: one.get(key) for key in keys.split()},
        **lora,
        "architectures": ["Phi4MMForCausalLM"],
        "model_type": "phi4mm",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.75,
        "rope_scaling": dict(type="longrope", **FACTORS),
        "img_processor": None,
        "embd_layer": {
            "audio_embd_layer": {"compression_rate": 8, "downsample_rate": 1, "projection_cls": "mlp"},
            "image_embd_layer": {"crop_size": EDGE, "hd_transform_order": "sub_glb", "use_hd_transform": True},
        },
        "audio_processor": {
            "name": "cascades",
            "config": {
                "activation": "swish", "attention_dim": audio["hidden_size"], "chunk_size": -1,
                "attention_heads": audio["num_attention_heads"], "bias_in_glu": True, "causal": True,
                "depthwise_seperable_out_channel": audio["depthwise_separable_out_channel"],
                "ext_pw_kernel_size": 1, "ext_pw_out_channel": audio["ext_pw_out_channel"],
                "input_layer": "nemo_conv", "input_size": 80, "kernel_size": 3, "left_chunk": 18,
                "linear_units": audio["intermediate_size"], "num_blocks": audio["num_blocks"],
                "nemo_conv_settings": {"conv_channels": audio["nemo_conv_channels"]},
                "relative_attention_bias_args": {
                    "t5_bias_max_distance": audio["bias_max_distance"], "type": "t5",
                },
                "time_reduction": 8,
            },
        },
        "vision_config": {k: v for k, v in VISION.items() if k not in ("crop_size", "image_token_id")},
    }  # fmt: skip


# Crops [across, down] and sizes before padding: what transformers with torchvision says of EDGE and MOST.
GRIDS = {
    (90, 70): ((2, 2), (112, 87)),
    (57, 131): ((1, 2), (48, 112)),
    (301, 40): ((4, 1), (224, 29)),
    (28, 29): ((1, 1), (54, 56)),
}


class Processor:
    """Theirs needs torchvision; this is what it does, with Pillow's filter and the sizes that it finds."""

    def __init__(self, tokenizer):
        self.tokenizer, self.features = tokenizer, hf.Phi4MultimodalFeatureExtractor()

    def __call__(self, text, images=(), audio=(), return_tensors="pt"):
        inputs = {}
        if images:
            made = [self.image(one) for one in images]
            text = marked(text, "image", [IMAGE * count for *_, count in made])
            most = max(len(views) for views, *_ in made)
            pads = [(0, 0, 0, 0, 0, 0, 0, most - len(views)) for views, *_ in made]
            inputs = {
                "image_pixel_values": torch.stack([F.pad(m[0], p) for m, p in zip(made, pads)]),
                "image_attention_mask": torch.stack(
                    [F.pad(m[1], p[2:], value=1.0) for m, p in zip(made, pads)]
                ),
                "image_sizes": torch.tensor([m[2] for m in made]),
            }
        if audio:
            heard = [
                self.features([one], sampling_rate=16000, return_tensors="pt") for one in audio
            ]
            sizes = [int(one["audio_embed_sizes"][0]) for one in heard]
            banks = [one["audio_input_features"][0] for one in heard]
            text = marked(text, "audio", [SOUND * size for size in sizes])
            inputs["audio_input_features"] = torch.nn.utils.rnn.pad_sequence(banks, True)
            inputs["audio_lengths"] = torch.tensor([len(one) for one in banks])
        words = self.tokenizer(text, return_tensors="pt")
        return {"input_ids": words["input_ids"], **inputs}

    def image(self, picture):
        """Views, their masks, height and width of the canvas, rows."""
        (across, down), size = GRIDS[picture.size]
        canvas = Image.new("RGB", (across * EDGE, down * EDGE), (255, 255, 255))
        canvas.paste(picture.resize(size, Image.Resampling.BILINEAR))
        x = torch.from_numpy(np.array(canvas)).permute(2, 0, 1) / 255 * 2 - 1
        side, (wide, high) = EDGE // PATCH, canvas.size
        mask = torch.ones(high // PATCH, wide // PATCH)
        if high - size[1] >= PATCH:
            mask[-math.floor((high - size[1]) / PATCH) :] = 0
        if wide - size[0] >= PATCH:
            mask[:, -math.floor((wide - size[0]) / PATCH) :] = 0
        whole = F.interpolate(x[None], (EDGE, EDGE), mode="bicubic")
        views = x.reshape(3, down, EDGE, across, EDGE).permute(1, 3, 0, 2, 4).flatten(0, 1)
        masks = mask.reshape(down, side, across, side).transpose(1, 2).flatten(0, 1)
        small = mask[::2, ::2]
        count = (side // 2) ** 2 + 1 + int(small.sum()) + int(small[:, 0].sum()) + side // 2
        masks = torch.cat((torch.ones(1, side, side), masks))
        return torch.cat((whole, views)), masks, (high, wide), count


def marked(text, kind, replacements):
    """The text with every numbered marker replaced."""
    for index, one in enumerate(replacements):
        text = text.replace(f"<|{kind}_{index + 1}|>", one)
    return text


def views(inputs):
    """Their pixels by image, without what fills up the batch."""
    areas = (inputs["image_sizes"] // EDGE).prod(1)
    return [one[: 1 + n] for one, n in zip(inputs["image_pixel_values"], areas.tolist())]


def banks(inputs):
    """Their filter banks by sound."""
    return [one[:n] for one, n in zip(inputs["audio_input_features"], inputs["audio_lengths"])]


def case(cls, kind):
    seen = kind == "image"
    return Case(
        cls,
        config(),
        (IMAGE, SOUND),
        f"{{% set seen.count = seen.count + 1 %}}<|{kind}_{{{{ seen.count }}}}|>",
        Processor,
        ("pixels", "image_pixel_values") if seen else ("banks", "audio_input_features"),
        files={"dynamic_hd": MOST},
        kind=kind,
        split=views if seen else banks,
        buffers={"global_mean": 8.0, "global_invstd": 0.3},
    )


CASES = {"images": case(Model, "image"), "sounds": case(Model, "audio")}

"""Phi 4 multimodal as the hub has it: its names, its config.json, adapters for prompts with images or sounds."""

from collections.abc import Mapping
from typing import Any

from mistralrs.models.phi4_multimodal import EXTEND, Phi4Multimodal
from mistralrs.nn.adapter import Adapter
from mistralrs.nn.checkpoint import Lazy, rename
from mistralrs.nn.decoder import Settings

NAMES = {  # of the hub -> those of transformers
    r"\.base_layer\.": ".",
    r"\.lora_([AB])\.(\w+)\.weight$": r".adapters.\2.lora_\1",
    r"image_embed\.img_projection\.0\.": "image_embed.img_projection_up.",
    r"image_embed\.img_projection\.2\.": "image_embed.img_projection_down.",
    r"image_embed\.sub_GN$": "image_embed.sub_img_feature_extensor",
    r"image_embed\.glb_GN$": "image_embed.global_img_feature_extensor",
    r"audio_projection\.(speech|vision)\.0\.": r"up_proj_for_\1.",
    r"audio_projection\.(speech|vision)\.2\.": r"down_proj_for_\1.",
    r"_proj_for_vision\.": "_proj_for_vision_speech.",
    r"(feed_forward_\w+)\.net\.0\.linear\.": r"\1.gate_up_proj.",
    r"(feed_forward_\w+)\.net\.2\.": r"\1.down_proj.",
    EXTEND + r"(.*)self_attn\.linear_([qkv])\.": r"model.embed_tokens_extend.\1self_attn.\2_proj.",
    EXTEND + r"(.*)self_attn\.linear_out\.": r"model.embed_tokens_extend.\1self_attn.o_proj.",
}
KEYS = {  # of audio_processor.config -> those of transformers' audio_config
    "attention_dim": "hidden_size",
    "attention_heads": "num_attention_heads",
    "linear_units": "intermediate_size",
    "depthwise_seperable_out_channel": "depthwise_separable_out_channel",
}


class Phi4MM(Phi4Multimodal):
    @classmethod
    def spelled(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        own = (raw.get("audio_processor") or {}).get("config") or {}
        audio = {KEYS.get(key, key): value for key, value in own.items()}
        if settings := own.get("nemo_conv_settings"):
            audio["nemo_conv_channels"] = settings["conv_channels"]
        if settings := own.get("relative_attention_bias_args"):
            audio["bias_max_distance"] = settings["t5_bias_max_distance"]
        layers = raw.get("embd_layer") or {}
        images = layers.get("image_embd_layer") or {}
        vision = {"crop_size": images["crop_size"]} if "crop_size" in images else {}
        return {
            **raw,
            "audio_config": audio,
            "vision_config": {**vision, **(raw.get("vision_config") or {})},
        }

    @classmethod
    def adapters(cls, cfg: Settings) -> Mapping[str, Adapter]:
        given = {"vision": cfg.get("vision_lora"), "speech": cfg.get("speech_lora")}
        return {
            name: Adapter(own.r, own.lora_alpha / own.r, r"\.layers\.\d+\.(self_attn|mlp)\.\w+$")
            for name, own in given.items()
            if own
        }

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        return super().checkpoint(cfg, rename(tensors, NAMES))

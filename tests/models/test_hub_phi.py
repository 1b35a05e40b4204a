"""The Phi families at the sizes of the hub, whose code transformers does not have: names and shapes of all tensors."""

import pytest
import torch
import transformers as hf

from mistralrs.load.build import draw
from mistralrs.load.plan import Wish
from mistralrs.nn.checkpoint import Lazy
from tests.models.media import phi4_multimodal

PHI3 = dict(
    hidden_size=3072, intermediate_size=8192, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32,
    vocab_size=32064, max_position_embeddings=131072, original_max_position_embeddings=4096, rms_norm_eps=1e-5,
    hidden_act="silu", tie_word_embeddings=False, sliding_window=131072,
)  # fmt: skip
PHI4 = PHI3 | dict(
    num_attention_heads=24, num_key_value_heads=8, vocab_size=200064, partial_rotary_factor=0.75,
    tie_word_embeddings=True, sliding_window=262144,
)  # fmt: skip
CONFIGS = {
    "Phi-3.5-vision-instruct": dict(
        PHI3, architectures=["Phi3VForCausalLM"], model_type="phi3_v", rope_theta=10000.0,
        rope_scaling=dict(type="su", short_factor=[1.0] * 48, long_factor=[2.0] * 48),
        img_processor=dict(
            image_dim_out=1024, model_name="openai/clip-vit-large-patch14-336", name="clip_vision_model",
            num_img_tokens=144,
        ),
        embd_layer=dict(hd_transform_order="sub_glb", projection_cls="mlp", use_hd_transform=True),
    ),
    "Phi-4-multimodal-instruct": dict(
        PHI4, architectures=["Phi4MMForCausalLM"], model_type="phi4mm", rope_theta=10000.0, img_processor=None,
        rope_scaling=dict(type="longrope", short_factor=[1.0] * 48, long_factor=[2.0] * 48),
        vision_lora=dict(dp=0.0, lora_alpha=512, r=256, layer="layers.*"),
        speech_lora=dict(dp=0.01, lora_alpha=640, r=320, layer="layers.*"),
        embd_layer=dict(
            embedding_cls="image_audio", image_embd_layer=dict(crop_size=448, hd_transform_order="sub_glb"),
            audio_embd_layer=dict(compression_rate=8, downsample_rate=1),
        ),
        audio_processor=dict(
            name="cascades",
            config=dict(
                activation="swish", attention_dim=1024, attention_heads=16, chunk_size=-1, conv_activation="swish",
                conv_glu_type="swish", depthwise_multiplier=1, depthwise_seperable_out_channel=1024,
                ext_pw_out_channel=1024, input_size=80, kernel_size=3, left_chunk=18, linear_units=1536,
                nemo_conv_settings=dict(conv_channels=1024), num_blocks=24, time_reduction=8,
                relative_attention_bias_args=dict(t5_bias_max_distance=500, type="t5"),
            ),
        ),
    ),
}  # fmt: skip


def phi3_tensors() -> dict[str, torch.Tensor]:
    """Transformers' parts under the hub's names."""
    text = hf.Phi3ForCausalLM(hf.Phi3Config(**PHI3, pad_token_id=0)).state_dict()
    clip = dict(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336,
        patch_size=14,
    )  # fmt: skip
    tower = hf.CLIPVisionModel(hf.CLIPVisionConfig(**clip)).state_dict()
    inside = "model.vision_embed_tokens."
    named = {
        f"{inside}img_processor.vision_model.{k.removeprefix('vision_model.')}": t
        for k, t in tower.items()
    }
    ends = {"glb_GN": (1, 1, 4096), "sub_GN": (1, 1, 1, 4096)}
    layers = {
        "0.weight": (3072, 4096),
        "0.bias": (3072,),
        "2.weight": (3072, 3072),
        "2.bias": (3072,),
    }
    shapes = (
        ends | {f"img_projection.{k}": v for k, v in layers.items()} | {"wte.weight": (32064, 3072)}
    )
    return text | named | {inside + k: torch.empty(v) for k, v in shapes.items()}


def phi4_tensors() -> dict[str, torch.Tensor]:
    """Transformers' model under the hub's names, and the adapters."""
    audio = dict(bias_max_distance=500)
    config = hf.Phi4MultimodalConfig(**PHI4, audio_config=audio, vision_config={})
    theirs = hf.Phi4MultimodalForCausalLM(config)
    tensors = {phi4_multimodal.hub_name(k): t for k, t in theirs.state_dict().items()}
    for name, layer in theirs.model.layers.named_modules():
        if isinstance(layer, torch.nn.Linear):
            for mode, rank in (("vision", 256), ("speech", 320)):
                tensors[f"model.layers.{name}.lora_A.{mode}.weight"] = torch.empty(
                    rank, layer.in_features
                )
                tensors[f"model.layers.{name}.lora_B.{mode}.weight"] = torch.empty(
                    layer.out_features, rank
                )
    tensors.pop("lm_head.weight")
    return tensors


@pytest.mark.parametrize(
    ("name", "make"), list(zip(CONFIGS, (phi3_tensors, phi4_tensors))), ids=CONFIGS
)
def test_every_tensor_has_its_place(name, make):
    with torch.device("meta"):
        stored = {k: Lazy.of(t) for k, t in make().items()}
    drawn = draw(CONFIGS[name], Wish(media=True))
    encoder, text = drawn.model.encoder, type(drawn.model)
    named = type(encoder).checkpoint(drawn.reader, stored)
    apart = {k: t for k, t in named.items() if k.startswith("encoder.")}
    spoken = text.checkpoint(drawn.cfg, {k: t for k, t in named.items() if k not in apart})
    declared = {k: tuple(p.shape) for k, p in drawn.model.named_parameters()}
    if drawn.cfg.tie_word_embeddings:
        declared.pop("lm_head.weight")
    assert declared == {k: t.shape for k, t in (spoken | apart).items()}

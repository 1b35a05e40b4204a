"""config.json as hubs have it, most keys left out: the declared tensors are those of transformers, name by name."""

import pytest
import torch
import transformers

from mistralrs import models
from mistralrs.load.build import media_config, text_key
from mistralrs.load.config import Config, architecture_of
from mistralrs.nn.checkpoint import Lazy
from tests.models import timm_tower

CLIP = dict(
    hidden_size=1024, image_size=336, intermediate_size=4096, model_type="clip_vision_model", num_attention_heads=16,
    num_hidden_layers=24, patch_size=14, projection_dim=768, vocab_size=32000,
)  # fmt: skip
QWEN = dict(
    vocab_size=151936, hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12,
    num_key_value_heads=2, hidden_act="silu", rms_norm_eps=1e-6, rope_theta=1e6, max_position_embeddings=32768,
    max_window_layers=28, use_sliding_window=False, sliding_window=32768, tie_word_embeddings=True,
    rope_scaling={"type": "mrope", "mrope_section": [16, 24, 24]}, image_token_id=151655,
)  # fmt: skip
QWEN3 = dict(
    vocab_size=151936, num_attention_heads=32, head_dim=128, rope_theta=5e6, max_position_embeddings=262144,
    rope_scaling={"rope_type": "default", "mrope_interleaved": True, "mrope_section": [24, 20, 20]},
)  # fmt: skip

HUB = {
    "llava-1.5-7b-hf": dict(
        architectures=["LlavaForConditionalGeneration"], model_type="llava", image_token_index=32000,
        projector_hidden_act="gelu", vision_feature_layer=-2, vision_feature_select_strategy="default",
        text_config=dict(
            model_type="llama", max_position_embeddings=4096, rms_norm_eps=1e-5, vocab_size=32064,
            architectures=["LlamaForCausalLM"],
        ),
        tie_word_embeddings=False, torch_dtype="float16", vision_config=CLIP,
    ),
    "llava-v1.6-mistral-7b-hf": dict(
        architectures=["LlavaNextForConditionalGeneration"], model_type="llava_next",
        image_grid_pinpoints=[[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
        text_config=dict(
            model_type="mistral", intermediate_size=14336, max_position_embeddings=32768, num_key_value_heads=8,
            rms_norm_eps=1e-5, rope_theta=1000000.0, sliding_window=None, vocab_size=32064,
        ),
        tie_word_embeddings=False, vision_config=CLIP,
    ),
    "gemma-3-4b-it": dict(
        architectures=["Gemma3ForConditionalGeneration"], model_type="gemma3", boi_token_index=255999,
        eoi_token_index=256000, eos_token_id=[1, 106], image_token_index=262144, mm_tokens_per_image=256,
        text_config=dict(
            hidden_size=2560, intermediate_size=10240, model_type="gemma3_text", num_hidden_layers=34,
            rope_scaling={"factor": 8.0, "rope_type": "linear"}, sliding_window=1024,
        ),
        vision_config=dict(
            hidden_size=1152, image_size=896, intermediate_size=4304, model_type="siglip_vision_model",
            num_attention_heads=16, num_hidden_layers=27, patch_size=14, vision_use_head=False,
        ),
    ),
    "Qwen2-VL-2B-Instruct": dict(
        architectures=["Qwen2VLForConditionalGeneration"], model_type="qwen2_vl", **QWEN,
        vision_config=dict(
            depth=32, embed_dim=1280, mlp_ratio=4, num_heads=16, in_chans=3, hidden_size=1536, patch_size=14,
            spatial_merge_size=2, spatial_patch_size=14, temporal_patch_size=2,
        ),
    ),
    "Qwen2.5-VL-3B-Instruct": dict(
        architectures=["Qwen2_5_VLForConditionalGeneration"], model_type="qwen2_5_vl",
        **QWEN | dict(hidden_size=2048, intermediate_size=11008, num_hidden_layers=36, num_attention_heads=16),
        vision_config=dict(
            depth=32, hidden_act="silu", hidden_size=1280, intermediate_size=3420, num_heads=16, in_chans=3,
            out_hidden_size=2048, patch_size=14, spatial_merge_size=2, spatial_patch_size=14, window_size=112,
            fullatt_block_indexes=[7, 15, 23, 31], tokens_per_second=2, temporal_patch_size=2,
        ),
    ),
    "Qwen3-VL-4B-Instruct": dict(
        architectures=["Qwen3VLForConditionalGeneration"], model_type="qwen3_vl", image_token_id=151655,
        text_config=QWEN3 | dict(
            model_type="qwen3_vl_text", hidden_size=2560, intermediate_size=9728, num_hidden_layers=36,
            num_key_value_heads=8, tie_word_embeddings=True,
        ),
        tie_word_embeddings=True,
        vision_config=dict(
            model_type="qwen3_vl", depth=24, hidden_size=1024, intermediate_size=4096, out_hidden_size=2560,
            deepstack_visual_indexes=[5, 11, 17],
        ),
    ),
    "Qwen3-VL-30B-A3B-Instruct": dict(
        architectures=["Qwen3VLMoeForConditionalGeneration"], model_type="qwen3_vl_moe", image_token_id=151655,
        text_config=QWEN3 | dict(
            model_type="qwen3_vl_moe_text", hidden_size=2048, intermediate_size=6144, num_hidden_layers=48,
            num_key_value_heads=4, num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768,
        ),
        tie_word_embeddings=False,
        vision_config=dict(model_type="qwen3_vl_moe", out_hidden_size=2048),
    ),
    "SmolVLM-Instruct": dict(
        architectures=["Idefics3ForConditionalGeneration"], model_type="idefics3", image_token_id=49153,
        scale_factor=3, tie_word_embeddings=False,
        text_config=dict(
            model_type="llama", hidden_size=2048, intermediate_size=8192, num_attention_heads=32,
            num_hidden_layers=24, num_key_value_heads=32, max_position_embeddings=16384, rms_norm_eps=1e-5,
            rope_theta=273768.0, vocab_size=49155, tie_word_embeddings=False,
        ),
        vision_config=dict(
            model_type="idefics3", image_size=384, intermediate_size=4304, num_hidden_layers=27, patch_size=14,
        ),
    ),
    "SmolVLM2-500M-Video-Instruct": dict(
        architectures=["SmolVLMForConditionalGeneration"], model_type="smolvlm", image_token_id=49190,
        scale_factor=4, tie_word_embeddings=False,
        text_config=dict(
            model_type="llama", hidden_size=960, intermediate_size=2560, num_attention_heads=15,
            num_hidden_layers=32, num_key_value_heads=5, max_position_embeddings=8192, rope_theta=100000,
            vocab_size=49280, head_dim=64,
        ),
        vision_config=dict(
            model_type="smolvlm_vision", hidden_size=768, image_size=512, intermediate_size=3072,
            num_attention_heads=12, num_hidden_layers=12, patch_size=16,
        ),
    ),
    "idefics2-8b": dict(
        architectures=["Idefics2ForConditionalGeneration"], model_type="idefics2", image_token_id=32001,
        perceiver_config={"model_type": "idefics2"}, tie_word_embeddings=False,
        text_config=dict(
            model_type="mistral", max_position_embeddings=32768, pad_token_id=0, rms_norm_eps=1e-05,
            vocab_size=32003, tie_word_embeddings=False,
        ),
        vision_config=dict(
            model_type="idefics2", hidden_size=1152, image_size=980, intermediate_size=4304,
            num_attention_heads=16, num_hidden_layers=27, patch_size=14,
        ),
    ),
    "Llama-4-Scout-17B-16E-Instruct": dict(
        architectures=["Llama4ForConditionalGeneration"], model_type="llama4", boi_token_index=200080,
        eoi_token_index=200081, image_token_index=200092,
        text_config=dict(
            model_type="llama4_text", attention_chunk_size=8192, attn_scale=0.1, attn_temperature_tuning=True,
            floor_scale=8192, head_dim=128, hidden_size=5120, interleave_moe_layer_step=1, intermediate_size=8192,
            intermediate_size_mlp=16384, max_position_embeddings=10485760, no_rope_layers=[],
            num_attention_heads=40, num_experts_per_tok=1, num_hidden_layers=48, num_key_value_heads=8,
            num_local_experts=16, rms_norm_eps=1e-05, rope_theta=500000.0, use_qk_norm=True, vocab_size=202048,
            rope_scaling=dict(
                factor=16.0, high_freq_factor=1.0, low_freq_factor=1.0, original_max_position_embeddings=8192,
                rope_type="llama3",
            ),
        ),
        vision_config=dict(
            model_type="llama4_vision_model", hidden_size=1408, image_size=336, intermediate_size=5632,
            num_attention_heads=16, num_hidden_layers=34, patch_size=14, pixel_shuffle_ratio=0.5,
            projector_input_dim=4096, projector_output_dim=4096, rope_theta=10000, vision_output_dim=4096,
        ),
    ),
    "Llama-3.2-11B-Vision-Instruct": dict(
        architectures=["MllamaForConditionalGeneration"], model_type="mllama", image_token_index=128256,
        text_config=dict(
            model_type="mllama_text_model", rms_norm_eps=1e-05, rope_theta=500000.0,
            rope_scaling=dict(
                factor=8.0, high_freq_factor=4.0, low_freq_factor=1.0, original_max_position_embeddings=8192,
                rope_type="llama3",
            ),
        ),
        vision_config=dict(model_type="mllama_vision_model", image_size=560),
    ),
    "Mistral-Small-3.1-24B-Instruct-2503": dict(
        architectures=["Mistral3ForConditionalGeneration"], model_type="mistral3", image_token_index=10,
        multimodal_projector_bias=False, projector_hidden_act="gelu", spatial_merge_size=2, vision_feature_layer=-1,
        text_config=dict(
            model_type="mistral", hidden_size=5120, intermediate_size=32768, num_attention_heads=32, head_dim=128,
            num_hidden_layers=40, num_key_value_heads=8, max_position_embeddings=131072, rms_norm_eps=1e-5,
            rope_theta=1000000000.0, sliding_window=None, vocab_size=131072, hidden_act="silu",
        ),
        tie_word_embeddings=False,
        vision_config=dict(
            model_type="pixtral", hidden_size=1024, intermediate_size=4096, num_attention_heads=16, head_dim=64,
            num_hidden_layers=24, image_size=1540, patch_size=14, rope_theta=10000.0, hidden_act="silu",
        ),
    ),
    "LFM2-VL-1.6B": dict(
        architectures=["Lfm2VlForConditionalGeneration"], model_type="lfm2_vl", downsample_factor=2,
        image_token_id=396, projector_bias=True, projector_hidden_act="gelu", projector_hidden_size=2560,
        text_config=dict(
            model_type="lfm2", hidden_size=2048, block_ff_dim=12288, intermediate_size=12288, num_hidden_layers=16,
            num_attention_heads=32, num_key_value_heads=8, vocab_size=65536, full_attn_idxs=[2, 5, 8, 10, 12, 14],
            max_position_embeddings=128000, rope_theta=1000000.0, block_multiple_of=256,
        ),
        vision_config=dict(
            model_type="siglip2_vision_model", hidden_size=1152, intermediate_size=4304, num_hidden_layers=26,
            num_attention_heads=16, vision_use_head=False,
        ),
    ),
    "Qwen3.5-27B": dict(
        architectures=["Qwen3_5ForConditionalGeneration"], model_type="qwen3_5", image_token_id=248056,
        text_config=dict(
            model_type="qwen3_5_text", hidden_size=5120, intermediate_size=17408, num_attention_heads=24,
            num_hidden_layers=8, linear_num_value_heads=48, full_attention_interval=4,
            rope_parameters=dict(
                rope_type="default", rope_theta=10000000, partial_rotary_factor=0.25, mrope_interleaved=True,
                mrope_section=[11, 11, 10],
            ),
        ),
        vision_config=dict(model_type="qwen3_5", out_hidden_size=5120),
    ),
    "Qwen3.5-35B-A3B": dict(
        architectures=["Qwen3_5MoeForConditionalGeneration"], model_type="qwen3_5_moe", image_token_id=248056,
        text_config=dict(model_type="qwen3_5_moe_text", num_hidden_layers=4),
        vision_config=dict(model_type="qwen3_5_moe", out_hidden_size=2048),
    ),
    "gemma-4-26B-A4B-it": dict(
        architectures=["Gemma4ForConditionalGeneration"], model_type="gemma4", image_token_id=258880,
        audio_config=None,
        text_config=dict(
            model_type="gemma4_text", hidden_size=2816, intermediate_size=2112, num_hidden_layers=6,
            num_attention_heads=16, num_key_value_heads=8, num_global_key_value_heads=2, global_head_dim=512,
            attention_k_eq_v=True, enable_moe_block=True, num_experts=8, top_k_experts=8, moe_intermediate_size=704,
            hidden_size_per_layer_input=0, sliding_window=1024, use_bidirectional_attention="vision",
            final_logit_softcapping=30.0,
        ),
        vision_config=dict(
            model_type="gemma4_vision", hidden_size=1152, intermediate_size=4304, num_hidden_layers=2, head_dim=72,
            num_attention_heads=16, num_key_value_heads=16, standardize=True,
        ),
    ),
    "gemma-4-E2B-it": dict(
        architectures=["Gemma4ForConditionalGeneration"], model_type="gemma4",
        audio_config=dict(model_type="gemma4_audio", num_hidden_layers=2),
        text_config=dict(
            model_type="gemma4_text", hidden_size=1536, intermediate_size=6144, num_hidden_layers=10,
            num_attention_heads=8, num_key_value_heads=1, num_kv_shared_layers=5, use_double_wide_mlp=True,
            layer_types=["sliding_attention"] * 4 + ["full_attention"] + ["sliding_attention"] * 4 + ["full_attention"],
        ),
        vision_config=dict(model_type="gemma4_vision", num_hidden_layers=2),
    ),
    "gemma-3n-E2B-it": dict(
        architectures=["Gemma3nForConditionalGeneration"], model_type="gemma3n",
        audio_config=dict(model_type="gemma3n_audio", conf_num_hidden_layers=2),
        text_config=dict(
            model_type="gemma3n_text", num_hidden_layers=10, num_kv_shared_layers=5, intermediate_size=[8192] * 10,
            rope_theta=1e6, rope_local_base_freq=1e4, rope_scaling=None, activation_sparsity_pattern=[0.95] * 10,
        ),
        vision_config=dict(model_type="gemma3n_vision", architecture="mobilenetv5_300m_enc", label_names=["a", "b"]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HUB)
def test_tensors(name):
    raw = HUB[name]
    key = architecture_of(raw, models.SOURCES)
    encoder = models.encoder(key)
    reader = media_config(raw, encoder)
    text = models.find(text_key(key, raw, encoder))
    if raw["model_type"] == "gemma3n":
        timm_tower.install()
    with torch.device("meta"):
        theirs = getattr(transformers, raw["architectures"][0])(
            transformers.AutoConfig.for_model(raw["model_type"]).from_dict(raw)
        )
    model = text(Config(reader.text.raw, text.defaults))
    model.encoder = encoder(reader)
    stored = {k: Lazy.of(t) for k, t in theirs.state_dict().items()}
    stored = encoder.checkpoint(reader, stored)
    apart = {k: t for k, t in stored.items() if k.startswith("encoder.")}
    spoken = text.checkpoint(model.cfg, {k: t for k, t in stored.items() if k not in apart})
    wanted = {k: t.shape for k, t in (spoken | apart).items()}
    declared = {k: tuple(p.shape) for k, p in model.named_parameters()}
    if model.cfg.tie_word_embeddings:
        wanted.pop("lm_head.weight", None)
        declared.pop("lm_head.weight")
    assert model.cfg.tie_word_embeddings == getattr(theirs.config, "tie_word_embeddings", False)
    assert declared == wanted

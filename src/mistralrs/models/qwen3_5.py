"""Qwen 3.5: the eyes of Qwen 3 VL, without deepstack, on a text model of delta nets and gated attention."""

from collections.abc import Mapping
from typing import Any, ClassVar

from mistralrs.models import qwen3_vl

TEXT = dict(
    vocab_size=248320, hidden_size=4096, intermediate_size=12288, num_hidden_layers=32, num_attention_heads=16,
    num_key_value_heads=4, head_dim=256, hidden_act="silu", max_position_embeddings=32768, rms_norm_eps=1e-6,
    linear_conv_kernel_dim=4, linear_key_head_dim=128, linear_value_head_dim=128, linear_num_key_heads=16,
    linear_num_value_heads=32, tie_word_embeddings=False,
)  # fmt: skip
VISION: Mapping[str, Any] = qwen3_vl.Qwen3VL.defaults["vision_config"]


class Qwen3_5VL(qwen3_vl.Qwen3VL):
    text = "qwen3_5_text"
    defaults: ClassVar[Mapping[str, Any]] = dict(
        vision_config={**VISION, "deepstack_visual_indexes": ()}
    )
    text_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"qwen3_5_text": TEXT}

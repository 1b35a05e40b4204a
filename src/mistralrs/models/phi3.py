"""Phi 3, 3.5 and 4: Mistral from fused matrices; long contexts by LongRoPE."""

from mistralrs.models import mistral
from mistralrs.nn.checkpoint import Tensors, split
from mistralrs.nn.decoder import Decoder, Settings


class Phi3(Decoder):
    Block = mistral.Block
    defaults = dict(mistral.Mistral.defaults, rms_norm_eps=1e-5)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: Tensors) -> Tensors:
        q, kv = cfg.num_attention_heads * cfg.head_dim, cfg.num_key_value_heads * cfg.head_dim
        width = cfg.intermediate_size
        fused = {
            "qkv_proj": {"q_proj": q, "k_proj": kv, "v_proj": kv},
            "gate_up_proj": {"gate_proj": width, "up_proj": width},
        }
        return split(tensors, fused)

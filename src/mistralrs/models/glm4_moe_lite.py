"""GLM 4.7 Flash: DeepSeek V3 with one group of experts, its dense layers in `mlp_layer_types`."""

from torch import nn

from mistralrs.models import deepseek_v2, deepseek_v3
from mistralrs.nn.decoder import Settings
from mistralrs.nn.mlp import GatedMLP


class Block(deepseek_v3.Block):
    """A DeepSeek V3 block; the list of kinds goes before the number of dense layers."""

    def feed_forward(self, cfg: Settings, layer: int) -> nn.Module:
        kinds = cfg.get("mlp_layer_types")
        if kinds is None:
            return super().feed_forward(cfg, layer)
        if kinds[layer] == "sparse":
            return deepseek_v3.MoE(cfg)
        return GatedMLP(cfg.hidden_size, cfg.intermediate_size, cfg.hidden_act)


class Glm4MoeLite(deepseek_v3.DeepseekV3):
    Block = Block
    defaults = dict(
        deepseek_v3.DeepseekV3.defaults,
        first_k_dense_replace=1,
        n_group=1,
        rms_norm_eps=1e-5,
        topk_group=1,
    )

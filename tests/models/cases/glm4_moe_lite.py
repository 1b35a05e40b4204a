"""GLM 4.7 Flash: latent attention and the experts of DeepSeek V3."""

from tests.models.case import Case
from tests.models.cases.deepseek_v2 import MLA
from tests.models.cases.glm4_moe import EXPERTS

ONE = {k: v for k, v in (MLA | EXPERTS).items() if k != "first_k_dense_replace"}

CASES = {
    "": Case("Glm4MoeLite", ONE | dict(qk_nope_head_dim=24, v_head_dim=32)),
    "dense layers between, tied": Case(
        "Glm4MoeLite",
        ONE
        | dict(
            mlp_layer_types=["sparse", "dense", "sparse", "dense"], tie_word_embeddings=True
        ),
    ),
}

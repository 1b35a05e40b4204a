"""What a row of the parity table says."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

SIZES = dict(
    vocab_size=99,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    tie_word_embeddings=False,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)


@dataclass(frozen=True)
class Case:
    """A tiny model: its class in transformers and how its config differs from SIZES."""

    prefix: str  # of the Config and ForCausalLM classes
    settings: dict[str, Any] = field(default_factory=dict)
    config: str = ""  # prefix of the Config class where it is another
    norm: float = 1.0  # what norm weights scatter around; 0 where the model adds 1

    @property
    def sizes(self) -> dict[str, Any]:
        """Arguments of the Config class."""
        return SIZES | self.settings

    def fill(self, name: str, noise: Tensor) -> Tensor:
        """The value of a parameter, from normal noise of its shape."""
        return noise * 0.2 + (self.norm if "norm" in name and noise.dim() == 1 else 0.0)

    def is_weight(self, buffer: str) -> bool:
        """Whether a buffer is part of the checkpoint and must be filled too."""
        return "e_score_correction_bias" in buffer or "expert_bias" in buffer


def rope(kind: str, **spec: Any) -> dict[str, Any]:
    """Rope settings in the spelling of transformers 5."""
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=10000.0, **spec))


LLAMA3 = dict(
    factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32
)
YARN = dict(factor=4.0, original_max_position_embeddings=32)

"""AnyMoE: a mixture of experts made from models that already exist."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from mistralrs.api import check
from mistralrs.api.strict import strict
from mistralrs.api.variant import Family, publish


class AnyMoeExpertType(Family):
    """What the experts are: whole fine-tuned models, or LoRA adapters of the base model."""

    FineTuned: TypeAlias = "AnyMoeFineTuned"
    LoraAdapter: TypeAlias = "AnyMoeLoraAdapter"


@strict
@dataclass(frozen=True)
class AnyMoeFineTuned(AnyMoeExpertType):
    """Every expert is a fine-tuned copy of the base model's layer."""

    __qualname__ = "AnyMoeExpertType.FineTuned"


@strict
@dataclass(frozen=True)
class AnyMoeLoraAdapter(AnyMoeExpertType):
    """Every expert is the base model's layer plus a LoRA adapter."""

    __qualname__ = "AnyMoeExpertType.LoraAdapter"

    rank: int
    alpha: float
    target_modules: Sequence[str]

    def __post_init__(self) -> None:
        check.apply(self, _LORA)


publish(AnyMoeExpertType)

_LORA: dict[str, check.Check] = {
    "rank": check.count(1),
    "alpha": check.number(above=0),
    "target_modules": check.frozen(check.names),
}


@strict
@dataclass(frozen=True)
class AnyMoeConfig:
    """The experts, and how the gate between them is trained or where it is loaded from."""

    hidden_size: int
    dataset_json: str
    prefix: str  # of the layers, for example model.layers
    mlp: str  # name of the feed-forward part of a layer, for example mlp
    model_ids: Sequence[str]
    expert_type: AnyMoeExpertType
    layers: Sequence[int] = field(default_factory=list)  # empty: all
    lr: float = 1e-3
    epochs: int = 100
    batch_size: int = 4
    gate_model_id: str | None = None
    training: bool = True
    loss_csv_path: str | None = None

    def __post_init__(self) -> None:
        check.apply(self, _ANYMOE)


_ANYMOE: dict[str, check.Check] = {
    "hidden_size": lambda where, v: check.count(1)(where, int(v) if str(v).isdecimal() else v),
    "dataset_json": check.path,
    "prefix": check.name,
    "mlp": check.name,
    "model_ids": check.filled(check.names),
    "expert_type": check.instance(AnyMoeExpertType),
    "layers": check.items(check.count(0)),
    "lr": check.number(above=0),
    "epochs": check.count(1),
    "batch_size": check.count(1),
    "gate_model_id": check.path,
    "training": check.flag,
    "loss_csv_path": check.path,
}

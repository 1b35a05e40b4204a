"""Tiny random-weight checkpoints written by transformers, which is the reference of the parity tests."""

import pkgutil
from importlib import import_module
from pathlib import Path

import torch
import transformers

from tests.models import cases
from tests.models.case import Case

# A new architecture adds a file to cases/.
CASES: dict[str, Case] = {
    f"{module.name} {name}".strip(): case
    for module in pkgutil.iter_modules(cases.__path__)
    for name, case in import_module(f"{cases.__name__}.{module.name}").CASES.items()
}


def reference(case: str) -> transformers.PreTrainedModel:
    """The transformers model of a case, with every weight, norm and bias away from its initial value."""
    one = CASES[case]
    config = getattr(transformers, f"{one.config or one.prefix}Config")(**one.sizes)
    config._attn_implementation = "eager"
    model = getattr(transformers, f"{one.prefix}ForCausalLM")(config).eval().float()
    generator = torch.Generator().manual_seed(1)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if isinstance(tensor, torch.nn.Parameter) or one.is_weight(name):
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.data = one.fill(name, noise).to(tensor.dtype)
    return model


def logits(case: str, tokens: list[int], stored: torch.dtype = torch.float32) -> torch.Tensor:
    """The reference's logits [T, V] with weights rounded to `stored`.

    They are from a fresh model, since dynamic rope there remembers longer inputs.
    """
    model = reference(case)
    for parameter in model.parameters():
        parameter.data = parameter.to(stored).float()
    with torch.inference_mode():
        return model(torch.tensor([tokens])).logits[0]


def save(model: transformers.PreTrainedModel, folder: Path, **options) -> Path:
    """Write a checkpoint as transformers does."""
    model.save_pretrained(folder, **options)
    return folder

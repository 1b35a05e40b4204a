"""The same weights in the layouts of the hub: the logits must not differ in a single bit."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mistralrs.quant import mxfp4
from tests.models import tiny
from tests.models.test_parity import A, Turn, load

Weights = dict[str, torch.Tensor]
Settings = dict[str, Any]
Files = tuple[Weights, Settings]  # model.safetensors and config.json
MIXTRAL = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}


def fused(weights: Weights, config: Settings) -> tuple[Files, Files]:
    """Experts one by one, and as the stacks [E, 2F, D] and [E, D, F] that transformers 5 works with."""
    stacks: dict[str, list[torch.Tensor]] = {}
    for name in sorted((n for n in weights if ".experts." in n), key=number):
        block, rest = name.split(".experts.")
        leaf = rest.split(".")[1]
        stacks.setdefault(f"{block}.experts.{MIXTRAL.get(leaf, leaf)}", []).append(weights[name])
    joined = {n: t for n, t in weights.items() if ".experts." not in n}
    for name in [n for n in stacks if n.endswith("gate_proj")]:
        prefix = name.removesuffix("gate_proj")
        gate, up, down = (torch.stack(stacks[f"{prefix}{n}_proj"]) for n in ("gate", "up", "down"))
        joined[f"{prefix}gate_up_proj"] = torch.cat((gate, up), 1)
        joined[f"{prefix}down_proj"] = down
    return (weights, config), (joined, config)


def number(name: str) -> int:
    """The expert's number in a tensor's name."""
    return int(name.split(".experts.")[1].split(".")[0])


def packed(weights: Weights, config: Settings) -> tuple[Files, Files]:
    """gpt-oss with random MXFP4 experts, and the same numbers in the stacks of `save_pretrained`."""
    wide, narrow = dict(weights), dict(weights)
    noise = torch.Generator().manual_seed(2)
    stacks = ("experts.gate_up_proj", "experts.down_proj")
    for name in [n for n in weights if n.endswith(stacks)]:
        count, inputs, outputs = weights[name].shape
        shape = (count, outputs, inputs // 32)
        blocks = torch.randint(0, 256, (*shape, 16), generator=noise, dtype=torch.uint8)
        scales = torch.randint(122, 126, shape, generator=noise, dtype=torch.uint8)
        del narrow[name]
        narrow |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        wide[name] = mxfp4.packed(blocks, scales).dequantize().transpose(1, 2).contiguous()
    return (wide, config), (narrow, config)


def in_blocks(weights: Weights, config: Settings) -> tuple[Files, Files]:
    """Matrices of the layers in FP8 blocks, and the same numbers as floats."""
    wide, narrow = dict(weights), dict(weights)
    block = (48, 64)  # the last one of a row or column is incomplete
    noise = torch.Generator().manual_seed(3)
    for name, tensor in weights.items():
        if "layers" in name and name.endswith("proj.weight"):
            codes = (tensor * 64).to(torch.float8_e4m3fn)
            counts = [-(-size // step) for size, step in zip(tensor.shape, block, strict=True)]
            # Powers of two: what a model cuts across its rows is decoded to bfloat16, then exactly.
            scales = torch.exp2(torch.randint(-7, -4, counts, generator=noise).float())
            narrow |= {name: codes, f"{name}_scale_inv": scales}
            spread = scales.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
            wide[name] = codes.float() * spread[: tensor.shape[0], : tensor.shape[1]]
    quantization = dict(quant_method="fp8", weight_block_size=list(block))
    return (wide, config), (narrow, config | {"quantization_config": quantization})


LAYOUTS: dict[str, tuple[str, Callable[[Weights, Settings], tuple[Files, Files]]]] = {
    "fused mixtral": ("mixtral", fused),
    "fused qwen3_moe": ("qwen3_moe", fused),
    "fused deepseek_v2": ("deepseek_v2 lite", fused),
    "mxfp4 gpt_oss": ("gpt_oss", packed),
    "fp8 deepseek_v3": ("deepseek_v3", in_blocks),
    "fp8 qwen3": ("qwen3", in_blocks),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout(layout, tmp_path):
    case, rewrite = LAYOUTS[layout]
    folder = tiny.save(tiny.reference(case), tmp_path / "saved")
    config = json.loads((folder / "config.json").read_text())
    found = []
    for index, (weights, settings) in enumerate(
        rewrite(load_file(folder / "model.safetensors"), config)
    ):
        here = tmp_path / str(index)
        here.mkdir()
        (here / "config.json").write_text(json.dumps(settings))
        save_file(weights, here / "model.safetensors")
        driver = load(here)
        found.append(driver.step([Turn(driver.start(A), len(A))])[0])
    assert torch.isfinite(found[0]).all()
    assert torch.equal(*found)

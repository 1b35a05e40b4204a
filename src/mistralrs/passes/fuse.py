"""Layers of a known pattern as one native call: the same kernels in the same order, without Python between them.

`fuse` changes no module. It returns a copy of the model's frame whose layers are one `Layers`; what is no known pattern
runs as it did, and so does everything where the compiled kernels do not apply. Results are the same bit for bit.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import Tensor, nn

from mistralrs.kernels import plan as plans
from mistralrs.kernels.affine import row_bytes
from mistralrs.kernels.glu import NUMBERS
from mistralrs.kernels.plan import INPUT, Plan, Room, Rule, Unsuited
from mistralrs.models import gemma2, glm4, llama
from mistralrs.nn.attention import Attention
from mistralrs.nn.batch import Batch
from mistralrs.nn.decoder import Decoder, Trunk
from mistralrs.nn.linear import Linear
from mistralrs.nn.mlp import GatedMLP
from mistralrs.nn.norm import LayerNorm, RMSNorm
from mistralrs.nn.rope import Rope
from mistralrs.quant.affine import Affine
from mistralrs.quant.plain import Plain
from mistralrs.quant.weight import Weight


def fuse(model: Decoder) -> Decoder:
    """The model with its layers fused, as far as they can be. It shares every module and tensor with `model`."""
    if type(model).states is not Decoder.states:
        return model
    fused, trunk = copy.copy(model), model.model
    fused._modules = dict(model._modules)
    fused.model = Trunk(trunk.embed_tokens, [Layers(list(trunk.layers))], trunk.norm)
    return fused


def forget(model: Decoder) -> None:
    """Let go of the weights that a fused model refers to, before they are replaced one by one."""
    for layers in model.model.layers:
        if isinstance(layers, Layers):
            layers.parts, layers.weights = [], []


class Layers(nn.Module):
    """All layers of a model, the fused ones in runs. Weights may be replaced; the next step sees the new ones."""

    def __init__(self, layers: list[nn.Module]):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.linears = [m for m in self.modules() if isinstance(m, Linear)]
        self.weights: list[Weight] = []
        self.parts: list[Run | nn.Module] = []

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D]; x may be written to."""
        for part in self.chosen(x, batch):
            x = part(x, batch)
        return x

    def chosen(self, x: Tensor, batch: Batch) -> "list[Run | nn.Module]":
        """What to run: the layers one by one, where a plan does not do all they do."""
        if batch.joined or not plans.ready(x):
            return list(self.layers)
        weights = [m.weight for m in self.linears]
        if weights != self.weights or not self.parts:  # compares identities
            self.weights, self.parts = weights, list(runs(self.layers))
        return self.parts


@dataclass
class Run:
    """Layers one behind the other as one plan."""

    plan: Plan = field(default_factory=Plan)
    ropes: list[Rope] = field(default_factory=list)  # each kind of angles once

    def __call__(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D], in place."""
        self.plan.run(x, batch, [rope.turns(batch) for rope in self.ropes])
        return x

    def number(self, rope: Rope) -> int:
        """Which of the angles are those of a rope."""
        keys = [known.key for known in self.ropes]
        if rope.key not in keys:
            self.ropes.append(rope)
            return len(keys)
        return keys.index(rope.key)


def runs(layers: nn.ModuleList) -> "Iterator[Run | nn.Module]":
    """The layers in order, those that can be fused in runs as long as possible."""
    run = None
    for layer in layers:
        try:
            run = run or Run()
            run.plan.extend(block(layer, run))
        except Unsuited:
            if run and run.plan.calls:
                yield finished(run)
            run = None
            yield layer
    if run:
        yield finished(run)


def finished(run: Run) -> Run:
    """The run, ready to be called."""
    run.plan.finish()
    return run


def block(layer: nn.Module, run: Run) -> Plan:
    """The plan of one layer; raises Unsuited if its pattern is not known."""
    names = BLOCKS.get(type(layer).forward)
    if names is None:
        raise Unsuited
    plan, parts = Plan(), layer._modules
    for before, module, after in names:
        residual(plan, parts[before], parts[module], parts[after] if after else None, run)
    return plan


# What the forward of a block computes: for each of its halves the norm before, the module, and the norm after it.
BLOCKS: dict[Callable[..., Tensor], tuple[tuple[str, str, str | None], ...]] = {
    llama.Block.forward: (
        ("input_layernorm", "self_attn", None),
        ("post_attention_layernorm", "mlp", None),
    ),
    gemma2.Block.forward: (
        ("input_layernorm", "self_attn", "post_attention_layernorm"),
        ("pre_feedforward_layernorm", "mlp", "post_feedforward_layernorm"),
    ),
    glm4.Block.forward: (
        ("input_layernorm", "self_attn", "post_self_attn_layernorm"),
        ("post_attention_layernorm", "mlp", "post_mlp_layernorm"),
    ),
}


def residual(
    plan: Plan,
    before: nn.Module | None,
    module: nn.Module | None,
    after: nn.Module | None,
    run: Run,
) -> None:
    """x + after(module(before(x)))."""
    room = Room()
    dim = len(known(before).weight)
    h = room.take(dim)
    norm(plan, before, INPUT, h)
    match module:
        case Attention() if type(module) is Attention:
            y = attention(plan, module, h, room, run)
        case GatedMLP() if type(module) is GatedMLP:
            y = gated(plan, module, h, room)
        case _:
            raise Unsuited
    if after is not None:
        norm(plan, after, y, y)
    plan.add(INPUT, y, dim)
    plan.size = max(plan.size, room.next)


def attention(plan: Plan, m: Attention, x: int, room: Room, run: Run) -> int:
    """Attention of the normed rows; the place of its output."""
    heads, groups = (p.weight.shape[0] // m.head_dim for p in (m.q_proj, m.k_proj))
    q, k, v = matmuls(plan, [m.q_proj, m.k_proj, m.v_proj], x, room)
    if m.q_norm is not None and m.k_norm is not None:
        norm(plan, m.q_norm, q, q, heads)
        norm(plan, m.k_norm, k, k, groups)
    if m.rope is not None:
        q, k = (turned(plan, m, at, n, room, run) for at, n in ((q, heads), (k, groups)))
    out = room.take(heads * m.head_dim)
    rule = Rule(**m.rule, sinks=m.sinks)
    plan.attend(q, k, v, out, heads, (m.cache.k, m.cache.v), rule)
    return matmuls(plan, [m.o_proj], out, room)[0]


def turned(plan: Plan, m: Attention, x: int, heads: int, room: Room, run: Run) -> int:
    """The place of the heads after rope."""
    assert m.rope is not None
    y = room.take(heads * m.head_dim)
    plan.rope(x, y, run.number(m.rope), heads, m.head_dim, m.rope.dim // 2, m.rope.interleaved)
    return y


def gated(plan: Plan, m: GatedMLP, x: int, room: Room) -> int:
    """The MLP of the normed rows; the place of its output."""
    if m.act not in NUMBERS:
        raise Unsuited
    gate, up = matmuls(plan, [m.gate_proj, m.up_proj], x, room)
    plan.glu(gate, up, gate, m.gate_proj.weight.shape[0], m.act)
    return matmuls(plan, [m.down_proj], gate, room)[0]


def matmuls(plan: Plan, linears: list[Linear], x: int, room: Room) -> list[int]:
    """The places of several products of the same rows, which are quantized at most once."""
    places, bytes = [], None
    for m in linears:
        weight = m.weight
        if type(m) is not Linear:
            raise Unsuited
        places.append(room.take(weight.shape[0]))
        if type(weight) is Plain:
            plan.linear(x, places[-1], weight.tensor, m.bias)
        elif type(weight) is Affine:
            if bytes is None:
                bytes = room.bytes(row_bytes(weight.shape[1]))
                plan.rows(x, bytes, weight.shape[1])
            plan.affine(bytes, places[-1], weight.tiles, m.bias)
        else:
            raise Unsuited
    return places


def norm(plan: Plan, m: nn.Module | None, x: int, y: int, heads: int = 1) -> None:
    """A norm of each of `heads` parts of a row."""
    m = known(m)
    if isinstance(m, LayerNorm):
        plan.norm(x, y, m.weight, m.bias, heads, m.eps, centered=True)
    else:
        plan.norm(x, y, m.weight, None, heads, m.eps, m.offset)


def known(m: nn.Module | None) -> RMSNorm | LayerNorm:
    """The module as a norm that there is a kernel for."""
    if type(m) is RMSNorm or type(m) is LayerNorm:
        return m
    raise Unsuited

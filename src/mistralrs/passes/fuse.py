"""Stages of a model as one native call: the same kernels in the same order, without Python between them.

`fuse` changes no module. What is no known pattern runs as it did, and so does everything where the compiled kernels do
not apply. Results are the same bit for bit.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mistralrs.kernels import plan as plans
from mistralrs.kernels.affine import row_bytes
from mistralrs.kernels.glu import NUMBERS
from mistralrs.kernels.plan import INPUT, OUTPUT, Angles, Plan, Room, Rule, Unsuited
from mistralrs.models import gemma2, glm4, llama
from mistralrs.nn.adapter import Adapted
from mistralrs.nn.attention import Attention
from mistralrs.nn.batch import Batch
from mistralrs.nn.decoder import Decoder
from mistralrs.nn.linear import Linear
from mistralrs.nn.mlp import GatedMLP
from mistralrs.nn.norm import LayerNorm, RMSNorm
from mistralrs.nn.rope import Rope
from mistralrs.quant.affine import Affine
from mistralrs.quant.plain import Plain


def fuse(model: Decoder) -> "Decoder | Fused":
    """The model with its stages fused, as far as they can be. It shares every module and tensor with `model`."""
    frame = type(model).forward, type(model).states
    return Fused(model) if frame == (Decoder.forward, Decoder.states) else model


def forget(model: "Decoder | Fused") -> None:
    """Let go of the weights that a fused model refers to. Who replaces weights calls it first."""
    if isinstance(model, Fused):
        model.parts = []


class Start:
    """The stage before the layers."""

    def __init__(self, model: Decoder):
        self.model = model

    def __call__(self, x: Tensor, batch: Batch) -> Tensor:
        """Anything -> what the first layer reads [T, D]."""
        return self.model.inputs(batch)


class End:
    """The stage behind the layers."""

    def __init__(self, model: Decoder):
        self.model = model

    def __call__(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> logits float32 [R, V]."""
        return self.model.head(self.model.ends(x, batch)).float()


Stage = Start | nn.Module | End
NOTHING = torch.empty(0)


class Fused:
    """A model as a row of stages, the fused ones in runs."""

    def __init__(self, model: Decoder):
        self.model = model
        self.stages: list[Stage] = [Start(model), *model.model.layers, End(model)]
        self.parts: list[Run | Stage] = []  # made from the weights as they are at the first step
        self.adapted = any(isinstance(m, Adapted) for m in model.modules())

    def __call__(self, batch: Batch) -> Tensor:
        """Logits float32 [R, V] of the rows in `batch.outputs`."""
        if batch.media or (self.adapted and batch.adapters):
            return self.model(batch)  # which knows the layers that take some of them
        x = NOTHING
        for part in self.chosen(batch):
            x = part(x, batch)
        return x

    def chosen(self, batch: Batch) -> "Iterable[Run | Stage]":
        """What to run: the stages one by one, where a plan does not do all they do."""
        if batch.joined or not plans.ready(batch, self.model.dtype):
            return self.stages
        if not self.parts:
            self.parts = list(runs(self.stages))
        return self.parts


@dataclass
class Run:
    """Stages one behind the other as one plan."""

    plan: Plan = field(default_factory=Plan)
    ropes: list[Rope] = field(default_factory=list)  # each kind of angles once
    width: int = 0  # of the input, if the run makes it itself
    logits: int = 0  # of a row, if the run ends with them

    def __call__(self, x: Tensor, batch: Batch) -> Tensor:
        """x [T, D] -> [T, D], in place, or logits [R, V]."""
        if self.width:
            x = torch.empty(len(batch.tokens), self.width)
        y = torch.empty(len(batch.outputs), self.logits) if self.logits else None
        self.plan.run(x, y, batch, [angles(rope, batch) for rope in self.ropes])
        return x if y is None else y

    def number(self, rope: Rope) -> int:
        """Which of the angles are those of a rope."""
        keys = [known.key for known in self.ropes]
        if rope.key not in keys:
            self.ropes.append(rope)
            return len(keys)
        return keys.index(rope.key)


def angles(rope: Rope, batch: Batch) -> Angles:
    """The angles of a step: where they are steady the kept ones, of every position."""
    if rope.steady and batch.positions.dim() == 1:
        return Angles(*rope.table(batch), every=True)
    cos, sin = rope.turns(batch)
    return Angles(cos.contiguous(), sin.contiguous())


def runs(stages: Iterable[Stage]) -> "Iterator[Run | Stage]":
    """The stages in order, those that can be fused in runs as long as possible."""
    run = None
    for stage in stages:
        try:
            run = run or Run()
            run.plan.extend(planned(stage, run))
        except Unsuited:
            if run and run.plan.calls:
                yield finished(run)
            run = None
            yield stage
    if run:
        yield finished(run)


def finished(run: Run) -> Run:
    """The run, ready to be called."""
    run.plan.finish()
    return run


def planned(stage: Stage, run: Run) -> Plan:
    """The plan of one stage; raises Unsuited if its pattern is not known."""
    match stage:
        case Start():
            return start(stage.model, run)
        case End():
            return end(stage.model, run)
        case _:
            return block(stage, run)


def start(model: Decoder, run: Run) -> Plan:
    """The plan of the embedding."""
    plan, table = Plan(), model.model.embed_tokens.weight
    if (type(model).inputs, type(model).embed) != (Decoder.inputs, Decoder.embed):
        raise Unsuited
    if type(table) is Plain:
        plan.embed(table.tensor)
    elif type(table) is Affine:
        plan.embed_packed(table.tiles)
    else:
        raise Unsuited
    run.width = table.shape[1]
    return plan


def end(model: Decoder, run: Run) -> Plan:
    """The plan of the last norm and the head."""
    if (type(model).head, type(model).ends) != (Decoder.head, Decoder.ends):
        raise Unsuited
    plan, room = Plan(), Room()
    dim = len(known(model.model.norm).weight)
    x = room.take(dim)
    plan.select(x, dim)
    norm(plan, model.model.norm, x, x)
    Products(plan, x, room).take(model.lm_head, OUTPUT)
    run.logits = model.lm_head.weight.shape[0]
    plan.size = room.next
    return plan


def block(layer: nn.Module, run: Run) -> Plan:
    """The plan of one layer."""
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
    if "chunk" in m.rule or not m.writes:
        raise Unsuited  # the batch is cut for it in each step, or another layer's cache is read
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
    """The places of several products of the same rows."""
    products, places = Products(plan, x, room), []
    for m in linears:
        places.append(room.take(m.weight.shape[0]))
        products.take(m, places[-1])
    return places


@dataclass
class Products:
    """Products of the same rows, which are quantized at most once."""

    plan: Plan
    x: int
    room: Room
    bytes: int | None = None  # the place of the rows as bytes

    def take(self, m: Linear, y: int) -> None:
        """Add one, whose result goes to y."""
        weight = m.weight
        linear = type(m) in (Linear, Adapted)  # whose adapters no sequence has: see Fused
        if linear and type(weight) is Plain:
            self.plan.linear(self.x, y, weight.tensor, m.bias)
        elif linear and type(weight) is Affine:
            if self.bytes is None:
                self.bytes = self.room.bytes(row_bytes(weight.shape[1]))
                self.plan.rows(self.x, self.bytes, weight.shape[1])
            self.plan.affine(self.bytes, y, weight.tiles, m.bias)
        else:
            raise Unsuited


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

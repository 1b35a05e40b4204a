"""From the turns of a step to the Batch that the model reads."""

from collections.abc import Sequence

import torch

from mistralrs.engine.scheduler import Turn
from mistralrs.nn.batch import Batch


def build(turns: Sequence[Turn], device: torch.device) -> Batch:
    """Lay the turns end to end; a sequence whose last token is among them gets an output row."""
    tokens: list[int] = []
    positions: list[int] = []
    starts, outputs = [0], []
    for sequence, count in turns:
        done = sequence.computed
        tokens += sequence.tokens[done : done + count]
        positions += range(done, done + count)
        starts.append(len(tokens))
        if sequence.pending == count:
            outputs.append(len(tokens) - 1)
    sequences = [t.sequence for t in turns]
    return Batch(
        tokens=torch.tensor(tokens, device=device),
        positions=torch.tensor(positions, device=device),
        starts=host(starts),
        lengths=host([t.sequence.computed + t.tokens for t in turns]),
        prompts=host([s.basis for s in sequences]),
        pages=page_table([s.pages for s in sequences]),
        slots=host([s.slot for s in sequences]),
        fresh=torch.tensor([s.computed == 0 for s in sequences], device=device),
        outputs=torch.tensor(outputs, dtype=torch.int64, device=device),
    )


def host(values: Sequence[int]) -> torch.Tensor:
    """A small index tensor for kernels, int32 on the host."""
    return torch.tensor(values, dtype=torch.int32)


def page_table(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Ragged page lists -> [B, P] padded with 0."""
    width = max(map(len, rows), default=0)
    padded = [[*row, *[0] * (width - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.int32).view(len(rows), width)

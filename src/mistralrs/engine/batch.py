"""From the turns of a step to the Batch that the model reads."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mistralrs.engine.scheduler import Turn
from mistralrs.nn.batch import Batch, Joined
from mistralrs.nn.media import Media, is_media, row_of, runs

Rows = Callable[[Media], Tensor]  # of one medium, encoded


def build(turns: Sequence[Turn], device: torch.device, rows: Rows | None = None) -> Batch:
    """Lay the turns end to end; a sequence whose last token is among them gets an output row."""
    tokens: list[int] = []
    starts, outputs = [0], []
    for sequence, count in turns:
        tokens += sequence.tokens[sequence.computed : sequence.computed + count]
        starts.append(len(tokens))
        if sequence.pending == count:
            outputs.append(len(tokens) - 1)
    sequences = [t.sequence for t in turns]
    return Batch(
        tokens=torch.tensor([0 if is_media(id) else id for id in tokens], device=device),
        positions=positions(turns).to(device),
        starts=host(starts),
        lengths=host([t.sequence.computed + t.tokens for t in turns]),
        prompts=host([s.basis for s in sequences]),
        pages=page_table([s.pages for s in sequences]),
        slots=host([s.slot for s in sequences]),
        fresh=torch.tensor([s.computed == 0 for s in sequences], device=device),
        outputs=torch.tensor(outputs, dtype=torch.int64, device=device),
        media=media(turns, starts, device, rows) if rows else (),
        joined=joined(turns, starts),
    )


def positions(turns: Sequence[Turn]) -> Tensor:
    """[T] that count within each sequence, or [3, T] when one of them has several axes."""
    spans = [torch.arange(s.computed, s.computed + count) for s, count in turns]
    if all(s.job.prompt.positions is None for s, _ in turns):
        return torch.cat(spans)
    return torch.cat([t.sequence.axes(at) for t, at in zip(turns, spans, strict=True)], 1)


def media(
    turns: Sequence[Turn], starts: Sequence[int], device: torch.device, rows: Rows
) -> tuple[tuple[Tensor, Tensor], ...]:
    """Where media stand in the batch, and their rows."""
    found = []
    for (sequence, count), start in zip(turns, starts, strict=False):
        ids = sequence.tokens[sequence.computed : sequence.computed + count]
        for number, first, end in runs(ids) if sequence.job.prompt.media else ():
            wanted = torch.tensor([row_of(id) for id in ids[first:end]], device=device)
            where = torch.arange(start + first, start + end, device=device)
            found.append((where, rows(sequence.job.prompt.media[number])[wanted]))
    return tuple(found)


def joined(turns: Sequence[Turn], starts: Sequence[int]) -> tuple[Joined, ...]:
    """The runs of rows that see each other; the scheduler never ends a turn inside of one."""
    found = []
    for (sequence, count), start in zip(turns, starts, strict=False):
        done = sequence.computed
        for first, end in sequence.joined:
            rows = max(first - done, 0), min(end - done, count)
            if rows[0] < rows[1]:
                found.append(
                    Joined(
                        start + rows[0],
                        start + rows[1],
                        starts=host([0, rows[1] - rows[0]]),
                        lengths=host([done + rows[1]]),
                        pages=page_table([sequence.pages]),
                    )
                )
    return tuple(found)


def host(values: Sequence[int]) -> torch.Tensor:
    """A small index tensor for kernels, int32 on the host."""
    return torch.tensor(values, dtype=torch.int32)


def page_table(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Ragged page lists -> [B, P] padded with 0."""
    width = max(map(len, rows), default=0)
    padded = [[*row, *[0] * (width - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.int32).view(len(rows), width)

"""From the turns of a step to the Batch that the model reads."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from mistralrs.engine.scheduler import Turn
from mistralrs.engine.sequence import Sequence as Continuation
from mistralrs.nn.batch import Batch, Joined, Sight
from mistralrs.nn.media import row_of, runs, word

Rows = Callable[..., Tensor]  # of media, encoded, one behind the other


def build(turns: Sequence[Turn], device: torch.device, rows: Rows | None = None) -> Batch:
    """Lay the turns end to end; a sequence whose last token is among them gets an output row."""
    tokens: list[int] = []
    starts, outputs = [0], []
    for sequence, count in turns:
        ids, media = sequence.next(count), sequence.job.prompt.media
        tokens += [word(id, media) for id in ids] if media else ids
        starts.append(len(tokens))
        if sequence.pending == count:
            outputs.append(len(tokens) - 1)
    sequences = [t.sequence for t in turns]
    return Batch(
        tokens=on(device, wide(tokens)),
        positions=on(device, positions(turns)),
        starts=host(starts),
        lengths=host([t.sequence.computed + t.tokens for t in turns]),
        prompts=host([s.basis for s in sequences]),
        pages=page_table([s.pages for s in sequences]),
        slots=host([s.slot for s in sequences]),
        fresh=on(device, torch.from_numpy(np.array([s.computed == 0 for s in sequences]))),
        outputs=on(device, wide(outputs)),
        media=placed(turns, starts, device, rows) if rows else (),
        joined=joined(turns, starts),
        sights=sights(turns, starts, rows) if rows else (),
        adapters=adapters(sequences),
    )


def adapters(sequences: Sequence[Continuation]) -> tuple[str | None, ...]:
    """The adapter of each sequence; nothing when none has one."""
    named = tuple(s.job.prompt.adapter for s in sequences)
    return named if any(named) else ()


def positions(turns: Sequence[Turn]) -> Tensor:
    """[T] that count within each sequence, or [3, T] when one of them has several axes."""
    spans = [range(s.computed, s.computed + count) for s, count in turns]
    if all(s.job.prompt.positions is None for s, _ in turns):
        return wide([at for span in spans for at in span])
    pairs = zip(turns, spans, strict=True)
    return torch.cat([t.sequence.axes(torch.arange(s.start, s.stop)) for t, s in pairs], 1)


def placed(
    turns: Sequence[Turn], starts: Sequence[int], device: torch.device, rows: Rows
) -> tuple[tuple[Tensor, Tensor], ...]:
    """Where media stand in the batch, and their rows."""
    found = []
    for (sequence, count), start in zip(turns, starts, strict=False):
        ids, media = sequence.next(count), sequence.job.prompt.media
        for number, first, end in runs(ids) if media else ():
            if media[number].token is None:
                wanted = torch.tensor([row_of(id) for id in ids[first:end]], device=device)
                where = torch.arange(start + first, start + end, device=device)
                found.append((where, rows(media[number])[wanted]))
    return tuple(found)


def sights(turns: Sequence[Turn], starts: Sequence[int], rows: Rows) -> tuple[Sight, ...]:
    """What rows see beside the text; each sequence holds what it sees of it, to see it in its next step too."""
    found = []
    for (sequence, count), start in zip(turns, starts, strict=False):
        done, held = sequence.computed, []
        for view in sequence.views:
            first, end = max(view.first - done, 0), min(view.end - done, count)
            if first < end:
                held.append(rows(*view.group))
                found.append(sight(start + first, start + end, held[-1], view.rows))
        sequence.held = held
    return tuple(found)


def sight(first: int, end: int, states: Tensor, rows: int) -> Sight:
    """The first rows of a group of media, as rows of a batch see them."""
    return Sight(
        first,
        end,
        states,
        starts=host([0, end - first]),
        lengths=host([rows * states.shape[-2]]),
        pages=page_table([range(rows)]),
    )


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


def host(values: Sequence[int]) -> Tensor:
    """A small index tensor for kernels, int32 on the host."""
    return torch.from_numpy(np.array(values, np.int32))  # many times faster than torch.tensor


def on(device: torch.device, x: Tensor) -> Tensor:
    """The tensor on a device. `to` would give up the GIL even where it has nothing to do."""
    return x if device.type == "cpu" else x.to(device)


def wide(values: Sequence[int]) -> Tensor:
    """The same in int64, as torch indexes."""
    return torch.from_numpy(np.array(values, np.int64))


def page_table(rows: Sequence[Sequence[int]]) -> Tensor:
    """Ragged page lists -> [B, P] padded with 0."""
    table = np.zeros((len(rows), max(map(len, rows), default=0)), np.int32)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return torch.from_numpy(table)

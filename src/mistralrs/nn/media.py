"""Images, sounds and films in a prompt: one id above the vocabulary for each row that an encoder makes of them."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from mistralrs.nn.adapter import Adapter
from mistralrs.nn.checkpoint import Lazy

FIRST = 1 << 32  # no vocabulary is that large
ROWS = 1 << 20  # ids of one medium: no image has as many rows


@dataclass(frozen=True, eq=False)
class Media:
    """An image, a sound or a film, ready for its model's encoder.

    Equal content has an equal `number` and other content another one, so whatever depends on the ids, such as
    the prefix cache, depends on the content.
    """

    number: int
    inputs: Mapping[str, Tensor]  # what the encoder reads
    rows: int  # that the encoder makes of it
    grid: tuple[
        int, ...
    ] = ()  # numbers that the encoder or its positions need: frames, lines, columns, tiles
    joined: bool = False  # its tokens see each other, also those that come later
    token: int | None = None  # the one that stands in the text for a medium beside it
    adapter: str | None = None  # of the prompt that it stands in

    @property
    def ids(self) -> range:
        """The ids of its rows in the text."""
        first = FIRST + self.number * ROWS
        return range(first, first + (self.rows if self.token is None else 1))


def is_media(id: int) -> bool:
    """Whether an id stands for a row of a medium."""
    return id >= FIRST


def number_of(id: int) -> int:
    """The number of the medium that a row belongs to."""
    return (id - FIRST) // ROWS


def row_of(id: int) -> int:
    """Which of its medium's rows an id stands for."""
    return (id - FIRST) % ROWS


def runs(tokens: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(number, first token, token after the last) of every run of rows of one medium."""
    start = 0
    for number, group in groupby(tokens, lambda id: number_of(id) if is_media(id) else -1):
        end = start + sum(1 for _ in group)
        if number >= 0:
            yield number, start, end
        start = end


def word(id: int, media: Mapping[int, Media]) -> int:
    """The token whose embedding an id has; 0 where an encoder's row takes its place."""
    return (media[number_of(id)].token or 0) if is_media(id) else id


@dataclass(frozen=True)
class View:
    """Tokens [first, end) of a sequence see the first `rows` rows of a group of media beside the text."""

    first: int
    end: int
    group: tuple[Media, ...]
    rows: int


def views(tokens: Sequence[int], media: Mapping[int, Media]) -> list[View]:
    """What the tokens of a prompt see: the nearest media before them that stand next to each other.

    One of these sees those before it and itself. What is generated sees what the end of the prompt does.
    """
    marks: list[tuple[int, list[Media], int]] = []  # where a medium stands, its group, rows so far
    for at, id in enumerate(tokens):
        if is_media(id) and media[number_of(id)].token is not None:
            group = marks[-1][1] if marks and marks[-1][0] == at - 1 else []
            group.append(media[number_of(id)])
            marks.append((at, group, sum(one.rows for one in group)))
    ends = [at for at, _, _ in marks[1:]] + [sys.maxsize]
    pairs = zip(marks, ends, strict=False)
    return [View(at, end, tuple(group), rows) for (at, group, rows), end in pairs]


@dataclass(frozen=True)
class Prepared:
    """What a processor makes of an image, a sound or a film."""

    inputs: Mapping[str, Tensor]
    rows: int
    grid: tuple[int, ...] = ()
    beside: bool = False  # cross-attention sees its rows; one placeholder stands for it in the text
    times: tuple[float, ...] = ()  # seconds at which a film shows what the text names

    @property
    def nbytes(self) -> int:
        """Bytes of the inputs."""
        return sum(tensor.nbytes for tensor in self.inputs.values())


class Processor(Protocol):
    """How a family's prompts show an image, and what its encoder sees of it. One serves any number of threads.

    One whose text also depends on what stands around an image has `tidy(text)` for the whole prompt, one whose
    messages have something between their parts has it as `joint`. What one has as `behind` is written behind its
    markers, where we write them.
    """

    placeholder: str  # the token that stands for one row
    joined: bool

    def marker(self, index: int) -> str:
        """What the chat template, or we for it, write where the `index`-th image of a conversation stands."""
        ...

    def prepare(self, image: Any) -> Prepared:
        """An RGB picture of Pillow, upright, as the encoder's inputs."""
        ...

    def expand(self, prepared: Prepared, index: int) -> str:
        """What replaces the marker: text with one placeholder for each row."""
        ...


class Listener(Processor, Protocol):
    """The same for sounds: `prepare` reads samples [N], float32 from -1 to 1, at its rate."""

    rate: int  # samples per second


class Watcher(Processor, Protocol):
    """The same for films: `prepare` reads a `Film` and samples it."""


class Encoder(nn.Module):
    """The part of a model that reads media. It hangs on an ordinary text model as `decoder.encoder`."""

    text: ClassVar[str | None] = None  # registry key of the text model; None: by text_config
    defaults: ClassVar[Mapping[str, Any]] = {}  # keys that checkpoints leave out of config.json
    # The same for text_config, by its model_type; config.json lists only what differs from these.
    text_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    dtype: torch.dtype = torch.float32  # of activations; set when the model is filled
    beside: int = 0  # positions of the largest medium that cross-attention sees

    def forward(self, media: Media) -> Tensor:
        """One medium -> [rows, W]; the first columns take the place of embeddings. Beside the text: [rows, S, W]."""
        raise NotImplementedError

    def encode(self, media: Media) -> Tensor:
        """`forward` with the inputs where the weights are, in the dtype of activations."""
        device = next(self.parameters()).device
        moved = {
            name: x.to(device, self.dtype if x.is_floating_point() else x.dtype)
            for name, x in media.inputs.items()
        }
        return self(replace(media, inputs=moved))

    def positions(self, tokens: Sequence[int], media: Mapping[int, Media]) -> Tensor | None:
        """Positions [3, T] of a prompt where rope has several axes; None where they just count."""
        return None

    def adapter(self, kinds: Collection[str]) -> str | None:
        """The adapter of a prompt with media of these kinds; None where it is the plain model's."""
        return None

    @classmethod
    def adapters(cls, cfg: Any) -> Mapping[str, Adapter]:
        """The adapters of the text model that the checkpoint brings."""
        return {}

    @classmethod
    def spelled(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        """config.json in the spelling of transformers 5."""
        return raw

    @classmethod
    def processor(cls, cfg: Any, files: Mapping[str, Any]) -> Processor | None:
        """What reads images, by config.json, and by preprocessor_config.json and processor_config.json merged."""
        return None

    @classmethod
    def listener(cls, cfg: Any, files: Mapping[str, Any]) -> Listener | None:
        """What hears sounds, by the same files."""
        return None

    @classmethod
    def watcher(cls, cfg: Any, files: Mapping[str, Any]) -> Watcher | None:
        """What sees films, by config.json, and by the files of `processor` with those of films as `video`."""
        return None

    @classmethod
    def checkpoint(cls, cfg: Any, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        """Checkpoint names -> `encoder.*`, and `model.*` and `lm_head.*` of the text model."""
        return tensors

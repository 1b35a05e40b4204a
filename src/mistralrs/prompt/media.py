"""Images of a request: where they stand in the text, what the encoder reads, which ids stand for them."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count, groupby
from typing import Any

from torch import Tensor

from mistralrs.api.errors import ConfigError, MediaError, RequestError, TemplateError
from mistralrs.nn.media import Media, Prepared, Processor, is_media, number_of, row_of
from mistralrs.prompt.fetch import Access, short
from mistralrs.prompt.messages import Message
from mistralrs.prompt.picture import in_memory, open_picture
from mistralrs.prompt.template import ChatTemplate
from mistralrs.prompt.tokenizer import Tokenizer

Positions = Callable[[Sequence[int], Mapping[int, Media]], Tensor | None]
Part = Mapping[str, Any]
IMAGES = ("image", "image_url")
KNOWN = 1 << 16  # numbers of media that are remembered


@dataclass(frozen=True)
class Form:
    """Which contents of a message a chat template understands; both of some, one of most."""

    parts: bool  # a list of parts: the template writes the markers itself
    text: bool

    @classmethod
    def of(cls, template: ChatTemplate | None, marker: str) -> "Form":
        """By what the template makes of a message of each form."""
        parts = [{"type": "image"}, {"type": "text", "text": "Probe"}]
        shown = rendered(template, parts)
        return cls(
            shown.count(marker) == 1 and "Probe" in shown and "'type'" not in shown,
            "Probe" in rendered(template, "Probe"),
        )


def rendered(template: ChatTemplate | None, content: Any) -> str:
    """The text of one user message; empty when the template refuses it."""
    try:
        return template.render([{"role": "user", "content": content}]) if template else ""
    except TemplateError:
        return ""


class Numbers:
    """A number for every content: equal content has the same, as long as it is remembered."""

    def __init__(self) -> None:
        self.known: OrderedDict[bytes, int] = OrderedDict()
        self.next, self.lock = count(), threading.Lock()

    def of(self, content: bytes) -> int:
        """The number of a content, by its hash."""
        with self.lock:
            if content not in self.known:
                self.known[content] = next(self.next)
            self.known.move_to_end(content)
            if len(self.known) > KNOWN:
                self.known.popitem(last=False)
            return self.known[content]


class Kept:
    """Prepared images by the hash of their files; the least recently used go when they take too much memory."""

    def __init__(self, budget: int = 256 << 20):
        self.images: OrderedDict[bytes, Prepared] = OrderedDict()
        self.budget, self.size, self.lock = budget, 0, threading.Lock()

    def get(self, key: bytes) -> Prepared | None:
        """A prepared image, if it is still there."""
        with self.lock:
            if key in self.images:
                self.images.move_to_end(key)
            return self.images.get(key)

    def put(self, key: bytes, image: Prepared) -> None:
        """Keep an image, unless it alone is too large."""
        with self.lock:
            if key in self.images or image.nbytes > self.budget:
                return
            self.images[key] = image
            self.size += image.nbytes
            while self.size > self.budget:
                self.size -= self.images.popitem(last=False)[1].nbytes


class Placer:
    """Places the images of requests in the prompts of one model. One instance serves any number of threads."""

    def __init__(
        self,
        processor: Processor,
        tokenizer: Tokenizer,
        template: ChatTemplate | None,
        positions: Positions = lambda tokens, media: None,
        max_edge: int | None = None,
        access: Access = Access(),  # noqa: B008 (a value, never changed)
    ):
        self.processor, self.positions, self.max_edge = processor, positions, max_edge
        self.access, self.numbers, self.kept = access, Numbers(), Kept()
        self.tidy: Callable[[str], str] = getattr(processor, "tidy", str)
        self.form = Form.of(template, processor.marker(0))
        id = tokenizer.id(processor.placeholder)
        if id is None:
            raise ConfigError(f"the tokenizer has no token '{processor.placeholder}' for images")
        self.id = id

    def arrange(self, messages: str | Sequence[Part]) -> tuple[list[Message], list[Part]]:
        """Messages as the template takes them, and the media parts in the order of their markers."""
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        out: list[Message] = []
        media: list[Part] = []
        for index, message in enumerate(messages):
            parts = message.get("content")
            if isinstance(parts, str):
                parts = [{"type": "text", "text": parts}]
            shown = [part for part in parts or () if part["type"] != "text"]
            if parts is not None:
                parts = self.content(self.marked(f"messages[{index}]", parts, len(media)))
            media += shown
            out.append({**message, "content": parts})
        return out, media

    def marked(self, where: str, parts: Sequence[Part], before: int) -> list[Part]:
        """Parts with a marker for every image that the texts do not mark themselves."""
        for part in parts:
            if part["type"] not in ("text", *IMAGES):
                raise MediaError(
                    f"{where} has a part of type {part['type']}, but this model reads only images"
                )
        markers = [self.processor.marker(before + i) for i in range(len(parts))]
        images = sum(part["type"] != "text" for part in parts)
        texts = [part for part in parts if part["type"] == "text"]
        written = sum(text["text"].count(m) for text in texts for m in dict.fromkeys(markers))
        if written and written == images:
            return texts
        if written:
            raise RequestError(
                f"{where} has {images} images, but its text has {written} of the markers {markers[0]}: write one "
                "for each image, or none, then they stand where the images are in the list"
            )
        if self.form.parts:
            return [part if part["type"] == "text" else {"type": "image"} for part in parts]
        names = iter(markers)
        return [
            part if part["type"] == "text" else {"type": "marker", "text": next(names)}
            for part in parts
        ]

    def content(self, parts: Sequence[Part]) -> str | list[Part]:
        """A message's content in a form that the template takes."""
        if self.form.parts and (not self.form.text or any(p["type"] == "image" for p in parts)):
            return list(parts)
        runs = groupby(parts, lambda part: part["type"])
        return "".join(
            (" " if kind == "text" else "").join(p["text"] for p in run) for kind, run in runs
        )

    def read(self, parts: Sequence[Part]) -> list[Prepared]:
        """Fetch, decode and prepare images."""
        return [self.prepared(part) for part in parts]

    def prepared(self, part: Part) -> Prepared:
        """One image as the encoder reads it; what an earlier request showed is not decoded again."""
        source = part["image"] if part["type"] == "image" else part["image_url"]["url"]
        if in_memory(source):
            return self.prepare(source, "the image")
        data = self.access.read(source)
        key = blake2b(data, digest_size=32).digest()
        found = self.kept.get(key)
        if found is None:
            name = "the image" if isinstance(source, (bytes, bytearray)) else short(str(source))
            found = self.prepare(data, name)
            self.kept.put(key, found)
        return found

    def prepare(self, source: Any, name: str) -> Prepared:
        """An image by the family's processor."""
        return self.processor.prepare(open_picture(source, name, self.max_edge))

    def expand(self, text: str, prepared: Sequence[Prepared]) -> str:
        """The text with placeholders where markers were."""
        pieces, rest = [], text
        for index, one in enumerate(prepared):
            before, marker, rest = rest.partition(self.processor.marker(index))
            if not marker:
                raise TemplateError(
                    f"the chat template shows {index} of {len(prepared)} images: name another one with chat_template "
                    "or jinja_explicit"
                )
            pieces += [before, self.processor.expand(one, index)]
        return self.tidy("".join([*pieces, rest]))

    def place(
        self, tokens: Sequence[int], prepared: Sequence[Prepared]
    ) -> tuple[list[int], dict[int, Media]]:
        """Tokens with every placeholder replaced by the id of a row, and the media by number."""
        media = [self.media(one) for one in prepared]
        ids = [id for one in media for id in one.ids]
        if sum(token == self.id for token in tokens) != len(ids):
            raise RequestError(
                f"the text of the messages has the token {self.processor.placeholder}, which stands for images "
                "only; leave it out"
            )
        rows = iter(ids)
        placed = [next(rows) if token == self.id else token for token in tokens]
        return placed, {one.number: one for one in media}

    def media(self, prepared: Prepared) -> Media:
        """A prepared image with the number of its content."""
        content = blake2b(repr(prepared.grid).encode(), digest_size=32)
        for name, tensor in sorted(prepared.inputs.items()):
            content.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            content.update(tensor.contiguous().numpy().data)
        number = self.numbers.of(content.digest())
        return Media(number, prepared.inputs, prepared.rows, prepared.grid, self.processor.joined)


def whole(tokens: Sequence[int]) -> Sequence[int]:
    """Tokens without a medium that lost its beginning when a prompt was truncated."""
    first = 0
    if tokens and is_media(tokens[0]) and row_of(tokens[0]):
        number = number_of(tokens[0])
        while (
            first < len(tokens) and is_media(tokens[first]) and number_of(tokens[first]) == number
        ):
            first += 1
    return tokens[first:]

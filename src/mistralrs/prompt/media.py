"""Images, sounds and films of a request: where they stand in the text, what encoders read, which ids stand for them."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count, groupby
from typing import Any, cast

import torch
from torch import Tensor

from mistralrs.api.errors import ConfigError, MediaError, RequestError, TemplateError
from mistralrs.nn.media import Listener, Media, Prepared, Processor, is_media, number_of, row_of
from mistralrs.prompt.audio import open_sound
from mistralrs.prompt.fetch import Access, short
from mistralrs.prompt.film import open_film
from mistralrs.prompt.messages import Message
from mistralrs.prompt.picture import in_memory, open_picture
from mistralrs.prompt.template import ChatTemplate
from mistralrs.prompt.tokenizer import Tokenizer

Positions = Callable[[Sequence[int], Mapping[int, Media]], Tensor | None]
Part = Mapping[str, Any]
KINDS = {
    "image": "image",
    "image_url": "image",
    "audio_url": "audio",
    "input_audio": "audio",
    "video": "video",
    "video_url": "video",
}
NOUNS = {"image": "image", "audio": "sound", "video": "video"}
Shown = Sequence[tuple[str, Prepared]]  # kind and content of the media of a request, in order
KNOWN = 1 << 16  # numbers of media that are remembered


@dataclass(frozen=True)
class Form:
    """Which contents of a message a chat template understands; both of some, one of most."""

    parts: bool  # a list of parts: the template writes the markers itself
    text: bool

    @classmethod
    def of(cls, template: ChatTemplate | None, marker: str, kind: str = "image") -> "Form":
        """By what the template makes of a message of each form."""
        parts = [{"type": kind}, {"type": "text", "text": "Probe"}]
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
    """Prepared media by the hash of their files; the least recently used go when they take too much memory."""

    def __init__(self, budget: int = 256 << 20):
        self.media: OrderedDict[bytes, Prepared] = OrderedDict()
        self.budget, self.size, self.lock = budget, 0, threading.Lock()

    def get(self, key: bytes) -> Prepared | None:
        """A prepared medium, if it is still there."""
        with self.lock:
            if key in self.media:
                self.media.move_to_end(key)
            return self.media.get(key)

    def put(self, key: bytes, one: Prepared) -> None:
        """Keep a medium, unless it alone is too large."""
        with self.lock:
            if key in self.media or one.nbytes > self.budget:
                return
            self.media[key] = one
            self.size += one.nbytes
            while self.size > self.budget:
                self.size -= self.media.popitem(last=False)[1].nbytes


class Placer:
    """Places the media of requests in the prompts of one model. One instance serves any number of threads."""

    def __init__(
        self,
        processors: Mapping[str, Processor],  # by kind
        tokenizer: Tokenizer,
        template: ChatTemplate | None,
        positions: Positions = lambda tokens, media: None,
        max_edge: int | None = None,
        access: Access = Access(),  # noqa: B008 (a value, never changed)
        adapter: Callable[[Collection[str]], str | None] = lambda kinds: None,
    ):
        self.processors, self.positions, self.max_edge = processors, positions, max_edge
        self.adapter = adapter
        self.access, self.numbers, self.kept = access, Numbers(), Kept()
        self.forms = {k: Form.of(template, p.marker(0), k) for k, p in processors.items()}
        self.ids = {kind: self.id(tokenizer, kind) for kind in processors}

    def id(self, tokenizer: Tokenizer, kind: str) -> int:
        """The id of the token that stands for a row."""
        token = self.processors[kind].placeholder
        id = tokenizer.id(token)
        if id is None:
            raise ConfigError(f"the tokenizer has no token '{token}' for {NOUNS[kind]}s")
        return id

    def arrange(self, messages: str | Sequence[Part]) -> tuple[list[Message], list[Part]]:
        """Messages as the template takes them, and the media parts in the order of their markers."""
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        out: list[Message] = []
        media: list[Part] = []
        form = self.form(messages)
        for index, message in enumerate(messages):
            parts = message.get("content")
            if isinstance(parts, str):
                parts = [{"type": "text", "text": parts}]
            shown = [part for part in parts or () if part["type"] != "text"]
            if parts is not None:
                parts = self.content(self.marked(f"messages[{index}]", parts, media, form), form)
            media += shown
            out.append({**message, "content": parts})
        return out, media

    def form(self, messages: Sequence[Part]) -> Form:
        """What the template takes of all kinds of media in these messages."""
        contents = [message.get("content") or () for message in messages]
        parts = [p for one in contents if not isinstance(one, str) for p in one]
        kinds = {KINDS[part["type"]] for part in parts if part["type"] != "text"}
        forms = [self.forms[kind] for kind in kinds & set(self.forms) or self.forms]
        return Form(all(form.parts for form in forms), all(form.text for form in forms))

    def marked(
        self, where: str, parts: Sequence[Part], before: Sequence[Part], form: Form
    ) -> list[Part]:
        """Parts with a marker for every medium that the texts do not mark themselves."""
        self.check(where, parts)
        texts = [part for part in parts if part["type"] == "text"]
        written = sum(
            text["text"].count(marker) for text in texts for marker in self.markers(parts, before)
        )
        media = len(parts) - len(texts)
        if written and written == media:
            return texts
        if written:
            nouns = " and ".join(f"{NOUNS[kind]}s" for kind in self.processors)
            example = next(iter(self.processors.values())).marker(0)
            raise RequestError(
                f"{where} has {media} {nouns}, but its text has {written} of the markers {example}: write one "
                f"for each {nouns[:-1]}, or none, then they stand where the {nouns} are in the list"
            )
        count = Counter(KINDS[part["type"]] for part in before)
        return [part if part["type"] == "text" else self.shown(part, count, form) for part in parts]

    def check(self, where: str, parts: Sequence[Part]) -> None:
        """Raise MediaError for a part that this model does not read."""
        known = " and ".join(f"{NOUNS[kind]}s" for kind in self.processors)
        for part in parts:
            if part["type"] != "text" and KINDS[part["type"]] not in self.processors:
                raise MediaError(
                    f"{where} has a part of type {part['type']}, but this model reads only {known}"
                )

    def markers(self, parts: Sequence[Part], before: Sequence[Part]) -> set[str]:
        """The markers that the texts of a message may have."""
        first = Counter(KINDS[part["type"]] for part in before)
        counts = range(len(parts))
        return {p.marker(first[kind] + i) for kind, p in self.processors.items() for i in counts}

    def shown(self, part: Part, count: Counter[str], form: Form) -> Part:
        """What stands for a medium in the list that the template gets."""
        kind = KINDS[part["type"]]
        count[kind] += 1
        if form.parts:
            return {"type": kind}
        processor = self.processors[kind]
        marker = processor.marker(count[kind] - 1) + getattr(processor, "behind", "")
        return {"type": "marker", "text": marker}

    def content(self, parts: Sequence[Part], form: Form) -> str | list[Part]:
        """A message's content in a form that the template takes."""
        if form.parts and (not form.text or any(part["type"] in self.forms for part in parts)):
            return list(parts)
        joint = getattr(next(iter(self.processors.values())), "joint", None)
        if joint is not None:
            return str(joint).join(part["text"] for part in parts)
        runs = groupby(parts, lambda part: part["type"])
        return "".join(
            (" " if kind == "text" else "").join(p["text"] for p in run) for kind, run in runs
        )

    def read(self, parts: Sequence[Part]) -> Shown:
        """Fetch, decode and prepare media."""
        return [(KINDS[part["type"]], self.prepared(part)) for part in parts]

    def prepared(self, part: Part) -> Prepared:
        """One medium as the encoder reads it; what an earlier request showed is not decoded again."""
        kind, source, fps = KINDS[part["type"]], source_of(part), rate_of(part)
        noun = f"the {NOUNS[kind]}"
        if in_memory(source) or isinstance(source, list):
            return self.prepare(kind, source, noun, fps)
        data = self.access.read(source)
        key = blake2b(data, digest_size=32, person=kind.encode(), salt=repr(fps).encode()[:16])
        found = self.kept.get(key.digest())
        if found is None:
            written = isinstance(source, (bytes, bytearray)) or part["type"] == "input_audio"
            found = self.prepare(kind, data, noun if written else short(str(source)), fps)
            self.kept.put(key.digest(), found)
        return found

    def prepare(self, kind: str, source: Any, name: str, fps: float | None) -> Prepared:
        """A medium by the family's processor."""
        processor = self.processors[kind]
        if kind == "video":
            return processor.prepare(open_film(source, name, self.max_edge, fps))
        if kind == "image":
            return processor.prepare(open_picture(source, name, self.max_edge))
        rate = cast("Listener", processor).rate
        return processor.prepare(torch.from_numpy(open_sound(source, name, rate)))

    def expand(self, text: str, shown: Shown) -> tuple[str, Shown]:
        """The text with placeholders where markers were, and the media in its order."""
        spots = []
        for kind, processor in self.processors.items():
            media = [one for k, one in shown if k == kind]
            found = places(text, [processor.marker(i) for i in range(len(media))], kind)
            for index, (spot, one) in enumerate(zip(found, media, strict=True)):
                spots.append((spot, processor.expand(one, index), (kind, one)))
        spots.sort(key=lambda spot: spot[0])
        pieces, end = [], 0
        for (start, after), rows, _ in spots:
            pieces += [text[end:start], rows]
            end = after
        text = "".join([*pieces, text[end:]])
        for processor in self.processors.values():
            text = getattr(processor, "tidy", str)(text)
        return text, [one for _, _, one in spots]

    def place(self, tokens: Sequence[int], shown: Shown) -> tuple[list[int], dict[int, Media]]:
        """Tokens with every placeholder replaced by the id of a row, and the media by number."""
        adapter = self.adapter_of(shown)
        media = [(kind, self.media(kind, one, adapter)) for kind, one in shown]
        rows = {}
        for kind, id in self.ids.items():
            ids = [row for k, one in media if self.ids[k] == id for row in one.ids]
            if sum(token == id for token in tokens) != len(ids):
                raise RequestError(
                    f"the text of the messages has the token {self.processors[kind].placeholder}, which stands for "
                    f"{NOUNS[kind]}s only; leave it out"
                )
            rows[id] = iter(ids)
        placed = [next(rows[token]) if token in rows else token for token in tokens]
        return placed, {one.number: one for _, one in media}

    def adapter_of(self, shown: Shown) -> str | None:
        """The adapter of a prompt with these media."""
        return self.adapter({kind for kind, _ in shown})

    def media(self, kind: str, prepared: Prepared, adapter: str | None = None) -> Media:
        """A prepared medium with the number of its content."""
        content = blake2b(repr((prepared.grid, adapter)).encode(), digest_size=32)
        for name, tensor in sorted(prepared.inputs.items()):
            content.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            content.update(tensor.contiguous().numpy().data)
        number = self.numbers.of(content.digest())
        joined = self.processors[kind].joined
        token = self.ids[kind] if prepared.beside else None
        return Media(number, prepared.inputs, prepared.rows, prepared.grid, joined, token, adapter)


def source_of(part: Part) -> Any:
    """Where a part's medium is: a URL, a path, bytes or something in memory."""
    match part["type"]:
        case "image" | "video" as kind:
            return part[kind]
        case "input_audio":  # base64 alone
            return f"data:audio/wav;base64,{part['input_audio']['data']}"
        case kind:
            return part[kind]["url"]


def rate_of(part: Part) -> float | None:
    """The frames per second that a part names."""
    return part.get("fps", part.get("video_url", {}).get("fps"))


def places(text: str, markers: Sequence[str], kind: str) -> list[tuple[int, int]]:
    """First and last place of markers, which stand in this order."""
    found: list[tuple[int, int]] = []
    end = 0
    for marker in markers:
        start = text.find(marker, end)
        if start < 0:
            raise TemplateError(
                f"the chat template shows {len(found)} of {len(markers)} {NOUNS[kind]}s: name another one with "
                "chat_template or jinja_explicit"
            )
        end = start + len(marker)
        found.append((start, end))
    return found


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

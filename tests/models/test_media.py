"""Every family that reads media against transformers: pixels, token ids, and logits however tokens are batched."""

import pkgutil
from importlib import import_module

import pytest
import torch

from mistralrs import ChatCompletionRequest, Which, audio_part
from mistralrs.engine import batch
from mistralrs.engine.media import Encoded
from mistralrs.engine.memory import Pages, Slots
from mistralrs.engine.scheduler import Scheduler, Turn
from mistralrs.engine.sequence import Job, Sequence
from mistralrs.loaders import load
from mistralrs.nn.media import is_media
from mistralrs.pipeline import Settings
from tests.models import media
from tests.models.media.case import animation, film, picture, reference, save, sound, tokenizer

CASES = {
    f"{module.name} {name}".strip(): case
    for module in pkgutil.iter_modules(media.__path__)
    if module.name != "case"
    for name, case in import_module(f"{media.__name__}.{module.name}").CASES.items()
}
SIZES = ((90, 70), (57, 131), (301, 40), (28, 29))  # odd ones, wide, tall and small
SECONDS = (0.31, 1.7, 0.0503, 2.4001)
FILMS = ((9, 4), (21, 10), (5, 1), (1, 10))  # frames, frames per second


def medium(kind: str, number: int) -> object:
    """What the processor of transformers gets."""
    if kind == "image":
        return picture(*SIZES[number], seed=number)
    if kind == "video":
        return film(FILMS[number][0], *SIZES[number], seed=number), FILMS[number][1]
    return sound(SECONDS[number], seed=number)


def part(kind: str, number: int) -> dict:
    """The same as a part of a message."""
    one = medium(kind, number)
    if kind == "video":
        return {"type": "video", "video": animation(*one)}
    return audio_part(one, 16000) if kind == "audio" else {"type": "image", "image": one}


def text(words: str) -> dict:
    return {"type": "text", "text": words}


# Conversations by name: contents of user turns, answered by "Yes." except the last; a number is a medium.
TALKS = {
    "one image": [[0, text("What is this?")]],
    "two images": [[text("From "), 1, text(" to "), 2, text(": what changed?")]],
    "four images": [[0, 1, 2, 3, text("Compare.")]],
    "several turns": [[1, text("A cat?")], "Sure?", [text("And this? "), 0]],
    "no image": ["Hello."],
}


def messages(talk: str, kind: str) -> list[dict]:
    turns = []
    for parts in TALKS[talk]:
        content = parts
        if not isinstance(parts, str):
            content = [part(kind, one) if isinstance(one, int) else one for one in parts]
        turns += [{"role": "user", "content": content}, {"role": "assistant", "content": "Yes."}]
    return turns[:-1]


class Subject:
    """A loaded model and its reference."""

    def __init__(self, case, folder):
        self.case, self.hf = case, reference(case)
        self.folder = save(case, self.hf, folder)
        which = Which.VisionPlain(str(self.folder), dtype="f32")
        self.pipeline = load(which, Settings(pa_blk_size=16, pa_ctxt_len=4096))
        self.model = self.pipeline.built.model
        self.encoded = Encoded(self.model.encode)
        self.words, self.known = tokenizer(case), {}
        self.processor = case.processor(self.words)

    def prompt(self, talk):
        request = ChatCompletionRequest(messages(talk, self.case.kind), max_tokens=5)
        return self.pipeline.prompter.chat(request)

    def expected(self, talk):
        """Inputs of transformers for a conversation."""
        kind = self.case.kind
        turns = messages(talk, kind)
        for turn in turns:
            if isinstance(turn["content"], list):
                turn["content"] = [
                    p if p["type"] == "text" else {"type": kind} for p in turn["content"]
                ]
        rendered = self.words.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        numbers = [one for parts in TALKS[talk] for one in parts if isinstance(one, int)]
        if not numbers:
            plain = self.case.lead + rendered
            return dict(self.words(plain, return_tensors="pt", add_special_tokens=False))
        media = {kind if kind == "audio" else f"{kind}s": [medium(kind, n) for n in numbers]}
        inputs = dict(
            self.processor(text=rendered, **media, return_tensors="pt", **self.case.options)
        )
        return self.case.extra(inputs)

    def logits(self, talk):
        if talk not in self.known:
            self.known[talk] = self.compute(talk)
        return self.known[talk]

    def compute(self, talk):
        inputs = {k: v for k, v in self.expected(talk).items() if isinstance(v, torch.Tensor)}
        if self.case.double:
            self.hf.double()
            inputs = {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
        with torch.inference_mode():
            return self.hf(**inputs).logits[0]

    @property
    def copy(self):
        """Copies recurrent states; None for a model without."""
        return self.pipeline.built.copy

    def scheduler(self, pages=64):
        slots = self.copy and Slots(4, 4, self.copy)
        return Scheduler(Pages(pages, 16), 4, 512, slots)

    def start(self, scheduler, prompt):
        job = Job(prompt, lambda: None, lambda piece: None)
        sequence = Sequence(job, 0, len(prompt.tokens) + 8)
        scheduler.reuse(sequence)
        scheduler.start(sequence)
        return sequence

    def step(self, scheduler, turns):
        assert all(scheduler.reserve(*turn) for turn in turns)
        with torch.inference_mode():
            one = batch.build(turns, torch.device("cpu"), self.encoded.rows)
            object.__setattr__(one, "outputs", torch.arange(len(one.tokens)))
            logits = self.model(one)
        for turn in turns:
            scheduler.advance(turn)
        return list(logits.split([t.tokens for t in turns]))

    def run(self, scheduler, sequence, chunk):
        """Logits of all tokens that are pending, in steps of about `chunk` tokens."""
        found = []
        while sequence.pending:
            count = scheduler.chunk(sequence, chunk)
            found += self.step(scheduler, [Turn(sequence, count)])
        return torch.cat(found)


@pytest.fixture(scope="module", params=CASES)
def subject(request, tmp_path_factory):
    subject = Subject(CASES[request.param], tmp_path_factory.mktemp("model"))
    yield subject
    subject.pipeline.close()


@pytest.mark.parametrize("talk", [t for t in TALKS if t != "no image"])
def test_processor(subject, talk):
    prompt, expected = subject.prompt(talk), subject.expected(talk)
    processor = subject.pipeline.prompter.placer.processors[subject.case.kind]
    placeholder = subject.words.convert_tokens_to_ids(processor.placeholder)
    ids = [placeholder if is_media(id) else id for id in prompt.tokens]
    assert ids == expected["input_ids"][0].tolist()
    ours, theirs = subject.case.pixels
    found = [m.inputs[ours] for m in prompt.media.values()]
    if subject.case.split:
        wanted = subject.case.split(expected)
    else:  # without views that only fill up a batch
        views = expected[theirs].reshape(-1, *found[0].shape[1:])
        views = views[views.flatten(1).abs().amax(1) > 0]
        wanted = views.split([len(one) for one in found])
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).abs().max() <= 1e-5


@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("chunk", [512, 7])
def test_logits(subject, talk, chunk):
    prompt, expected = subject.prompt(talk), subject.logits(talk)
    scheduler = subject.scheduler()
    found = subject.run(scheduler, subject.start(scheduler, prompt), chunk)
    assert (found - expected).abs().max() <= subject.case.limit


def test_batch_and_prefix(subject):
    scheduler = subject.scheduler(pages=128)
    first, second = subject.prompt("several turns"), subject.prompt("two images")
    turns = [Turn(subject.start(scheduler, p), len(p.tokens)) for p in (first, second)]
    both = subject.step(scheduler, turns)
    for found, talk in zip(both, ("several turns", "two images"), strict=True):
        assert (found - subject.logits(talk)).abs().max() <= subject.case.limit
    if subject.copy:  # states are kept where a chunk ended
        subject.run(scheduler, subject.start(scheduler, first), 512)
    again = subject.start(scheduler, first)
    assert again.computed == (len(first.tokens) - 1) // 16 * 16
    rest = subject.run(scheduler, again, 512)
    assert torch.equal(rest, both[0][-len(rest) :])


def test_prefix_ends_at_another_image(subject):
    scheduler = subject.scheduler(pages=128)
    first, second = subject.prompt("one image"), subject.prompt("four images")
    subject.run(scheduler, subject.start(scheduler, first), 512)
    hit = subject.start(scheduler, second)
    shared = next(i for i, (a, b) in enumerate(zip(first.tokens, second.tokens)) if a != b)
    assert hit.computed == (0 if subject.copy else shared // 16 * 16)
    found = subject.run(scheduler, hit, 512)
    assert (found - subject.logits("four images")[-len(found) :]).abs().max() <= subject.case.limit

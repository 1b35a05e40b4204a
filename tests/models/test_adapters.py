"""Phi 4's adapters: prompts of all kinds in one step, pages by adapter, quantized and fused matrices below them."""

import pytest
import torch

from mistralrs import ChatCompletionRequest, Runner, Which, audio_part
from mistralrs.engine import batch
from mistralrs.engine.scheduler import Turn
from mistralrs.load.estimate import estimates
from mistralrs.load.hub import open_repo
from mistralrs.load.plan import Wish
from mistralrs.loaders import load
from mistralrs.nn.adapter import Adapted, LoRA
from mistralrs.nn.media import Media
from mistralrs.passes.fuse import Fused, fuse
from mistralrs.pipeline import Settings
from mistralrs.quant.plain import Plain
from tests.models.media import phi4_multimodal, phi4mm
from tests.models.media.case import picture, sound
from tests.models.test_media import Subject, medium, text

HEAR = audio_part(medium("audio", 1), 16000)
SEE = {"type": "image", "image": medium("image", 1)}
SYSTEM = {"role": "system", "content": "A long text that fills more than two pages of the cache."}
PROMPTS = {  # parts, and the adapter
    "text": (["Hello."], None),
    "image": ([SEE, text("What is this?")], "vision"),
    "sound": ([HEAR, text("What is this?")], "speech"),
    "both": ([SEE, HEAR, text("Answer.")], "vision"),
    "sound first": ([text("Hear "), HEAR, text(" and see "), SEE], "vision"),
}


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    subject = Subject(phi4mm.CASES["images"], tmp_path_factory.mktemp("model"))
    yield subject
    subject.pipeline.close()


def prompt(subject, name, *before):
    parts = [text(p) if isinstance(p, str) else p for p in PROMPTS[name][0]]
    messages = [*before, {"role": "user", "content": parts}]
    return subject.pipeline.prompter.chat(ChatCompletionRequest(messages, max_tokens=5))


def inputs_of(subject, name):
    """What transformers gets; the markers are written by hand."""
    marks = {"image": "<|image_1|>", "input_audio": "<|audio_1|>"}
    parts = [text(p) if isinstance(p, str) else p for p in PROMPTS[name][0]]
    said = "".join(part.get("text") or marks[part["type"]] for part in parts)
    turns = [{"role": "user", "content": said}]
    rendered = subject.words.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    media = {
        "images": [SEE["image"]] if SEE in parts else (),
        "audio": [medium("audio", 1)] if HEAR in parts else (),
    }
    return subject.processor(text=rendered, **media)


def expected(subject, name):
    """Logits of transformers."""
    with torch.inference_mode():
        return subject.hf(**inputs_of(subject, name)).logits[0]


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_of_every_kind(subject, name):
    one = prompt(subject, name)
    assert one.adapter == PROMPTS[name][1]
    scheduler = subject.scheduler()
    found = subject.run(scheduler, subject.start(scheduler, one), 9)
    assert (found - expected(subject, name)).abs().max() <= subject.case.limit


def test_one_step_for_all_kinds(subject):
    alone = {}
    for name in PROMPTS:
        scheduler = subject.scheduler()
        sequence = subject.start(scheduler, prompt(subject, name))
        alone[name] = subject.run(scheduler, sequence, 512)
        sequence.append(7)
        alone[name] = torch.cat((alone[name], subject.run(scheduler, sequence, 512)))
    scheduler = subject.scheduler()
    scheduler.max_running = len(PROMPTS)
    sequences = [subject.start(scheduler, prompt(subject, name)) for name in PROMPTS]
    turns = [Turn(s, s.pending) for s in sequences]
    together = subject.step(scheduler, turns)
    for sequence in sequences:
        sequence.append(7)
    after = subject.step(scheduler, [Turn(s, 1) for s in sequences])
    for name, one, more in zip(PROMPTS, together, after, strict=True):
        assert torch.equal(torch.cat((one, more)), alone[name])


def test_pages_belong_to_an_adapter(subject):
    scheduler = subject.scheduler(pages=128)
    hits = {}
    for name in [*PROMPTS, *PROMPTS]:
        sequence = subject.start(scheduler, prompt(subject, name, SYSTEM))
        hits.setdefault(name, []).append(sequence.computed)
        subject.run(scheduler, sequence, 512)
        scheduler.remove(sequence)
    assert [first for first, _ in hits.values()][:3] == [0, 0, 0]
    assert hits["both"][0] >= 48  # the beginning of "image", which has the same adapter
    assert all(second >= 48 for _, second in hits.values())


def test_a_sound_is_another_medium_beside_an_image(subject):
    alone, beside = (prompt(subject, name).media.values() for name in ("sound", "both"))
    assert not {m.number for m in alone} & {m.number for m in beside}


def test_text_runs_fused(subject):
    fused, plain = fuse(subject.model), subject.model
    assert isinstance(fused, Fused)
    for name in ("text", "sound"):
        steps = []
        for model in (plain, fused):
            scheduler = subject.scheduler()
            sequence = subject.start(scheduler, prompt(subject, name))
            turn = Turn(sequence, sequence.pending)
            assert scheduler.reserve(*turn)
            with torch.inference_mode():
                steps.append(model(batch.build([turn], torch.device("cpu"), subject.encoded.rows)))
        assert torch.equal(*steps)
    assert len(fused.parts) == 1  # made by the text, which needs no layer on its own


def test_quantized_below_adapters(subject):
    settings = Settings(pa_ctxt_len=512, in_situ_quant="q8_0")
    pipeline = load(Which.VisionPlain(str(subject.folder), dtype="f32"), settings)
    layers = list(pipeline.built.model.modules())
    assert all(m.weight.format != "float32" for m in layers if isinstance(m, Adapted))
    assert all(type(m.lora_A) is Plain for m in layers if isinstance(m, LoRA))
    pipeline.close()


def test_memory_counts_adapters(subject):
    plan = subject.pipeline.built.plan
    wish = Wish(media=True, dtype="f32")
    (one,) = estimates(open_repo(str(subject.folder)), wish, [None])
    assert one.weights == plan.weights


@pytest.mark.parametrize("seconds", [0.02, 40.0, 41.3])
def test_long_and_short_sounds(subject, seconds):
    samples = sound(seconds)
    listener = subject.pipeline.prompter.placer.processors["audio"]
    prepared = listener.prepare(torch.from_numpy(samples))
    rows = subject.model.encoder.encode(Media(0, prepared.inputs, prepared.rows, adapter="speech"))
    assert len(rows) == prepared.rows
    if seconds > 0.025:  # theirs wants a whole frame
        audio = subject.hf.hf.model.embed_tokens_extend.audio_embed
        theirs = subject.processor.features([samples], sampling_rate=16000, return_tensors="pt")
        with torch.inference_mode():
            states = audio.encoder(theirs["audio_input_features"], None)[0]
            up, down = audio.up_proj_for_speech, audio.down_proj_for_speech
            wanted = down(torch.nn.functional.gelu(up(states)))
        assert (rows - wanted).abs().max() <= 1e-4


def test_too_long_a_picture(subject):
    with pytest.raises(ValueError, match="too long"):
        subject.pipeline.prompter.chat(
            ChatCompletionRequest(
                [{"role": "user", "content": [{"type": "image", "image": picture(900, 3)}]}]
            )
        )


def test_crops_as_transformers_chooses_them():
    from mistralrs.models.phi4_multimodal import fitted, grid

    for size, (crops, inside) in phi4_multimodal.GRIDS.items():
        assert grid(size, 4, 56) == crops
        assert fitted(size, (crops[0] * 56, crops[1] * 56)) == inside


@pytest.mark.parametrize("name", ["image", "sound"])
def test_answers_through_the_runner(subject, name):
    parts = [text(p) if isinstance(p, str) else p for p in PROMPTS[name][0]]
    request = ChatCompletionRequest(
        [{"role": "user", "content": parts}], max_tokens=6, temperature=0.0, logprobs=True
    )
    with Runner(which=Which.VisionPlain(str(subject.folder), dtype="f32"), pa_ctxt_len=512) as run:
        answers = [run.send_chat_completion_request(request) for _ in range(2)]
    (first, again) = ([t.logprob for t in a.choices[0].logprobs.content] for a in answers)
    assert answers[1].usage.prompt_tokens_details.cached_tokens > 0
    inputs = inputs_of(subject, name)
    wanted = []
    with torch.inference_mode():
        for _ in first:
            scores = subject.hf(**inputs).logits[0, -1].log_softmax(-1)
            wanted.append(float(scores.max()))
            inputs["input_ids"] = torch.cat((inputs["input_ids"], scores.argmax()[None, None]), 1)
    assert first == again
    assert max(abs(a - b) for a, b in zip(first, wanted, strict=True)) <= 1e-4

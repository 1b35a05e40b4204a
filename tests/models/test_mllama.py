"""Llama 3.2 Vision beyond the table of families: cross-attention, and what depends on it."""

import threading
from dataclasses import replace

import pytest
import torch

from mistralrs import ChatCompletionRequest, Runner, VisionArchitecture, Which
from mistralrs.api.errors import RequestError
from mistralrs.cli.verify import examine
from mistralrs.engine.media import Encoded
from mistralrs.engine.scheduler import Turn
from mistralrs.load.build import build
from mistralrs.load.estimate import estimates
from mistralrs.load.hub import open_repo
from mistralrs.load.plan import Wish
from mistralrs.loaders import load
from mistralrs.nn.media import is_media
from mistralrs.passes.fuse import Fused, Run, fuse
from mistralrs.passes.isq import parse
from mistralrs.pipeline import Settings
from tests.models.media import mllama
from tests.models.media.case import picture
from tests.models.test_media import Subject, messages


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Beside transformers as it was trained."""
    subject = Subject(mllama.CASES[""], tmp_path_factory.mktemp("model"))
    yield subject
    subject.pipeline.close()


def from_image(prompt):
    """A prompt without what stands before its first image."""
    first = next(at for at, id in enumerate(prompt.tokens) if is_media(id))
    return replace(prompt, tokens=prompt.tokens[first:]), first


@pytest.mark.parametrize("talk", ["one image", "two images", "four images"])
def test_images_at_the_beginning(tmp_path, talk):
    """There nothing has to be left out, and transformers is right as it is."""
    case = replace(mllama.CASES[""], adjust=mllama.open_gates)
    subject = Subject(case, tmp_path)
    prompt, first = from_image(subject.prompt(talk))
    inputs = subject.expected(talk)
    along = ("input_ids", "attention_mask", "cross_attention_mask")
    inputs = {k: v[:, first:] if k in along else v for k, v in inputs.items()}
    with torch.inference_mode():
        wanted = subject.hf(**inputs).logits[0]
    scheduler = subject.scheduler()
    found = subject.run(scheduler, subject.start(scheduler, prompt), 512)
    subject.pipeline.close()
    assert (found - wanted).abs().max() <= 1e-4


def test_generates_as_transformers(trained):
    for talk in ("one image", "several turns", "no image"):
        inputs = trained.expected(talk)
        with torch.inference_mode():
            ids = trained.hf.generate(
                **inputs, max_new_tokens=12, do_sample=False, eos_token_id=999
            )
        scheduler = trained.scheduler()
        prompt = trained.prompt(talk)
        sequence = trained.start(scheduler, replace(prompt, max_tokens=20))
        sequence.context = 10**6
        for _ in range(12):
            sequence.append(int(trained.run(scheduler, sequence, 512)[-1].argmax()))
        assert (
            sequence.tokens[len(prompt.tokens) :] == ids[0, inputs["input_ids"].shape[1] :].tolist()
        )


def test_text_before_an_image_and_without_one(trained):
    """The same bits with an image behind it, in a batch with others, and alone."""
    prompt, words = trained.prompt("one image"), trained.prompt("no image")
    first = from_image(prompt)[1]
    scheduler = trained.scheduler()
    alone = trained.run(scheduler, trained.start(scheduler, words), 512)
    start = replace(prompt, tokens=prompt.tokens[:first], media={})
    before = trained.run(scheduler, trained.start(scheduler, start), 512)
    scheduler = trained.scheduler()
    turns = [Turn(trained.start(scheduler, p), len(p.tokens)) for p in (words, prompt, words)]
    both = trained.step(scheduler, turns)
    assert torch.equal(both[0], alone)
    assert torch.equal(both[2], alone)
    assert torch.equal(both[1][:first], before)
    assert (both[1] - trained.logits("one image")).abs().max() <= 1e-4


def test_images_matter(trained):
    """Otherwise the table would show nothing: another picture, other logits, and only behind it."""
    scheduler, prompt = trained.scheduler(), trained.prompt("one image")
    content = [
        {"type": "image", "image": picture(90, 70, seed=9)},
        *messages("one image", "image")[0]["content"][1:],
    ]
    request = ChatCompletionRequest([{"role": "user", "content": content}], max_tokens=5)
    other = trained.pipeline.prompter.chat(request)
    one, two = (
        trained.run(scheduler, trained.start(trained.scheduler(), p), 512) for p in (prompt, other)
    )
    first = from_image(prompt)[1]
    assert torch.equal(one[:first], two[:first])
    assert ((one - two)[first:].abs().amax(1) > 0.01).all()


def test_an_image_shown_alone_and_in_a_group(trained):
    """What is kept of a group is what is kept of each, bit for bit."""
    media = list(trained.prompt("four images").media.values())
    encoded = Encoded(trained.model.encode)
    group = encoded.rows(*media)
    assert torch.equal(group, torch.cat([Encoded(trained.model.encode).rows(m) for m in media]))
    assert [m.rows for m in media] == [4, 3, 4, 2]
    assert len(group) == 13


def test_new_weights_make_new_keys(trained):
    engine = trained.pipeline.engine
    request = ChatCompletionRequest(messages("one image", "image"), max_tokens=3, temperature=0.0)
    trained.pipeline.chat(request, None).whole()
    assert engine.encoded.kept
    engine.change(lambda: None).result()
    assert not engine.encoded.kept


def test_fused(trained):
    """Layers with cross-attention stay as they are, between runs of the others; the bits are the same."""
    fused = fuse(trained.model)
    assert isinstance(fused, Fused)
    plain, found = trained.model, []
    for model in (plain, fused):
        trained.model, scheduler = model, trained.scheduler()
        sequences = [
            trained.start(scheduler, trained.prompt(t)) for t in ("two images", "no image")
        ]
        found.append(trained.step(scheduler, [Turn(s, s.pending) for s in sequences]))
        for sequence in sequences:
            sequence.append(7)
        found[-1] += trained.step(scheduler, [Turn(s, 1) for s in sequences])
    trained.model = plain
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    assert [isinstance(part, Run) for part in fused.parts] == [True, False, True, False, True]


def test_quantized_and_estimated(trained):
    repo = open_repo(str(trained.folder))
    for kind in (None, parse("Q8_0")):
        wish = Wish(media=True, dtype="bf16", isq=kind, sequences=2)
        built = build(repo, wish)
        (size,) = estimates(repo, wish, [kind])
        crossing = built.model.model.layers[1]
        bits = crossing.cross_attn.k_proj.weight.nbytes * 8 / (64 * 32)
        assert bits == pytest.approx(16 if kind is None else 8.5, rel=0.06)
        kept = built.model.encode(trained.prompt("one image").media.popitem()[1])
        assert kept.dtype == torch.bfloat16
        assert size.states == 2 * kept.nbytes  # the image fills all tiles
        weights = sum(m.nbytes for m in tensors(built.model))
        assert size.weights == pytest.approx(weights, rel=0.02)
        assert built.plan.weights == pytest.approx(weights, rel=0.1)


def tensors(model):
    """Everything that a model holds."""
    yield from model.parameters()
    for module in model.modules():
        yield from (
            getattr(module, leaf)
            for leaf in getattr(module, "matrices", ())
            if leaf not in module._parameters
        )


def ask(pipeline, *parts, tokens=12):
    request = ChatCompletionRequest(
        [{"role": "user", "content": list(parts)}],
        max_tokens=tokens,
        temperature=0.0,
        logprobs=True,
    )
    return pipeline.chat(request, None).whole()


def chosen(answer):
    return [(one.token, one.logprob) for one in answer.choices[0].logprobs.content]


def test_many_at_once_in_little_memory(trained):
    """With and without images, when pages run out and nothing encoded is kept: every answer is as alone."""
    pictures = [
        {"type": "image", "image": picture(40 + 13 * i, 90 - 7 * i, seed=i)} for i in range(6)
    ]
    words = {"type": "text", "text": "What is this, and where is it?"}
    asked = [(one, words) for one in pictures] + [(words,), (*pictures[:3], words)]
    alone = [chosen(ask(trained.pipeline, *parts)) for parts in asked]
    settings = Settings(pa_blk_size=16, pa_ctxt_len=112, max_seqs=8)
    which = Which.VisionPlain(str(trained.folder), arch=VisionArchitecture.VLlama, dtype="f32")
    pipeline = load(which, settings)
    pipeline.engine.encoded.budget = 1
    found = {}

    def work(number):
        found[number] = chosen(ask(pipeline, *asked[number]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = [ask(pipeline, *asked[0]) for _ in range(2)]  # pages of the first went to others
    pipeline.close()
    assert [found[i] for i in range(len(asked))] == alone
    assert [chosen(answer) for answer in again] == [alone[0]] * 2
    assert again[1].usage.prompt_tokens_details.cached_tokens >= 16


def test_a_grammar_that_the_tokenizer_has_more_tokens_for(trained):
    """No image can be generated: its token has an embedding and no logit."""
    with Runner(
        which=Which.VisionPlain(str(trained.folder), dtype="f32"), pa_ctxt_len=4096
    ) as runner:
        request = ChatCompletionRequest(
            messages("one image", "image"), max_tokens=8, grammar="(yes|no)", grammar_type="regex"
        )
        answer = runner.send_chat_completion_request(request).choices[0].message.content
        assert answer in ("yes", "no")


def test_the_token_of_an_image_is_known(caplog, trained):
    """It lies behind the vocabulary, as in real checkpoints, but the embedding has a row for it."""
    load(Which.VisionPlain(str(trained.folder), dtype="f32"), Settings(pa_ctxt_len=64)).close()
    assert "embedding" not in caplog.text
    with pytest.raises(RequestError, match="has 1 of the markers"):
        ask(trained.pipeline, {"type": "text", "text": "<|image|> What?"})


def test_verify_compares_layers_that_transformers_skips(trained):
    (finding,) = examine(str(trained.folder), None, ["The capital of France is"], 4)
    assert finding.difference <= 1e-4
    assert len(finding.drift) == 5
    assert max(finding.drift) <= 1e-4

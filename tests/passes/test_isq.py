"""Quantization on load: names, fallbacks, which matrices, and what it does to a model."""

import math
from dataclasses import replace

import pytest
import torch

from mistralrs import ChatCompletionRequest, IsqOrganization, Runner, Which, kernels
from mistralrs.api import errors
from mistralrs.api.prompt import Prompt
from mistralrs.demo import model_path
from mistralrs.engine import batch
from mistralrs.engine.scheduler import Turn
from mistralrs.engine.sequence import Job, Sequence
from mistralrs.load.build import Wish, build
from mistralrs.load.hub import open_repo
from mistralrs.passes.isq import HEAD, NAMES, Isq, fitting, parse
from mistralrs.quant.affine import Affine
from mistralrs.quant.formats import FORMATS
from mistralrs.quant.plain import Plain

TOKENS = list(range(3, 300, 3))


@pytest.mark.parametrize(
    ("text", "name"),
    [("4", "Q4_K"), ("Q4K", "Q4_K"), ("q4k", "Q4_K"), ("8", "Q8_0"), ("q8_0", "Q8_0"), (" 2 ", "Q2_K"),
     ("3", "Q3_K"), ("5", "Q5_K"), ("6", "Q6_K"), ("Q5_1", "Q5_1"), ("q8_1", "Q8_1"), ("Q8K", "Q8_K"),
     ("HQQ4", "HQQ4"), ("hqq8", "HQQ8"), ("fp8", "FP8"), ("F8Q8", "F8Q8"), ("mxfp4", "MXFP4"),
     ("afq2", "AFQ2"), ("AFQ3", "AFQ3"), ("afq4", "AFQ4"), ("afq6", "AFQ6"), ("afq8", "AFQ8")],
)  # fmt: skip
def test_names(text, name):
    assert parse(text).name == name


@pytest.mark.parametrize("text", ["q4_k", "7", "int4", "Q4_K_M", "-", "hqq2", "afq5", "fp4"])
def test_unknown_names_list_the_known_ones(text):
    with pytest.raises(errors.RequestError, match="q4k") as caught:
        parse(text)
    assert all(name in str(caught.value) for name in NAMES)


def test_tables_are_complete():
    assert set(NAMES.values()) == set(FORMATS) == set(HEAD)
    assert all(FORMATS[better].bits >= FORMATS[name].bits for name, better in HEAD.items())


@pytest.mark.parametrize(
    ("name", "width", "fits"),
    [("Q4_K", 512, "Q4_K"), ("Q4_K", 192, "Q4_1"), ("Q2_K", 96, "Q4_0"), ("Q3_K", 96, "Q4_0"),
     ("Q5_K", 96, "Q5_0"), ("Q6_K", 96, "Q5_1"), ("Q8_0", 96, "Q8_0"), ("Q8_0", 100, None), ("Q4_K", 48, None),
     ("Q8_K", 96, "Q8_1"), ("AFQ4", 192, "AFQ4"), ("AFQ4", 96, None), ("HQQ8", 32, None), ("MXFP4", 96, "MXFP4"),
     ("FP8", 96, "FP8"), ("F8Q8", 48, None)],
)  # fmt: skip
def test_fallback(name, width, fits):
    kind = fitting(FORMATS[name], width)
    assert (kind and kind.name) == fits


def demo(isq=None):
    return build(open_repo(str(model_path())), Wish(dtype="f32", isq=isq and parse(isq)))


def logits(built):
    sequence = Sequence(Job(Prompt(tuple(TOKENS)), lambda: None, lambda piece: None), 0, 2048)
    sequence.pages = list(range(-(-len(TOKENS) // built.plan.page_size)))
    one = batch.build([Turn(sequence, len(TOKENS))], torch.device("cpu"))
    one = replace(one, outputs=torch.arange(len(TOKENS)))
    with torch.inference_mode():
        return built.model(one)


def matrices(model):
    """Every weight of the model by name."""
    return {
        f"{n}.{leaf}": getattr(m, leaf)
        for n, m in model.named_modules()
        for leaf in getattr(m, "matrices", ())
    }


def test_which_matrices():
    built = demo("4")
    kinds = {n: getattr(w, "kind", None) for n, w in matrices(built.model).items()}
    assert kinds.pop("model.embed_tokens.weight") is None
    assert kinds.pop("lm_head.weight").name == "Q5_1"  # Q6_K, but for rows of 192
    down = {n for n in kinds if "down_proj" in n}
    assert {kinds[n].name for n in down} == {"Q4_K"}
    assert {kinds[n].name for n in kinds.keys() - down} == {"Q4_1"}
    assert built.plan.weights < demo().plan.weights


def test_routers_stay():
    class Layer(torch.nn.Module):
        matrices = ("weight",)

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.empty(4, 256, device="meta"))

    model = torch.nn.ModuleDict({"gate": Layer(), "up_proj": Layer(), "lm_head": Layer()})
    plan = Isq.plan(model, parse("q4k"))
    assert {n: k.name for n, k in plan.kinds.items()} == {
        "up_proj.weight": "Q4_K",
        "lm_head.weight": "Q6_K",
    }


def test_the_model_computes_with_the_rounded_weights():
    """With the reference kernels, quantized weights and their float values give the same logits."""
    rounded = demo("q4k")
    with kernels.use("reference"):
        found = logits(rounded)
        for name, weight in matrices(rounded.model).items():
            owner, _, leaf = name.rpartition(".")
            setattr(rounded.model.get_submodule(owner), leaf, Plain(weight.dequantize()))
        torch.testing.assert_close(found, logits(rounded), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("text", ["8", "6", "5", "4"])
def test_logits_stay_close(text):
    """Independent relative errors of the matrices add in quadrature along the residual stream."""
    plain, rounded = demo(), demo(text)
    before, after = matrices(plain.model), matrices(rounded.model)
    errors = [
        ((w.dequantize() - before[n].dequantize()).norm() / before[n].dequantize().norm()).item()
        for n, w in after.items()
        if isinstance(w, Affine)
    ]
    activations = 1 / 127  # a rounding is at most half of that, of the largest number of a group
    per_matrix = max(errors) + activations
    want, found = logits(plain), logits(rounded)
    want, found = (
        x - x.mean(-1, keepdim=True) for x in (want, found)
    )  # shifts change no probability
    off = (found - want).norm() / want.norm()
    layers = plain.cfg.num_hidden_layers
    assert off <= per_matrix * math.sqrt(3 * 2 * layers + 1)


def test_greedy_text_of_eight_bits_is_that_of_floats():
    request = ChatCompletionRequest(
        [{"role": "user", "content": "What is 12 plus 7?"}], temperature=0.0, max_tokens=16
    )
    texts = []
    for isq in (None, "Q8_0"):
        with Runner(which=Which.Plain(str(model_path())), in_situ_quant=isq) as runner:
            texts.append(runner.send_chat_completion_request(request).choices[0].message.content)
    assert texts[0] == texts[1]


def test_batches_do_not_change_bits():
    """A prompt in one piece and token by token: the same logits bit for bit."""
    built = demo("4")
    whole = logits(built)
    sequence = Sequence(Job(Prompt(tuple(TOKENS)), lambda: None, lambda piece: None), 0, 2048)
    sequence.pages = list(range(-(-len(TOKENS) // built.plan.page_size)))
    parts = []
    for size in (1, 7, 40, len(TOKENS) - 48):
        one = batch.build([Turn(sequence, size)], torch.device("cpu"))
        one = replace(one, outputs=torch.arange(size))
        with torch.inference_mode():
            parts.append(built.model(one))
        sequence.computed += size
    assert torch.equal(whole, torch.cat(parts))


def test_only_the_experts():
    """MoQE: the feed-forward half of a mixture and the head; a model without experts is quantized as ever."""

    def layer(*shape):
        module = torch.nn.Module()
        module.matrices = ("weight",)
        module.weight = torch.nn.Parameter(torch.empty(shape, device="meta"))
        return module

    block = torch.nn.ModuleDict(
        {
            "self_attn": torch.nn.ModuleDict({"q_proj": layer(64, 256)}),
            "mlp": torch.nn.ModuleDict({"experts": layer(4, 64, 256), "gate": layer(4, 256)}),
        }
    )
    dense = torch.nn.ModuleDict({"mlp": torch.nn.ModuleDict({"up_proj": layer(64, 256)})})
    model = torch.nn.ModuleDict(
        {
            "model": torch.nn.ModuleDict({"layers": torch.nn.ModuleList([block, dense])}),
            "lm_head": layer(99, 256),
        }
    )
    chosen = Isq.plan(model, parse("afq4"), experts=True).kinds
    assert {n: k.name for n, k in chosen.items()} == {
        "model.layers.0.mlp.experts.weight": "AFQ4",
        "model.layers.1.mlp.up_proj.weight": "AFQ4",
        "lm_head.weight": "AFQ6",
    }
    assert "model.layers.0.self_attn.q_proj.weight" in Isq.plan(model, parse("afq4")).kinds
    built = demo()
    assert Isq.plan(built.model, parse("8"), True).kinds == Isq.plan(built.model, parse("8")).kinds


@pytest.mark.parametrize("organization", ["moqe", "default", IsqOrganization.MoQE, None])
def test_organizations_load(organization):
    which = Which.Plain(str(model_path()), organization=organization)
    with Runner(which=which, in_situ_quant="afq8") as runner:
        assert matrices(runner._pipeline(None).built.model)["lm_head.weight"].format == "AFQ8"


CHAT = ChatCompletionRequest(
    [{"role": "user", "content": "What is 12 plus 7?"}], temperature=0.0, max_tokens=24
)


def says(runner):
    return runner.send_chat_completion_request(CHAT).choices[0].message.content


@pytest.mark.parametrize("text", ["4", "hqq4", "mxfp4", "fp8"])
def test_again(text):
    """After two changes the weights are those of a model loaded with the type: quality does not compound."""
    with Runner(which=Which.Plain(str(model_path())), in_situ_quant="q2k") as runner:
        says(runner)  # fills the prefix cache with the old weights' keys
        runner.send_re_isq("q8_0")
        runner.send_re_isq(text)
        changed, answer = matrices(runner._pipeline(None).built.model), says(runner)
    with Runner(which=Which.Plain(str(model_path())), in_situ_quant=text) as runner:
        fresh = matrices(runner._pipeline(None).built.model)
        assert answer == says(runner)
    for name, weight in fresh.items():
        assert changed[name].format == weight.format
        assert torch.equal(changed[name].dequantize(), weight.dequantize())


def test_requests_in_flight_go_on():
    story = ChatCompletionRequest(
        [{"role": "user", "content": "Tell me a story."}],
        temperature=0.0,
        max_tokens=60,
        stream=True,
    )
    with Runner(which=Which.Plain(str(model_path()))) as runner:
        streams = [iter(runner.send_chat_completion_request(story)) for _ in range(3)]
        begun = [next(s).choices[0].delta.content for s in streams]
        runner.send_re_isq("q4k")
        parts = [[c.choices[0].delta.content or "" for c in s] for s in streams]
    texts = {(first or "") + "".join(rest) for first, rest in zip(begun, parts, strict=True)}
    assert all(len(rest) > 3 for rest in parts)
    assert all(texts)


def test_changes_that_cannot_be():
    with Runner(which=Which.Plain(str(model_path()))) as runner:
        for wrong in ("q4_k", "int8", "", " "):
            with pytest.raises(errors.RequestError):
                runner.send_re_isq(wrong)
        with pytest.raises(errors.RequestTypeError):
            runner.send_re_isq(4)
        with pytest.raises(errors.ModelNotFoundError):
            runner.send_re_isq("4", "nobody")
        engine = runner._pipeline(None).engine

        def broken():
            raise ValueError("no room")

        with pytest.raises(ValueError, match="no room"):
            engine.change(broken).result(10)
        assert says(runner)  # the engine lives
    with pytest.raises(errors.EngineError):
        engine.change(lambda: None).result(10)

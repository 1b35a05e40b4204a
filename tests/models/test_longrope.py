"""LongRoPE through the engine: an answer that crosses the trained length is the one of `generate` in transformers."""

from dataclasses import replace

import pytest
import torch

from mistralrs.api.prompt import Prompt, Sampling
from mistralrs.engine.engine import Body, Engine, Limits
from mistralrs.load.build import build
from mistralrs.load.hub import open_repo
from mistralrs.load.plan import Wish
from tests.engine.fake import Caller
from tests.models import tiny

CASE = "phi3 longrope, one of each"  # trained for 40 tokens


@pytest.mark.parametrize("length", [20, 38, 40, 41])
def test_crossing(length, tmp_path):
    model = tiny.reference(CASE)
    built = build(open_repo(str(tiny.save(model, tmp_path))), Wish(dtype="f32", page_size=16))
    engine = Engine(
        Body(built.model, torch.device("cpu"), built.salt), Limits(128, 64, 16, budget=17)
    )
    prompts = [[start + i for i in range(length)] for start in (5, 5, 30)]  # the second one hits
    wanted = Prompt((), sampling=Sampling(temperature=0.0), max_tokens=30)
    callers = [Caller(engine, replace(wanted, tokens=tuple(p))) for p in prompts]
    for tokens, caller in zip(prompts, callers, strict=True):
        assert caller.wait().tokens() == generate(model, tokens, 30)
    engine.close()


def generate(model, tokens: list[int], count: int) -> list[int]:
    """The greedy continuation by transformers."""
    rules = dict(max_new_tokens=count, do_sample=False, eos_token_id=None)
    return model.generate(torch.tensor([tokens]), **rules)[0, len(tokens) :].tolist()

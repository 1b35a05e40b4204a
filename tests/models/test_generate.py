"""Every architecture through the Runner: greedy answers are those of transformers' `generate`, token by token."""

import copy

import pytest
import tokenizers
import torch
from tokenizers import models, pre_tokenizers

from mistralrs import CompletionRequest, ModelDType, Runner, Which
from tests.models import tiny

NEW = 24
# 5 and 20 tokens grow past the 24 that the dynamic rope case was trained for, 43 begin beyond them.
PROMPTS = [[7, 3, 90, 41, 5], list(range(30, 50)), [(i * 37) % 95 + 3 for i in range(43)]]


def words(tokens) -> str:
    """Tokens as text, one word for each."""
    return " ".join(f"w{token}" for token in tokens)


def write_tokenizer(folder, size: int) -> None:
    """A tokenizer whose words are the ids of a tiny checkpoint."""
    vocabulary = {f"w{i}": i for i in range(size)}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))


def reference(model, prompt: list[int]) -> list[int]:
    """What transformers continues with, without the end token."""
    fresh = copy.deepcopy(model)  # dynamic rope remembers longer inputs
    with torch.inference_mode():
        tokens = torch.tensor([prompt])
        out = fresh.generate(
            tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=NEW
        )
    answer = out[0, len(prompt) :].tolist()
    end = model.config.eos_token_id
    return answer[: answer.index(end)] if end in answer else answer


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny tensors are not worth sharing."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("case", tiny.CASES)
def test_generate(case, tmp_path):
    model = tiny.reference(case)
    tiny.save(model, tmp_path)
    write_tokenizer(tmp_path, model.config.vocab_size)
    which = Which.Plain(str(tmp_path), dtype=ModelDType.F32)
    with Runner(which, pa_ctxt_len=512, pa_blk_size=16) as runner:
        for prompt in PROMPTS:
            request = CompletionRequest(words(prompt), temperature=0.0, max_tokens=NEW)
            response = runner.send_completion_request(request)
            assert response.usage.prompt_tokens == len(prompt)
            assert response.choices[0].text.split() == words(reference(model, prompt)).split()

"""The bundled model against transformers in float32: the same prompts, logits and greedy answers."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mistralrs import ChatCompletionRequest
from mistralrs.api.prompt import Prompt
from mistralrs.demo import model_path
from mistralrs.engine import batch
from mistralrs.engine.scheduler import Turn
from mistralrs.engine.sequence import Job, Sequence
from mistralrs.load.build import Wish, build
from mistralrs.load.hub import open_repo

NEW = 24
TOLERANCE = 1e-4
SYSTEM = {"role": "system", "content": "You answer in one short sentence."}
TURNS = [
    {"role": "user", "content": "What is 3 plus 4?"},
    {"role": "assistant", "content": "3 plus 4 is 7."},
    {"role": "user", "content": "And what is that times 2?"},
]


def user(text: str) -> list[dict[str, str]]:
    """A chat of one message."""
    return [{"role": "user", "content": text}]


# messages, and enable_thinking
CHATS = [
    *[(user(f"What is {a} plus {b}?"), True) for a, b in ((12, 7), (99, 1), (0, 0), (345, 678))],
    *[(user(f"What is {a} minus {b}?"), False) for a, b in ((12, 7), (5, 9))],
    (user("Tell me a story about a fox."), False),
    (user("Tell me a story about a fox."), True),
    (user("Hello!"), False),
    (user("Who are you?"), True),
    (user("Which animal says moo?"), False),
    (user("Spell the word river backwards."), True),
    (user("Sort these words: pear, apple, fig."), False),
    (user("naïve café 日本語 🙂\n\ttabs and  spaces"), False),
    (user("x"), False),
    (user("<|im_end|> is a marker."), False),
    (user("Tell me about rivers. " * 40), False),
    ([SYSTEM, *user("What color is the sky?")], False),
    (TURNS, False),
    ([SYSTEM, *TURNS], True),
]


@pytest.fixture(scope="module")
def peer():
    """transformers' tokenizer and model."""
    model = AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32)
    return SimpleNamespace(
        tokenizer=AutoTokenizer.from_pretrained(model_path()), model=model.eval()
    )


@pytest.fixture(autouse=True)
def one_thread():
    """Small matrices are not worth sharing."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("messages", "thinking"), CHATS, ids=range(len(CHATS)))
def test_greedy_answer(demo, peer, messages, thinking):
    text = peer.tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, enable_thinking=thinking
    )
    inputs = peer.tokenizer(text, return_tensors="pt", add_special_tokens=False)
    with torch.inference_mode():
        out = peer.model.generate(**inputs, do_sample=False, max_new_tokens=NEW)
    expected = out[0, inputs.input_ids.shape[1] :].tolist()

    request = ChatCompletionRequest(
        messages, temperature=0.0, max_tokens=NEW, enable_thinking=thinking, logprobs=True
    )
    response = demo.send_chat_completion_request(request)
    assert response.usage.prompt_tokens == inputs.input_ids.shape[1]
    assert demo.tokenize_text(text, add_special_tokens=False) == inputs.input_ids[0].tolist()
    assert tokens_of(response) == [peer.tokenizer.decode([token]) for token in expected]


def tokens_of(response) -> list[str]:
    """The texts of the sampled tokens, the end token included."""
    return [
        bytes(token.bytes).decode("utf-8", "replace")
        for token in response.choices[0].logprobs.content
    ]


def test_logits(peer):
    built = build(open_repo(str(model_path())), Wish(dtype="f32"))
    text = "\n".join(message["content"] for chat, _ in CHATS for message in chat)
    tokens = peer.tokenizer(text).input_ids
    sequence = Sequence(Job(Prompt(tuple(tokens)), lambda: None, lambda piece: None), 0, 2048)
    sequence.pages = list(range(-(-len(tokens) // built.plan.page_size)))
    one = batch.build([Turn(sequence, len(tokens))], torch.device("cpu"))
    one = replace(one, outputs=torch.arange(len(tokens)))
    with torch.inference_mode():
        difference = built.model(one) - peer.model(torch.tensor([tokens])).logits[0]
    assert difference.abs().max().item() <= TOLERANCE

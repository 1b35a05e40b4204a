"""Embedding models against transformers with the pooling written out, and what a user's script does with them."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mistralrs import (
    AsyncRunner,
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingRequest,
    Runner,
    Which,
)
from mistralrs.api import errors
from tests import sentence
from tests.sentence import GEMMA, LAST, MEAN, NORMALIZE, dense

TEXTS = ["a", "hello world", "a fox, 12 hens and a longer text", "Ünïcödé ☃", "x" * 50]
TOLERANCE = 1e-5  # of the cosine distance

ALL = MEAN | {
    "pooling_mode_cls_token": True,
    "pooling_mode_max_tokens": True,
    "pooling_mode_mean_sqrt_len_tokens": True,
    "pooling_mode_weightedmean_tokens": True,
    "pooling_mode_lasttoken": True,
}
CAUSAL = GEMMA | dict(use_bidirectional_attention=False)
CASES = {  # class, settings, modules, what frames a text
    "embeddinggemma": (
        "Gemma3",
        GEMMA,
        [("Pooling", MEAN), dense(64, 96), dense(96, 48), NORMALIZE],
        "<bos> $A <eos>",
    ),
    "gemma, causal": ("Gemma3", CAUSAL, [("Pooling", MEAN)], "<bos> $A <eos>"),
    "qwen3": ("Qwen3", dict(num_hidden_layers=3), [("Pooling", LAST), NORMALIZE], "$A <eos>"),
    "llama, every pooling": (
        "Llama",
        dict(num_hidden_layers=2),
        [("Pooling", ALL), dense(384, 32, "Tanh", bias=True)],
        "$A",
    ),
}


@pytest.fixture(scope="module", params=CASES)
def model(request, tmp_path_factory):
    """A checkpoint's folder and a Runner on it."""
    *what, frame = CASES[request.param]
    folder = sentence.save(tmp_path_factory.mktemp("model"), *what, frame=frame)
    with Runner(Which.Embedding(str(folder))) as runner:
        yield folder, runner


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    """The folder of a small Qwen3 embedding model with a context of 64 tokens."""
    *what, frame = CASES["qwen3"]
    return sentence.save(tmp_path_factory.mktemp("model"), *what, frame=frame)


@pytest.fixture(scope="module")
def runner(qwen):
    with Runner(Which.Embedding(str(qwen))) as loaded:
        yield loaded


def distance(found, expected) -> float:
    """The largest cosine distance between rows."""
    a, b = torch.as_tensor(found).double(), torch.as_tensor(expected).double()
    assert a.shape == b.shape
    return (1 - torch.nn.functional.cosine_similarity(a, b, dim=-1)).abs().max().item()


def vectors(runner, value, **options) -> list[list[float]]:
    return runner.send_embedding_request(EmbeddingRequest(value, **options))


def test_same_as_transformers(model):
    folder, runner = model
    found = vectors(runner, TEXTS)
    ids = [runner.tokenize_text(text, True) for text in TEXTS]
    expected = torch.stack([sentence.reference(folder, one) for one in ids])
    assert distance(found, expected) <= TOLERANCE
    assert torch.allclose(torch.tensor(found), expected, rtol=1e-4, atol=1e-5)
    assert distance(found[:1], found[1:2]) > 0.01


def test_a_batch_changes_nothing(model):
    _, runner = model
    ids = [runner.tokenize_text(text, True) for text in TEXTS]
    together = vectors(runner, TEXTS * 9)
    alone = [vectors(runner, text)[0] for text in TEXTS]
    assert together == alone * 9
    assert vectors(runner, ids) == alone
    assert vectors(runner, ids[1]) == alone[1:2]


def test_sixteen_bit_weights(tmp_path):
    *what, frame = CASES["embeddinggemma"]
    folder = sentence.save(tmp_path, *what, frame=frame)
    with (
        Runner(Which.Embedding(str(folder))) as exact,
        Runner(Which.Embedding(str(folder), dtype="bf16")) as short,
    ):
        assert 0 < distance(vectors(short, TEXTS), vectors(exact, TEXTS)) < 1e-3


def test_many_threads(runner):
    texts = [f"text {i} " + "y" * (i % 40) for i in range(60)]
    expected = vectors(runner, texts)
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda text: vectors(runner, text)[0], texts))
    assert found == expected


def test_async(runner):
    async def ask():
        one = AsyncRunner(runner)
        requests = [EmbeddingRequest([text, "b"]) for text in TEXTS]
        return await asyncio.gather(*map(one.send_embedding_request, requests))

    assert asyncio.run(ask()) == [vectors(runner, [text, "b"]) for text in TEXTS]


def test_pooling_in_the_newer_spelling(qwen, tmp_path):
    *what, frame = CASES["qwen3"]
    folder = sentence.save(tmp_path, *what, frame=frame)
    newer = dict(embedding_dimension=64, pooling_mode="lasttoken", include_prompt=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(newer))
    with Runner(Which.Embedding(str(folder), arch="qwen3embedding")) as found:
        ids = found.tokenize_text("a fox", True)
        assert distance(vectors(found, "a fox"), sentence.reference(qwen, ids)[None]) <= TOLERANCE


def test_truncation_keeps_the_beginning(runner):
    ids = runner.tokenize_text("z" * 100, True)
    assert runner.max_sequence_length() == 64
    assert vectors(runner, "z" * 100, truncate_sequence=True) == vectors(runner, ids[:64])
    with pytest.raises(errors.ContextLengthError, match="truncate_sequence"):
        vectors(runner, ["short", "z" * 100])


def test_max_seq_length_of_the_checkpoint(tmp_path):
    *what, frame = CASES["qwen3"]
    folder = sentence.save(tmp_path, *what, frame=frame)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    with Runner(Which.Embedding(str(folder))) as short:
        assert short.max_sequence_length() == 20
        with pytest.raises(errors.ContextLengthError, match="20"):
            vectors(short, "z" * 30)


@pytest.mark.parametrize("tokens", [[300], [1, 2, 4294967295]])
def test_unknown_tokens(runner, tokens):
    with pytest.raises(errors.RequestError, match="outside the vocabulary"):
        vectors(runner, tokens)


def test_an_embedding_model_does_not_chat(runner):
    chat = ChatCompletionRequest(messages="hello")
    with pytest.raises(errors.RequestError, match="send_embedding_request"):
        runner.send_chat_completion_request(chat)
    with pytest.raises(errors.RequestError, match="send_embedding_request"):
        runner.send_completion_request(CompletionRequest(prompt="hello"))
    with pytest.raises(errors.RequestError, match="send_embedding_request"):
        asyncio.run(AsyncRunner(runner).send_chat_completion_request(chat))


def test_a_text_model_does_not_embed(demo):
    with pytest.raises(errors.RequestError, match=r"Which\.Embedding"):
        vectors(demo, "hello")
    with pytest.raises(errors.RequestError, match=r"Which\.Embedding"):
        asyncio.run(AsyncRunner(demo).send_embedding_request(EmbeddingRequest("hello")))


def test_timeout(runner):
    with pytest.raises(errors.RequestTimeoutError, match="larger timeout"):
        runner.send_embedding_request(EmbeddingRequest(["x" * 60] * 50), timeout=1e-6)
    assert len(vectors(runner, "still here")) == 1


def test_unload_and_load_again(qwen):
    with Runner(Which.Embedding(str(qwen))) as runner:
        before, name = vectors(runner, TEXTS), runner.get_default_model_id()
        runner.unload_model(name)
        assert runner.list_unloaded_models() == [name]
        assert vectors(runner, TEXTS) == before


def test_wrong_kind_of_which(qwen, demo):
    with pytest.raises(errors.NotSupportedError, match=r"Which\.Embedding"):
        Runner(Which.Plain(str(qwen)))
    with pytest.raises(errors.ConfigError, match=r"modules\.json"):
        Runner(Which.Embedding(demo.get_default_model_id()))


@pytest.mark.parametrize(
    ("file", "content", "error", "message"),
    [
        ("modules.json", "[]", errors.NotSupportedError, "no pooling"),
        ("modules.json", "[1]", errors.ConfigError, "download it again"),
        ("1_Pooling/config.json", "{}", errors.NotSupportedError, "pooling"),
        (
            "1_Pooling/config.json",
            '{"pooling_mode": "mean", "include_prompt": false}',
            errors.NotSupportedError,
            "include_prompt",
        ),
        (
            "2_Dense/config.json",
            '{"in_features": 64, "out_features": 48, "activation_function": "my.Act"}',
            errors.NotSupportedError,
            "Dense",
        ),
        (
            "2_Dense/config.json",
            '{"in_features": 64, "out_features": 47, "activation_function": "Tanh"}',
            errors.CheckpointError,
            r"linear\.weight",
        ),
        ("2_Dense/model.safetensors", None, errors.CheckpointError, r"2_Dense/model\.safetensors"),
    ],
)
def test_broken_checkpoint(tmp_path, file, content, error, message):
    modules = [("Pooling", MEAN), dense(64, 48), NORMALIZE]
    folder = sentence.save(tmp_path, "Llama", dict(num_hidden_layers=1), modules)
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(error, match=message):
        Runner(Which.Embedding(str(folder)))

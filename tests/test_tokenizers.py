"""Models that come with another tokenizer file than tokenizer.json, or with one too large, through a Runner."""

import io
import json
import logging
import re
import shutil
from pathlib import Path

import pytest

from mistralrs import CompletionRequest, ConfigError, RequestError, Runner, Which
from mistralrs.demo import model_path
from tests.prompt import families
from tests.prompt.corpus import corpus

GRAMMARS = [" ?the (quick|brown) fox", "[a-z]{5}", '\\{"name": "[a-zé你]{3}"\\}', "  two blanks\n"]
TEXT = "The quick brown <|im_start|> fox 你 1234"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The demo model without its tokenizer."""
    folder = shutil.copytree(model_path(), tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


def sentencepiece(folder: Path) -> None:
    """Write a tokenizer.model."""
    spm = pytest.importorskip("sentencepiece")
    content = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter([text.replace("\n", " ") for text in corpus(300, special=False)]),
        model_writer=content,
        model_type="bpe",
        vocab_size=1400,
        hard_vocab_limit=False,
        byte_fallback=True,
        user_defined_symbols=["<|im_start|>"],
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(content.getvalue())


def tekken(folder: Path) -> None:
    """Write a tekken.json."""
    content = families.tekken(default_vocab_size=1200)
    (folder / "tekken.json").write_text(json.dumps(content))


def say(runner: Runner, prompt: str) -> str:
    request = CompletionRequest(model="default", prompt=prompt, max_tokens=8, temperature=0.0)
    response = runner.send_completion_request(request)
    assert response.usage.completion_tokens >= 1
    return response.choices[0].text


@pytest.mark.parametrize("write", [sentencepiece, tekken])
def test_a_model_without_tokenizer_json(model, write):
    write(model)
    with Runner(which=Which.Plain(str(model)), pa_ctxt_len=256) as runner:
        ids = runner.tokenize_text(TEXT, True)
        assert ids[0] == 1  # BOS
        assert runner.detokenize_text(ids[1:], False) == TEXT
        assert say(runner, TEXT) == say(runner, TEXT)
        for grammar in GRAMMARS:
            rule = dict(grammar=grammar, grammar_type="regex", max_tokens=60, temperature=1.0)
            request = CompletionRequest(TEXT, seed=2, **rule)
            assert re.fullmatch(grammar, runner.send_completion_request(request).choices[0].text)


def test_a_model_without_a_tokenizer(model):
    with pytest.raises(
        ConfigError, match=r"none of tokenizer\.json, tekken\.json, tokenizer\.model"
    ):
        Runner(which=Which.Plain(str(model)))


def test_the_tokenizer_of_a_larger_model(model):
    (model / "tekken.json").write_text(json.dumps(families.tekken()))
    with pytest.raises(ConfigError, match=r"1992.* 1536 rows.*tokenizer_json"):
        Runner(which=Which.Plain(str(model)))


def test_added_tokens_beyond_the_embedding(model, caplog):
    shutil.copy(model_path() / "tokenizer.json", model)
    file = json.loads((model / "tokenizer.json").read_text())
    last = max([*file["model"]["vocab"].values(), *(token["id"] for token in file["added_tokens"])])
    listed = [f"<new{number}>" for number in range(1536 - last)]
    config = {"additional_special_tokens": listed}
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    with caplog.at_level(logging.WARNING, "mistralrs"):
        runner = Runner(which=Which.Plain(str(model)), pa_ctxt_len=256)
    with runner:
        (message,) = [r.getMessage() for r in caplog.records if "embedding" in r.getMessage()]
        assert listed[-1] in message
        with pytest.raises(RequestError, match=f"{listed[-1]}.*1536 rows"):
            say(runner, f"a {listed[-1]}")
        assert say(runner, "a") == say(runner, "a")

"""The demo model as GGUF files through a Runner: the same text, tokenizer and template as from its folder."""

import json
import re

import pytest

from mistralrs import (
    ChatCompletionRequest,
    CompletionRequest,
    ModelDType,
    ModelNotFoundError,
    NotSupportedError,
    Runner,
    Which,
)
from mistralrs.demo import model_path
from tests.load import convert

FOLDER = model_path()
PROMPT = "def add(a, b):\n    return"


def tokenizer(writer, cfg) -> None:
    """The demo model's vocabulary, as the converter writes one."""
    file = json.loads((FOLDER / "tokenizer.json").read_text())
    added = {token["id"]: token for token in file["added_tokens"]}
    names = {id: token for token, id in file["model"]["vocab"].items()}
    names |= {id: token["content"] for id, token in added.items()}
    ids = range(cfg["vocab_size"])
    kinds = [
        (3 if added[i]["special"] else 4) if i in added else 1 if i in names else 5 for i in ids
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([names.get(i, f"[PAD{i}]") for i in ids])
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in file["model"]["merges"]])
    eos = json.loads((FOLDER / "tokenizer_config.json").read_text())["eos_token"]
    writer.add_eos_token_id(next(i for i, name in names.items() if name == eos))
    writer.add_add_bos_token(False)
    writer.add_chat_template((FOLDER / "chat_template.jinja").read_text())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A directory with the demo model as float32 and as Q8_0."""
    folder = tmp_path_factory.mktemp("gguf")
    for kind in ("F32", "Q8_0"):
        convert.convert(FOLDER, folder / f"demo-{kind}.gguf", kind, tokenizer)
    return folder


def say(runner: Runner) -> tuple[str, str]:
    chat = ChatCompletionRequest(
        model="default",
        messages=[{"role": "user", "content": "Tell me a story."}],
        max_tokens=24,
        temperature=0.0,
    )
    completion = CompletionRequest(model="default", prompt=PROMPT, max_tokens=12, temperature=0.0)
    answer = runner.send_chat_completion_request(chat).choices[0].message.content
    return answer, runner.send_completion_request(completion).choices[0].text


def load(which: Which) -> Runner:
    return Runner(which=which, pa_ctxt_len=2048)


@pytest.mark.parametrize(
    "more",
    [{}, {"tok_model_id": str(FOLDER)}, {"tokenizer_json": str(FOLDER / "tokenizer.json")}],
    ids=["own tokenizer", "another model's", "a file's"],
)
def test_greedy_text(demo, files, more):
    with load(Which.GGUF(str(files), "demo-F32.gguf", dtype=ModelDType.F32, **more)) as runner:
        assert say(runner) == say(demo)


def test_a_grammar(files):
    rule = dict(grammar=" ?[a-z]{3} (cats|dogs)", grammar_type="regex", max_tokens=30)
    with load(Which.GGUF(str(files), "demo-F32.gguf")) as runner:
        request = CompletionRequest("I see", seed=2, **rule)
        assert re.fullmatch(
            rule["grammar"], runner.send_completion_request(request).choices[0].text
        )


def test_quantized_text(files):
    with load(Which.GGUF(str(files), "demo-Q8_0.gguf")) as runner:
        answer, text = say(runner)
    assert answer
    assert text


def test_a_file_that_is_not_there(files):
    with pytest.raises(
        ModelNotFoundError, match="no file 'x.gguf'; .*: demo-F32.gguf, demo-Q8_0.gguf"
    ):
        load(Which.GGUF(str(files), "x.gguf"))
    with pytest.raises(ModelNotFoundError, match="no file 'm-00001-of-00002.gguf'"):
        load(Which.GGUF(str(files), "m-00002-of-00002.gguf"))


def test_what_is_to_come(files):
    with pytest.raises(NotSupportedError, match=r"Which.GGUF\(mmproj_filename=...\): images"):
        load(Which.GGUF(str(files), "demo-F32.gguf", mmproj_filename="m.gguf"))

"""What users get wrong: each mistake has its typed error, whose message names the fix, and nothing breaks."""

import json
import re
import shutil
from pathlib import Path

import pytest
import safetensors.torch

from mistralrs import (
    Architecture,
    ChatCompletionRequest,
    CompletionRequest,
    ModelDType,
    Runner,
    Which,
)
from mistralrs.api import errors
from mistralrs.demo import model_path
from tests.load.test_hub import hub  # noqa: F401  a hub on this machine


def edit(**values):
    """Change config.json; `...` removes a key."""

    def change(folder: Path) -> None:
        file = folder / "config.json"
        config = json.loads(file.read_text()) | values
        file.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))

    return change


def write(name: str, text: str):
    """Replace a file."""
    return lambda folder: (folder / name).write_text(text)


def remove(name: str):
    """Delete a file."""
    return lambda folder: (folder / name).unlink()


def shorten(name: str, part: float):
    """Keep the first part of a file, as a broken download does."""

    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * part)])

    return change


def shard(folder: Path) -> None:
    """Split the weights into two files with an index."""
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    homes = {tensor: names[i % 2] for i, tensor in enumerate(sorted(tensors))}
    for name in names:
        part = {k: v for k, v in tensors.items() if homes[k] == name}
        safetensors.torch.save_file(part, folder / name)
    index = json.dumps({"metadata": {}, "weight_map": homes})
    (folder / "model.safetensors.index.json").write_text(index)


SECOND = "model-00002-of-00002.safetensors"
LAYERS = dict(num_hidden_layers=99, layer_types=["full_attention"] * 99)
ROPE = dict(rope_type="spiral", rope_theta=1e4)

# what is done to a copy of the demo model, the error, and what its message says
CHECKPOINTS = {
    "missing shard": ([shard, remove(SECOND)], errors.CheckpointError, f"{SECOND}.*again"),
    "truncated shard": ([shard, shorten(SECOND, 0.5)], errors.CheckpointError, "truncated.*again"),
    "truncated header": (
        [shorten("model.safetensors", 1e-4)],
        errors.CheckpointError,
        "truncated.*again",
    ),
    "no weights": ([remove("model.safetensors")], errors.CheckpointError, "has no model.safeten"),
    "unknown architecture": (
        [edit(architectures=["Qwen3ForCausalML"], model_type="x")],
        errors.NotSupportedError,
        "nearest known one is Qwen3ForCausalLM. Known: .*LlamaForCausalLM",
    ),
    "no architecture": (
        [edit(architectures=..., model_type=...)],
        errors.NotSupportedError,
        "names none. Known: .*pass arch",
    ),
    "no config": ([remove("config.json")], errors.ConfigError, "no config.json.*again"),
    "broken config": ([write("config.json", "{")], errors.ConfigError, "not valid JSON.*again"),
    "config is a list": ([write("config.json", "[]")], errors.ConfigError, "a JSON object"),
    "config lacks a size": ([edit(hidden_size=...)], errors.ConfigError, "has no 'hidden_size'"),
    "size of a wrong type": ([edit(hidden_size="big")], errors.ConfigError, "check the values"),
    "negative size": ([edit(num_hidden_layers=-1)], errors.ConfigError, "must be at least 1"),
    "unknown rope": ([edit(rope_parameters=ROPE)], errors.NotSupportedError, "these are: .*yarn"),
    "too few layers": ([edit(**LAYERS)], errors.CheckpointError, "lacks .*download it again"),
    "wrong shape": (
        [edit(intermediate_size=48)],
        errors.CheckpointError,
        r"has shape \[.*\[48, .*do not belong together",
    ),
    "no tokenizer": ([remove("tokenizer.json")], errors.ConfigError, "pass .*tokenizer_json"),
    "broken tokenizer": (
        [write("tokenizer.json", "{}")],
        errors.ConfigError,
        "not a readable tokenizer.json.*again",
    ),
    "broken template": (
        [write("chat_template.jinja", "{% for x in %}")],
        errors.TemplateError,
        "does not parse at line 1.*chat_template",
    ),
}


def assert_typed(caught: pytest.ExceptionInfo, kind: type[Exception], message: str) -> None:
    """An error of exactly this kind, also a ValueError, with this message."""
    assert isinstance(caught.value, kind)
    assert isinstance(caught.value, ValueError)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_checkpoint(case, tmp_path):
    changes, kind, message = CHECKPOINTS[case]
    folder = Path(shutil.copytree(model_path(), tmp_path / "model"))
    for change in changes:
        change(folder)
    with pytest.raises(errors.MistralRsError) as caught:
        Runner(Which.Plain(str(folder)))
    assert_typed(caught, kind, message)


def test_shards_that_are_whole_load(tmp_path):
    folder = Path(shutil.copytree(model_path(), tmp_path / "model"))
    shard(folder)
    with Runner(Which.Plain(str(folder)), pa_ctxt_len=2048) as runner:
        assert runner.send_completion_request(CompletionRequest("Hello", max_tokens=1))


DEMO = Which.Plain(str(model_path()))

# what is called, the error, and what its message says
RUNNERS = {
    "dtype": (lambda: Which.Plain("x", dtype="bf17"), errors.RequestError, "mean 'bf16'.*f32"),
    "arch name": (lambda: Which.Plain("x", arch="qwen33"), errors.RequestError, "mean 'qwen3'"),
    "arch of another model": (
        lambda: Runner(Which.Plain(str(model_path()), arch=Architecture.Llama)),
        errors.ConfigError,
        "arch='llama' contradicts config.json.*leave arch out",
    ),
    "a string": (lambda: Runner("demo"), errors.RequestError, "Which.Plain"),
    "an empty id": (lambda: Which.Plain(""), errors.RequestError, "model_id: is empty"),
    "a path": (lambda: Runner(Which.Plain("./modle")), errors.ModelNotFoundError, "no such direc"),
    "max_seqs": (lambda: Runner(DEMO, max_seqs=0), errors.RequestError, "max_seqs.*at least 1"),
    "max_seqs type": (lambda: Runner(DEMO, max_seqs="4"), errors.RequestError, "a whole number"),
    "context": (lambda: Runner(DEMO, pa_ctxt_len=-5), errors.RequestError, "pa_ctxt_len.*least 1"),
    "share": (lambda: Runner(DEMO, pa_gpu_mem_usage=2.0), errors.RequestError, "at most 1"),
    "seed": (lambda: Runner(DEMO, seed="x"), errors.RequestError, "seed.*whole number"),
}


@pytest.mark.parametrize("case", RUNNERS)
def test_runner(case):
    call, kind, message = RUNNERS[case]
    with pytest.raises(errors.MistralRsError) as caught:
        call()
    assert_typed(caught, kind, message)


# model id, token, the error, and what its message says; the models are those of tests/load/test_hub.py
HUB = {
    "unknown id": ("me/nothing", "none", errors.ModelNotFoundError, "me/nothing"),
    "misspelled id": ("me/plane", "literal:owner", errors.ModelNotFoundError, "me/plane"),
    "gated": ("me/gated", "none", errors.AccessError, "token"),
    "gated for this token": ("me/gated", "literal:other", errors.AccessError, "token"),
    "refused token": ("me/plain", "literal:expired", errors.AccessError, "token"),
}


@pytest.mark.parametrize("case", HUB)
def test_hub(hub, case):  # noqa: F811
    name, token, kind, message = HUB[case]
    with pytest.raises(errors.MistralRsError) as caught:
        Runner(Which.Plain(name), token_source=token)
    assert_typed(caught, kind, message)


def test_offline(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(errors.ModelNotFoundError) as caught:
        Runner(Which.Plain("nobody/nothing"))
    assert_typed(caught, errors.ModelNotFoundError, "HF_HUB_OFFLINE.*local directory")


def chat(messages="Hello", **rules) -> ChatCompletionRequest:
    """A short chat request."""
    return ChatCompletionRequest(messages, **dict(max_tokens=2) | rules)


def says(role, content) -> ChatCompletionRequest:
    """A chat request of one message."""
    return chat([{"role": role, "content": content}])


IMAGE = {"type": "image_url", "image_url": {"url": "x.png"}}

# a request, the error, and what its message says
CHATS = {
    "no messages": (lambda: chat([]), errors.RequestError, "is empty; give"),
    "messages are a number": (lambda: chat(3), errors.RequestTypeError, "a string or a list"),
    "a message is a number": (lambda: chat([3]), errors.RequestTypeError, "'role' and 'content'"),
    "unknown role": (lambda: says("usr", "x"), errors.RequestError, "did you mean 'user'.*tool"),
    "no role": (lambda: chat([{"content": "x"}]), errors.RequestError, "Roles: system"),
    "no content": (lambda: chat([{"role": "user"}]), errors.RequestError, "content: is missing"),
    "content is a number": (lambda: says("user", 3), errors.RequestTypeError, "a string or a list"),
    "an image": (lambda: says("user", [IMAGE]), errors.MediaError, "Which.VisionPlain"),
    "half a surrogate": (lambda: says("user", "\ud800"), errors.RequestError, "surrogates"),
    "temperature": (lambda: chat(temperature=-1), errors.RequestError, "at least 0"),
    "temperature type": (lambda: chat(temperature="1"), errors.RequestTypeError, "a number"),
    "not a number": (lambda: chat(top_p=float("nan")), errors.RequestError, "finite"),
    "top_p": (lambda: chat(top_p=2), errors.RequestError, "at most 1"),
    "no tokens": (lambda: chat(max_tokens=0), errors.RequestError, "at least 1"),
    "no choices": (lambda: chat(n_choices=0), errors.RequestError, "at least 1"),
    "biased token": (lambda: chat(logit_bias={10**9: 1}), errors.RequestError, "tokenize_text"),
    "grammar without type": (lambda: chat(grammar="x"), errors.GrammarError, "give both"),
    "thinking contradicts": (
        lambda: chat(reasoning_effort="off", enable_thinking=True),
        errors.RequestError,
        "contradicts enable_thinking=True; leave",
    ),
    "two kinds of adapter": (
        lambda: chat(adapter="a", adapters=["b"]),
        errors.RequestError,
        "exclude each other",
    ),
    "tool schema": (lambda: chat(tool_schemas=["{"]), errors.ToolError, "not valid JSON"),
    "too long": (
        lambda: chat("word " * 5000),
        errors.ContextLengthError,
        "has .* tokens, .*maximum length .*truncate_sequence",
    ),
    "another model": (lambda: chat(model="other"), errors.ModelNotFoundError, "there are: "),
    "a completion": (
        lambda: CompletionRequest("x"),
        errors.RequestTypeError,
        "must be a ChatCompletionRequest",
    ),
    "a dict": (lambda: {"messages": "x"}, errors.RequestTypeError, "a ChatCompletionRequest"),
}
COMPLETIONS = {
    "empty prompt": (lambda: CompletionRequest(""), errors.RequestError, "empty; send at least"),
    "prompt type": (lambda: CompletionRequest(3), errors.RequestTypeError, "must be a string"),
    "too long": (
        lambda: CompletionRequest("word " * 5000),
        errors.ContextLengthError,
        "truncate_sequence",
    ),
    "a chat": (lambda: chat(), errors.RequestTypeError, "must be a CompletionRequest"),
}


@pytest.mark.parametrize("case", CHATS)
def test_chat(demo, case):
    make, kind, message = CHATS[case]
    with pytest.raises(errors.MistralRsError) as caught:
        demo.send_chat_completion_request(make())
    assert_typed(caught, kind, message)
    assert demo.send_chat_completion_request(chat()).usage.completion_tokens <= 2


@pytest.mark.parametrize("case", COMPLETIONS)
def test_completion(demo, case):
    make, kind, message = COMPLETIONS[case]
    with pytest.raises(errors.MistralRsError) as caught:
        demo.send_completion_request(make())
    assert_typed(caught, kind, message)
    assert demo.send_chat_completion_request(chat()).usage.completion_tokens <= 2


CALLS = {
    "timeout": (lambda r: r.send_chat_completion_request(chat(), timeout="x"), "timeout.*number"),
    "no time": (lambda r: r.send_chat_completion_request(chat(), timeout=0), "greater than 0"),
    "text": (lambda r: r.tokenize_text(3, True), "must be a string"),
    "tokens": (lambda r: r.detokenize_text(["x"], True), "a whole number"),
    "model": (lambda r: r.unload_model("other"), "there are: "),
}


@pytest.mark.parametrize("case", CALLS)
def test_call(demo, case):
    call, message = CALLS[case]
    with pytest.raises(errors.MistralRsError) as caught:
        call(demo)
    assert_typed(caught, errors.MistralRsError, message)


EXTREMES = [  # the ends of what a request may ask for
    dict(temperature=1e6), dict(temperature=1.01e-7), dict(temperature=1e-300), dict(repetition_penalty=1e6),
    dict(repetition_penalty=1e-6), dict(frequency_penalty=1e6), dict(presence_penalty=-1e6),
    dict(logit_bias={3: 1e30, 4: -1e30}, repetition_penalty=1e6),
    dict(logit_bias=dict.fromkeys(range(500), -1e+30)),
    dict(dry_multiplier=1e6, dry_base=1e6, dry_allowed_length=0), dict(top_k=10**400), dict(seed=-(10**400)),
    dict(max_tokens=10**400, stop_seqs=["e"]), dict(logprobs=True, top_logprobs=10**400), dict(top_p=1e-300),
]  # fmt: skip


@pytest.mark.parametrize("rules", EXTREMES, ids=str)
def test_extremes_are_answered(demo, rules):
    """Finite scores whatever the rules, and JSON that any parser reads."""
    response = demo.send_chat_completion_request(chat(**{"max_tokens": 6, "seed": 1} | rules))
    assert response.choices[0].finish_reason in ("stop", "length")
    assert json.loads(json.dumps(response.to_dict(), allow_nan=False))


def test_a_chat_without_a_template(tmp_path):
    folder = Path(shutil.copytree(model_path(), tmp_path / "model"))
    remove("chat_template.jinja")(folder)
    with Runner(Which.Plain(str(folder), dtype=ModelDType.F32), pa_ctxt_len=2048) as runner:
        with pytest.raises(errors.TemplateError) as caught:
            runner.send_chat_completion_request(chat())
        assert_typed(caught, errors.TemplateError, "CompletionRequest.*chat_template")
        assert runner.send_completion_request(CompletionRequest("Hello", max_tokens=2))


def test_a_prompt_as_long_as_the_context(demo):
    context = demo.max_sequence_length()
    with Runner(DEMO, pa_ctxt_len=context) as runner:
        request = CompletionRequest(text_of(runner, context))
        response = runner.send_completion_request(request, timeout=60)
    assert response.usage.prompt_tokens == context
    assert response.usage.completion_tokens == 1


def text_of(runner: Runner, count: int) -> str:
    """A text of exactly that many tokens: in the demo model every digit is one."""
    text = "7" * count
    assert len(runner.tokenize_text(text, True)) == count
    return text

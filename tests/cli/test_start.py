"""Options -> the Which and the Runner arguments."""

import os
from typing import Any

import pytest

from mistralrs.api.errors import RequestError
from mistralrs.api.options import TextAutoMapParams
from mistralrs.api.which import Which
from mistralrs.cli.options import ModelOptions
from mistralrs.cli.start import which
from mistralrs.demo import model_path

WHICH = [
    ("auto", {}, Which.Plain(str(model_path()))),
    ("text", {"model_id": "a/b"}, Which.Plain("a/b")),
    ("auto", {"model_id": "a/b", "arch": "qwen3"}, Which.Plain("a/b", arch="qwen3")),
    (
        "auto",
        {"model_id": "a/b", "tokenizer": "t.json", "dtype": "f16", "hf_cache": "c"},
        Which.Plain("a/b", tokenizer_json="t.json", dtype="f16", hf_cache_path="c"),
    ),
    (
        "auto",
        {"model_id": "a/b", "max_seq_len": 99},
        Which.Plain("a/b", auto_map_params=TextAutoMapParams(max_seq_len=99)),
    ),
    (
        "auto",
        {"model_id": "a/b", "quantized_file": "x.gguf", "tok_model_id": "t"},
        Which.GGUF("a/b", "x.gguf", tok_model_id="t"),
    ),
    (
        "auto",
        {"model_id": "a/b", "quantized_file": "x.bin", "format": "ggml"},
        Which.GGML("a/b", "x.bin"),
    ),
    (
        "auto",
        {"model_id": "a/b", "isq_organization": "MoQE", "max_batch_size": 3},
        Which.Plain(
            "a/b", organization="moqe", auto_map_params=TextAutoMapParams(max_batch_size=3)
        ),
    ),
    ("auto", {"model_id": "a/b", "lora": "c"}, Which.Lora("c", model_id="a/b")),
    (
        "text",
        {"model_id": "a/b", "quantized_file": "x", "xlora": "c", "xlora_order": "o"},
        Which.XLoraGGUF("a/b", "x", "c", "o"),
    ),
    ("embedding", {"model_id": "a/b"}, Which.Embedding("a/b")),
    ("diffusion", {"model_id": "a/b"}, Which.DiffusionPlain("a/b", "flux")),
    ("speech", {"model_id": "a/b"}, Which.Speech("a/b", "dia")),
    ("auto", {"model_id": "a/b", "arch": "qwen2vl"}, Which.VisionPlain("a/b", arch="qwen2vl")),
    ("vision", {"model_id": "a/b"}, Which.VisionPlain("a/b")),
    ("vision", {"model_id": "a/b", "arch": "llava"}, Which.VisionPlain("a/b", arch="llava")),
    ("auto", {"model_id": "a/b", "max_edge": 99}, Which.VisionPlain("a/b", max_edge=99)),
]


@pytest.mark.parametrize(("kind", "options", "expected"), WHICH)
def test_which(kind: str, options: dict[str, Any], expected: Any) -> None:
    assert which(kind, ModelOptions(**options)) == expected


REFUSED = [
    ("auto", {"format": "gguf"}, RequestError, "-f NAME.gguf"),
    ("auto", {"format": "plain", "quantized_file": "x"}, RequestError, "--format"),
    ("embedding", {"lora": "x"}, RequestError, "plain weights"),
    (
        "auto",
        {"lora": "x", "isq_organization": "moqe"},
        RequestError,
        "isq_organization has no effect",
    ),
    ("auto", {"xlora": "x"}, RequestError, "xlora_order"),
]


@pytest.mark.parametrize(("kind", "options", "error", "message"), REFUSED)
def test_refused(kind: str, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        which(kind, ModelOptions(**options))


RUNNER = [
    ([], {"max_seqs": 32, "no_kv_cache": False, "prefix_cache_n": 16}),
    (["--max-seqs", "2", "--no-kv-cache"], {"max_seqs": 2, "no_kv_cache": True}),
    (["--isq", "4", "--pa-context-len", "64"], {"in_situ_quant": "4", "pa_ctxt_len": 64}),
    (["-c", "a.jinja", "-j", "b.jinja"], {"chat_template": "a.jinja", "jinja_explicit": "b.jinja"}),
    (["--seed", "5", "--token-source", "none"], {"seed": 5, "token_source": "none"}),
]


@pytest.mark.parametrize(("options", "expected"), RUNNER)
def test_runner_arguments(
    options: list[str], expected: dict[str, Any], fake: Any, call: Any
) -> None:
    code, _, _ = call("run", "-m", "org/name", "-i", "hi", *options)
    assert code == 0
    assert fake.arguments.items() >= expected.items()
    assert fake.arguments["which"] == Which.Plain("org/name")
    assert None not in fake.arguments.values()


def test_global_options_reach_the_command(fake: Any, call: Any) -> None:
    call("--seed", "5", "--token-source", "none", "run", "text", "-i", "hi")
    assert (fake.arguments["seed"], fake.arguments["token_source"]) == (5, "none")


def test_cpu_hides_the_gpus(fake: Any, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    call("run", "--cpu", "-i", "hi")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""

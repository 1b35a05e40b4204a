"""Which: members, aliases, lists of names, and errors."""

import dataclasses
import pickle
from pathlib import Path

import pytest

from mistralrs import Architecture as A
from mistralrs import (
    LoraAdapter,
    ModelDType,
    SpeechLoaderType,
    TextAutoMapParams,
    VisionAutoMapParams,
    Which,
)
from mistralrs import VisionArchitecture as V
from mistralrs.api.errors import RequestError

SAME = [
    (Which.Plain("m", A.GptOss), Which.Plain(model_id="m", arch="gpt_oss")),
    (Which.Plain("m"), Which.Plain("m", auto_map_params=(None,))),
    (Which.Plain("m"), Which.Plain("m", dtype=None)),
    (Which.Plain("m", dtype=ModelDType.F16), Which.Plain("m", dtype="f16")),
    (Which.Plain("a/b"), Which.Plain(Path("a") / "b")),
    (Which.Plain("m", from_uqff="a;b"), Which.Plain("m", from_uqff=["a", "b"])),
    (Which.Plain("m", from_uqff="a"), Which.Plain("m", from_uqff=["a"])),
    (Which.GGUF("m", "a;b"), Which.GGUF("m", ["a", " b "])),
    (Which.Lora("a;b"), Which.Lora(adapter_model_ids=["a", "b"])),
    (Which.LoraGGUF("m", "f", "x", "o"), Which.LoraGGUF("m", "f", xlora_model_id="x", order="o")),
    (Which.Speech("m", SpeechLoaderType.Dia), Which.Speech("m", "dia")),
]
WRONG = [
    (lambda: Which.Plain(None), "model_id: is required"),
    (lambda: Which.Plain(""), "model_id: is empty"),
    (lambda: Which.Plain(3), "model_id: must be a string, not 3"),
    (
        lambda: Which.Plain("m", arch="qwen33"),
        "arch: 'qwen33' is not a value .*did you mean 'qwen3'",
    ),
    (lambda: Which.Plain("m", arch=V.Gemma3), "arch: must be a member of Architecture, not Vision"),
    (lambda: Which.Plain("m", imatrix="a", calibration_file="b"), "exclude each other"),
    (lambda: Which.Plain("m", auto_map_params=VisionAutoMapParams()), "must be TextAutoMapParams"),
    (lambda: Which.Plain("m", from_uqff=" ; "), "from_uqff: is empty"),
    (lambda: Which.VisionPlain("m", auto_map_params=TextAutoMapParams()), "must be VisionAuto"),
    (lambda: Which.GGUF("m", []), "quantized_filename: is empty"),
    (lambda: Which.GGML("m", ["a", "b"]), "quantized_filename: must be a string"),
    (lambda: Which.GGML("m", "a", gqa=0), "gqa: must be at least 1, not 0"),
    (lambda: Which.Lora(), "give adapter_model_id, or model_id and adapters"),
    (lambda: Which.Lora(model_id="m", adapters=["x"]), r"adapters\[0\]: must be LoraAdapter"),
    (lambda: Which.DiffusionPlain("m", "fluks"), "did you mean 'flux'"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_ways_to_say_the_same(one, other):
    assert one == other
    assert hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)) == dataclasses.replace(other) == one
    assert isinstance(one, Which)


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_errors(make, message):
    with pytest.raises(RequestError, match=message):
        make()


def test_names_one_by_one():
    assert Which.GGUF("m", "a").quantized_filenames == ("a",)
    assert Which.XLoraGGUF("m", "a;b", "x", "o").quantized_filenames == ("a", "b")
    assert Which.Lora("a;b").adapter_model_ids == ("a", "b")
    assert Which.Lora(model_id="m", adapters=[LoraAdapter("a", "s")]).adapter_model_ids == ()


def test_multimodal_is_another_name_of_vision():
    assert Which.MultimodalPlain is Which.VisionPlain


def test_an_alias_and_its_name_together():
    with pytest.raises(
        TypeError, match="'adapter_model_ids' is another name of 'adapter_model_id'"
    ):
        Which.Lora(adapter_model_ids=["a"], adapter_model_id="b")


def test_which_itself_makes_nothing():
    with pytest.raises(TypeError, match="through its members: Which.Plain, Which.XLora"):
        Which()


def test_repr_shows_what_was_set():
    which = Which.Plain("m", "llama", dtype=ModelDType.BF16)
    assert (
        repr(which) == "Which.Plain(model_id='m', arch=Architecture.Llama, dtype=ModelDType.BF16)"
    )

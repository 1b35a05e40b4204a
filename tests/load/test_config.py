"""Every spelling of config.json gives one Config, the one that transformers' classes give."""

import copy
import json

import pytest
import torch
import transformers

from mistralrs.api.errors import ConfigError, NotSupportedError
from mistralrs.load.config import Config, _cuda_dtype, architecture_of, choose_dtype, eos_ids

FACTORS = [1.0 + i / 8 for i in range(8)]
LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
LONG = {"long_factor": FACTORS, "short_factor": FACTORS}
LONGROPE = {
    "original_max_position_embeddings": 2048,
    "rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4, **LONG},
}
BASE = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 6,
    "max_position_embeddings": 4096,
}
# Defaults as the architectures declare them.
QWEN = {"use_sliding_window": False, "max_window_layers": 28, "sliding_window": 4096}
GEMMA2 = {"head_dim": 256, "sliding_window": 4096, "sliding_window_pattern": 2}
GEMMA3 = {
    "head_dim": 256,
    "sliding_window": 4096,
    "sliding_window_pattern": 6,
    "rope_theta": 1e6,
    "rope_local_base_freq": 1e4,
}
# class of transformers, our defaults, a file, the same in the spelling that the class reads.
SPELLINGS = {
    "llama": (transformers.LlamaConfig, {}, {"rope_theta": 5e5}, None),
    "llama 1": (transformers.LlamaConfig, {}, {}, {"rope_scaling": None}),
    "llama 3.1": (transformers.LlamaConfig, {}, {"rope_theta": 5e5, "rope_scaling": LLAMA3}, None),
    "llama linear": (
        transformers.LlamaConfig,
        {},
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        None,
    ),
    "llama dynamic": (
        transformers.LlamaConfig,
        {},
        {"rope_theta": 1e4, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
        None,
    ),
    "mistral": (transformers.MistralConfig, {}, {"rope_theta": 1e6, "sliding_window": 512}, None),
    "qwen2": (transformers.Qwen2Config, QWEN, {"rope_theta": 1e6, "max_window_layers": 2}, None),
    "qwen2 window": (
        transformers.Qwen2Config,
        QWEN,
        {"use_sliding_window": True, "max_window_layers": 2, "sliding_window": 128},
        None,
    ),
    "qwen2 yarn": (
        transformers.Qwen2Config,
        QWEN,
        {
            "rope_theta": 1e6,
            "rope_scaling": {
                "factor": 4.0,
                "original_max_position_embeddings": 32768,
                "type": "yarn",
            },
        },
        None,
    ),
    "qwen3": (
        transformers.Qwen3Config,
        QWEN,
        {"rope_theta": 1e6, "head_dim": 128, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
        None,
    ),
    "phi3 su": (
        transformers.Phi3Config,
        {},
        {
            "original_max_position_embeddings": 2048,
            "rope_scaling": {"type": "su", **LONG},
            "rope_theta": 1e4,
        },
        LONGROPE,
    ),
    "phi3 yarn": (
        transformers.Phi3Config,
        {},
        {"original_max_position_embeddings": 2048, "rope_scaling": {"type": "yarn", **LONG}},
        LONGROPE,
    ),
    "phi4": (
        transformers.Phi3Config,
        {},
        {
            "original_max_position_embeddings": 2048,
            "partial_rotary_factor": 0.75,
            "rope_theta": 1e4,
            "rope_scaling": {
                "type": "longrope",
                "long_factor": FACTORS[:6],
                "short_factor": FACTORS[:6],
            },
        },
        None,
    ),
    "gemma2": (transformers.Gemma2Config, GEMMA2, {"rope_theta": 1e4}, None),
    "gemma3": (
        transformers.Gemma3TextConfig,
        GEMMA3,
        {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 3},
        None,
    ),
    "gemma3 linear": (
        transformers.Gemma3TextConfig,
        GEMMA3,
        {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}},
        None,
    ),
}


def reference_rope(config) -> dict:
    """transformers' rope settings in our shape: by layer type, without leftovers."""
    given = config.rope_parameters
    nested = {k: v for k, v in given.items() if isinstance(v, dict)} or {"default": given}
    return {
        kind: {"partial_rotary_factor": 1.0} | {k: v for k, v in one.items() if k != "type"}
        for kind, one in nested.items()
    }


@pytest.mark.parametrize("case", SPELLINGS)
def test_both_spellings_agree_with_transformers(case):
    cls, defaults, old, new = SPELLINGS[case]
    base = BASE | {"num_key_value_heads": 2}
    reference = cls(**copy.deepcopy(base | (new or old)))
    written = json.loads(reference.to_json_string())  # what transformers 5 saves
    for raw in (base | old, written, base | (new or old)):
        cfg = Config(copy.deepcopy(raw), defaults)
        assert cfg.rope == reference_rope(reference)
        for key in ("num_key_value_heads", "layer_types", "sliding_window", "head_dim"):
            if getattr(reference, key, None) is not None:
                assert cfg.get(key) == getattr(reference, key), key


ROPES = {
    "nested": (
        {
            "rope_parameters": {
                "full_attention": {"rope_type": "proportional", "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default"},
            },
            "rope_theta": 1e4,
            "partial_rotary_factor": 0.25,
        },
        {
            "full_attention": {
                "rope_type": "proportional",
                "rope_theta": 1e6,
                "partial_rotary_factor": 0.25,
            },
            "sliding_attention": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "partial_rotary_factor": 0.25,
            },
        },
    ),
    "mrope": (
        {"rope_theta": 1e6, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}},
        {
            "default": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "partial_rotary_factor": 1.0,
                "mrope_section": [16, 24, 24],
            }
        },
    ),
    "file over defaults": (
        {"rope_parameters": {"rope_type": "default", "rope_theta": 3.0}},
        {"default": {"rope_type": "default", "rope_theta": 3.0, "partial_rotary_factor": 1.0}},
    ),
}


@pytest.mark.parametrize("case", ROPES)
def test_rope(case):
    raw, expected = ROPES[case]
    assert Config(raw, {"rope_theta": 7.0}).rope == expected


def test_rope_of_a_wrong_type_is_an_error():
    with pytest.raises(ConfigError, match="rope settings must be an object"):
        _ = Config({"rope_scaling": "linear"}).rope


def test_values_and_defaults():
    raw = {
        **BASE,
        "sliding_window": None,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
        "eos_token_id": [2, 7],
    }
    cfg = Config(raw, {"sliding_window": 4096, "hidden_act": "gelu", "rms_norm_eps": 1e-6})
    assert (cfg.hidden_size, cfg.hidden_act, cfg.rms_norm_eps) == (64, "silu", 1e-6)
    assert cfg.sliding_window is None
    assert (cfg.head_dim, cfg.num_key_value_heads, cfg.tie_word_embeddings) == (16, 4, False)
    assert (cfg.dtype, cfg.eos) == ("bfloat16", (2, 7))
    assert (cfg.get("nothing", 3), cfg.get("sliding_window", 5)) == (3, 5)
    assert "hidden_size" in cfg
    assert "sliding_window" not in cfg
    assert cfg.raw == raw
    assert cfg.text is cfg
    assert Config(raw, {"tie_word_embeddings": True}).tie_word_embeddings is True
    assert copy.deepcopy(cfg).hidden_size == 64


def test_nested():
    raw = {
        "text_config": {**BASE, "torch_dtype": "float16", "eos_token_id": 5},
        "vision_config": {"hidden_size": 32, "num_attention_heads": 8},
    }
    cfg = Config(raw, {"text_config": {"rms_norm_eps": 1e-5, "hidden_size": 1}})
    assert (cfg.text.hidden_size, cfg.text.rms_norm_eps, cfg.text.head_dim) == (64, 1e-5, 16)
    assert (cfg.vision_config.head_dim, cfg.vision_config.num_key_value_heads) == (4, 8)
    assert (cfg.dtype, cfg.eos) == ("float16", (5,))
    assert cfg.text.raw == raw["text_config"]
    assert Config({}, {"text_config": BASE}).text.hidden_size == 64


def test_a_missing_key_names_key_file_and_neighbour():
    cfg = Config({"text_config": BASE}, file="m/config.json")
    with pytest.raises(
        ConfigError, match=r"m/config\.json: text_config has no 'hidden_sizes' .*'hidden_size'"
    ):
        _ = cfg.text.hidden_sizes
    assert not hasattr(cfg, "vocab_size")
    with pytest.raises(ConfigError, match="must hold a JSON object, not list"):
        Config([])
    with pytest.raises(ConfigError, match="at least 1"):
        Config({"hidden_size": 4, "num_attention_heads": 0})


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([{"eos_token_id": 2}, {"eos_token_id": [3, 2]}], (2, 3)),
        ([{"eos_token_id": None}, None, {}], ()),
        ([{}, {"eos_token_id": [0]}], (0,)),
    ],
)
def test_eos(files, expected):
    assert eos_ids(*files) == expected


KNOWN = {"LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2", "AliasForCausalLM": "llama"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"architectures": ["LlamaForCausalLM"], "model_type": "qwen2"}, "llama"),
        ({"architectures": ["LlamaForCausalLM", "AliasForCausalLM"]}, "llama"),
        ({"architectures": ["MyLlama", "Qwen2ForCausalLM"], "model_type": "x"}, "qwen2"),
        ({"architectures": ["MyQwenForCausalLM"], "model_type": "qwen2"}, "qwen2"),
        (
            {"architectures": ["LlamaForCausalLM", "Qwen2ForCausalLM"], "model_type": "qwen2"},
            "qwen2",
        ),
        ({"architectures": None, "model_type": "llama"}, "llama"),
    ],
)
def test_architecture(config, expected):
    assert architecture_of(config, KNOWN) == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"architectures": ["Qwen9ForCausalLM"]},
            "nearest known one is Qwen2ForCausalLM.*Known: Alias",
        ),
        ({"model_type": "lama"}, "no architecture for model_type 'lama'"),
        (
            {"architectures": ["Qwen2ForSequenceClassification"], "model_type": "qwen2"},
            "no architecture for 'Qwen2ForSequenceClassification'",
        ),
        ({}, "config.json that names none"),
    ],
)
def test_unknown_architecture(config, message):
    with pytest.raises(NotSupportedError, match=message):
        architecture_of(config, KNOWN)


@pytest.mark.parametrize(
    ("requested", "file", "stored", "expected"),
    [
        ("auto", "bfloat16", None, torch.bfloat16),
        ("Auto", "torch.float16", None, torch.float16),
        ("auto", "bfloat16", torch.float32, torch.float32),
        ("auto", None, torch.bfloat16, torch.bfloat16),
        ("auto", None, None, torch.float32),
        (None, "float8_e4m3fn", None, torch.float32),
        ("BF16", "float32", None, torch.bfloat16),
        ("f16", None, None, torch.float16),
        ("f32", "bfloat16", torch.bfloat16, torch.float32),
    ],
)
def test_dtype_on_a_cpu(requested, file, stored, expected):
    config = Config({"dtype": file})
    assert choose_dtype(requested, config, "cpu", stored) is expected
    assert choose_dtype(requested, Config({"torch_dtype": file}), "cpu", stored) is expected


def test_dtype_on_gpus():
    table = {(9, 0): torch.bfloat16, (8, 0): torch.bfloat16, (7, 5): torch.float16}
    table |= {(5, 3): torch.float16, (5, 2): torch.float32}
    assert {capability: _cuda_dtype(capability) for capability in table} == table


def test_a_wrong_dtype_names_the_right_ones():
    with pytest.raises(ConfigError, match="'int8' is unknown: use one of auto, bf16, f16, f32"):
        choose_dtype("int8", Config({}), "cpu")

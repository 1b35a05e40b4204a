"""Tiny random embedding models in the layout of sentence-transformers, and an independent reference for them."""

import json
from collections.abc import Sequence
from pathlib import Path

import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file

SIZES = dict(
    vocab_size=300,
    hidden_size=64,
    intermediate_size=96,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=64,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
GEMMA = dict(
    num_hidden_layers=6,
    query_pre_attn_scalar=16,
    sliding_window=10,
    use_bidirectional_attention=True,
)
MEAN = {"word_embedding_dimension": 64, "pooling_mode_mean_tokens": True}
LAST = {"word_embedding_dimension": 64, "pooling_mode_lasttoken": True}
NORMALIZE = ("Normalize", {})


def dense(inputs: int, outputs: int, act: str = "Identity", bias: bool = False) -> tuple[str, dict]:
    """A row of modules.json for a Dense module."""
    act = f"torch.nn.modules.{'linear' if act == 'Identity' else 'activation'}.{act}"
    return "Dense", dict(
        in_features=inputs, out_features=outputs, bias=bias, activation_function=act
    )


def save(
    folder: Path,
    prefix: str,
    settings: dict,
    modules: Sequence[tuple[str, dict]],
    frame: str = "$A",
    **options: str,
) -> Path:
    """Write a checkpoint: the `prefix`Model of transformers, then the modules, each in its folder."""
    config = getattr(transformers, f"{prefix}TextConfig", None) or getattr(
        transformers, f"{prefix}Config"
    )
    name = config.__name__.replace("Config", "Model")
    model = getattr(transformers, name)(config(**SIZES | settings)).eval().float()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    model.save_pretrained(folder, **options)
    listed = [("Transformer", ""), *((kind, f"{i}_{kind}") for i, (kind, _) in numbered(modules))]
    rows = [
        dict(idx=i, name=str(i), path=path, type=f"sentence_transformers.models.{kind}")
        for i, (kind, path) in enumerate(listed)
    ]
    (folder / "modules.json").write_text(json.dumps(rows))
    for i, (kind, settings) in numbered(modules):
        write_module(folder / f"{i}_{kind}", kind, settings, generator)
    write_tokenizer(folder, frame)
    return folder


def numbered(modules: Sequence[tuple[str, dict]]) -> enumerate:
    return enumerate(modules, 1)


def write_module(folder: Path, kind: str, settings: dict, generator: torch.Generator) -> None:
    """The folder of one module."""
    folder.mkdir()
    if settings:
        (folder / "config.json").write_text(json.dumps(settings))
    if kind == "Dense":
        shape = settings["out_features"], settings["in_features"]
        tensors = {"linear.weight": torch.randn(shape, generator=generator) * 0.2}
        if settings["bias"]:
            tensors["linear.bias"] = torch.randn(shape[0], generator=generator)
        save_file(tensors, folder / "model.safetensors")


def write_tokenizer(folder: Path, frame: str) -> None:
    """A byte tokenizer that frames texts with special tokens, as in "<bos> $A <eos>"."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<bos>", "<eos>", *alphabet])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>", "<bos>", "<eos>"])
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        frame, special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = dict(tokenizer_class="PreTrainedTokenizerFast", pad_token="<pad>", eos_token="<eos>")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def reference(folder: Path, tokens: Sequence[int]) -> torch.Tensor:
    """The vector of one text, from transformers' model and the module files read here."""
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        x = model(torch.tensor([tokens])).last_hidden_state[0]
    for row in json.loads((folder / "modules.json").read_text())[1:]:
        x = apply(folder / row["path"], row["type"].split(".")[-1], x)
    return x


def apply(folder: Path, kind: str, x: torch.Tensor) -> torch.Tensor:
    """One module's result for states [n, D] or a vector [D]."""
    if kind == "Normalize":
        return x / x.norm()
    settings = json.loads((folder / "config.json").read_text())
    if kind == "Pooling":
        return pooled(settings, x)
    tensors = load_file(folder / "model.safetensors")
    x = tensors["linear.weight"] @ x + tensors.get("linear.bias", 0)
    return torch.tanh(x) if settings["activation_function"].endswith("Tanh") else x


def pooled(settings: dict, x: torch.Tensor) -> torch.Tensor:
    """states [n, D] -> [modes * D], in the order of sentence-transformers."""
    n = torch.arange(1, len(x) + 1.0)
    modes = {
        "cls_token": x[0],
        "max_tokens": x.max(0).values,
        "mean_tokens": x.sum(0) / len(x),
        "mean_sqrt_len_tokens": x.sum(0) / len(x) ** 0.5,
        "weightedmean_tokens": n @ x / n.sum(),
        "lasttoken": x[-1],
    }
    return torch.cat([modes[m] for m in modes if settings.get(f"pooling_mode_{m}")])

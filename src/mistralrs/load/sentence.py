"""The folders of a sentence-transformers checkpoint: what comes after the decoder, and in which order."""

import json
from pathlib import Path

import torch
from torch import nn

from mistralrs.api.errors import CheckpointError, ConfigError, NotSupportedError
from mistralrs.load.build import Built
from mistralrs.load.config import Config
from mistralrs.load.fill import Target
from mistralrs.load.hub import Repo
from mistralrs.load.tensors import read_checkpoint
from mistralrs.nn.embedder import ACTIVATIONS, POOLINGS, Dense, Embedder, Normalize

PER_TEXT = "sentence_embedding"  # the name of what a pooling gives

# The flags of a pooling's config before sentence-transformers 5.3, in the order their results are joined.
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def is_embedding_model(repo: Repo) -> bool:
    """Whether a repository has the list of modules that sentence-transformers writes."""
    return repo.find("modules.json") is not None


def embedder(repo: Repo, built: Built) -> Embedder:
    """Put the pooling and the modules after it around a headless decoder."""
    (first, _), (second, pooling), *rest = modules(repo)
    if (first, second) != ("Transformer", "Pooling"):
        raise NotSupportedError(
            f"{repo.id}: modules.json begins with {first} and {second}; embedding models with "
            "Transformer and Pooling first can be loaded"
        )
    tail = [module(repo, kind, path, built) for kind, path in rest]
    return Embedder(built.model, poolings(settings(repo, pooling)), tail).eval()


def modules(repo: Repo) -> list[tuple[str, str]]:
    """Class name and folder of every module, in order; ConfigError when there are none."""
    path = repo.find("modules.json")
    if path is None:
        raise ConfigError(
            f"'{repo.id}' has no modules.json, so it does not say how its tokens become one vector: "
            "take an embedding model, or load it as a text model with Which.Plain"
        )
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        found = [(one["type"].rpartition(".")[2], one["path"]) for one in listed]
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path} is no list of modules ({error!r}): download it again") from error
    if len(found) < 2:
        raise NotSupportedError(f"{path} lists no pooling: this model gives no vectors of texts")
    return found


def settings(repo: Repo, folder: str) -> Config:
    """The config.json of a module."""
    name = f"{folder}/config.json"
    raw = repo.json(name)
    if raw is None:
        raise ConfigError(f"'{repo.id}' has no {name}, which modules.json names: download it again")
    return Config(raw, file=name)


def poolings(cfg: Config) -> list[str]:
    """The names of a pooling's modes, `pooling_mode` or the older flags."""
    named = cfg.get("pooling_mode") or [mode for flag, mode in FLAGS.items() if cfg.get(flag)]
    modes = [named] if isinstance(named, str) else list(named)
    unknown = [mode for mode in modes if mode not in POOLINGS]
    if unknown or not modes:
        raise NotSupportedError(
            f"{cfg.file} asks for the pooling {unknown or 'none'}; known are {', '.join(POOLINGS)}"
        )
    if cfg.get("include_prompt", True) is False:
        raise NotSupportedError(
            f"{cfg.file} leaves the tokens of a prompt out (include_prompt is false), and requests do "
            "not say which these are; choose a model that pools all tokens"
        )
    return modes


def module(repo: Repo, kind: str, folder: str, built: Built) -> nn.Module:
    """A module after the pooling."""
    if kind == "Normalize":
        return Normalize()
    if kind == "Dense":
        return dense(repo, folder, built)
    raise NotSupportedError(
        f"'{repo.id}' has a module {kind} after its pooling; known are Dense and Normalize"
    )


def dense(repo: Repo, folder: str, built: Built) -> Dense:
    """A Dense module with its weights; on a CPU they keep their dtype."""
    cfg = settings(repo, folder)
    act = cfg.get("activation_function", "Tanh").rpartition(".")[2]
    check_dense(cfg, act)
    out = Dense(cfg.in_features, cfg.out_features, cfg.get("bias", True), act)
    tensors = read_checkpoint(weights(repo, folder))
    device, compute = torch.device(built.plan.device), built.model.dtype
    target = Target(device, None if device.type == "cpu" else compute, compute)
    for leaf, declared in list(out.linear.named_parameters()):
        lazy = tensors.get(f"linear.{leaf}")
        if lazy is None or lazy.shape != tuple(declared.shape):
            raise CheckpointError(
                f"the weights in '{folder}' lack linear.{leaf} of shape {list(declared.shape)}: "
                "download them again"
            )
        target.put(out.linear, leaf, lazy)
    return out


def check_dense(cfg: Config, act: str) -> None:
    """Raise NotSupportedError for what a Dense module here does not do."""
    texts = {cfg.get(f"module_{end}_name", PER_TEXT) for end in ("input", "output")}
    if act not in ACTIVATIONS or texts != {PER_TEXT} or cfg.get("use_residual"):
        raise NotSupportedError(
            f"{cfg.file}: a Dense module maps the vector of a text to another, without a residual, "
            f"through one of {', '.join(ACTIVATIONS)}"
        )


def weights(repo: Repo, folder: str) -> list[Path]:
    """The weight file of a module."""
    names = [f"{folder}/{name}" for name in ("model.safetensors", "pytorch_model.bin")]
    found = next((path for path in map(repo.find, names) if path), None)
    if found is None:
        raise CheckpointError(f"'{repo.id}' has no {names[0]}: download the model again")
    return [found]


def longest_text(repo: Repo, built: Built) -> int:
    """The most tokens of a text: the decoder's context, or less where the checkpoint says so."""
    said = (repo.json("sentence_bert_config.json") or {}).get("max_seq_length")
    return min(built.plan.context, said or built.plan.context)

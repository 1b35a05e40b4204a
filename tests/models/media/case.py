"""What a row of the table of vision models says, and how its checkpoint is written."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers
from PIL import Image
from tokenizers import decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

TEXT = dict(
    vocab_size=320,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=2048,
    tie_word_embeddings=False,
    pad_token_id=256,
    bos_token_id=257,
    eos_token_id=258,
)
TOWER = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    image_size=56,
    patch_size=14,
)
FRAME = ["<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>"]  # ids 256 to 260
FIRST = 256 + len(FRAME)  # id of a family's own first token

TEMPLATE = (
    "{% set seen = namespace(count=0) %}{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'text' %}{{ c['text'] }}{% elif c['type'] == 'KIND' %}MARKER{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Case:
    """A tiny model that reads images, and its processor in transformers."""

    cls: (
        str | Callable[[Any], torch.nn.Module]
    )  # the model in transformers, or what is made of its parts
    config: Callable[[], transformers.PretrainedConfig]
    tokens: tuple[str, ...]  # the family's own, from id FIRST on
    marker: str  # what the template writes for an image
    processor: Callable[[PreTrainedTokenizerFast], Any]  # of transformers
    pixels: tuple[str, str]  # our name of the encoder's main input, and theirs
    norm: float = 1.0  # what norm weights of the text model scatter around
    names: dict[str, str] = field(
        default_factory=dict
    )  # attributes of the tokenizer: name -> token
    files: dict[str, Any] | None = None  # preprocessor_config.json where theirs cannot be saved
    films: dict[str, Any] | None = None  # video_preprocessor_config.json
    extra: Callable[[dict[str, Any]], dict[str, Any]] = lambda inputs: inputs
    split: Callable[[dict[str, Any]], list[torch.Tensor]] | None = None  # their pixels by image
    options: dict[str, Any] = field(default_factory=dict)  # of a call of their processor
    limit: float = 1e-4  # of the difference of logits
    kind: str = "image"  # of media, or "audio" or "video"
    double: bool = False  # theirs in float64, where their float32 alone is further from it
    lead: str = ""  # what their processor puts before every prompt
    buffers: dict[str, float] = field(default_factory=dict)  # last part of the name -> about what
    adjust: Callable[[Any], Any] = lambda model: model  # theirs, where it is not as it should be


def tokenizer(case: Case) -> PreTrainedTokenizerFast:
    """Bytes and special tokens: every text has as many tokens as bytes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = tokenizers.Tokenizer(models.BPE({c: i for i, c in enumerate(letters)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([*FRAME, *case.tokens])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        extra_special_tokens=case.names,
    )
    wrapped.chat_template = TEMPLATE.replace("MARKER", case.marker).replace("KIND", case.kind)
    return wrapped


def reference(case: Case) -> transformers.PreTrainedModel:
    """The model of transformers with every weight away from its initial value."""
    config = case.config()
    config._attn_implementation = "eager"
    make = getattr(transformers, case.cls) if isinstance(case.cls, str) else case.cls
    model = make(config).eval().float()
    generator = torch.Generator().manual_seed(1)
    for name, tensor in sorted(model.named_parameters()):
        noise = torch.randn(tensor.shape, generator=generator) * 0.2
        theirs = "vision" not in name and "visual" not in name and "projector" not in name
        scale = case.norm if theirs or "soft_emb" in name else 1.0
        centre = scale if "norm" in name and noise.dim() == 1 and "bias" not in name else 0.0
        tensor.data = noise + centre
    for name, tensor in sorted(model.named_buffers()):
        if name.rpartition(".")[2] in case.buffers:
            noise = torch.randn(tensor.shape, generator=generator) * 0.1
            tensor.data.copy_(noise + case.buffers[name.rpartition(".")[2]])
    model.tie_weights()
    return case.adjust(model)


def save(case: Case, model: transformers.PreTrainedModel, folder: Path) -> Path:
    """Write the checkpoint as transformers does."""
    model.save_pretrained(folder)
    words = tokenizer(case)
    words.save_pretrained(folder)
    if case.files is None:
        case.processor(words).save_pretrained(folder)
    else:
        (folder / "preprocessor_config.json").write_text(json.dumps(case.files))
    if case.films is not None:
        (folder / "video_preprocessor_config.json").write_text(json.dumps(case.films))
    return folder


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def film(frames: int, width: int, height: int, seed: int = 0) -> list[Image.Image]:
    """Frames of a film in which something moves."""
    wide = picture(width + 5 * frames, height, seed)
    return [wide.crop((5 * i, 0, 5 * i + width, height)) for i in range(frames)]


def animation(frames: list[Image.Image], rate: float, format: str = "PNG", **how: Any) -> bytes:
    """A file of frames that keeps them to the bit."""
    file = io.BytesIO()
    options = dict(save_all=True, append_images=frames[1:], duration=1000 / rate, **how)
    frames[0].save(file, format, **options)
    return file.getvalue()


def sound(seconds: float, rate: int = 16000, seed: int = 0) -> np.ndarray:
    """Three tones and some noise, as float32."""
    random = np.random.default_rng(seed)
    at = np.arange(int(seconds * rate)) / rate
    tones = [np.sin(2 * np.pi * pitch * at) for pitch in random.uniform(100, 3000, 3)]
    return (sum(tones) * 0.2 + random.normal(0, 0.01, len(at))).astype(np.float32)


def boost(config: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A config with some keys replaced."""
    return {**config, **more}

"""Mutated GGUF files through everything that reads one: only a MistralRsError may come out, and memory stays bounded.

    python tools/fuzz_gguf.py [--files 100000] [--seed 1] [--seconds 3600]

A sound file of a few kilobytes with every readable type is damaged in one to eight places: bytes, counts and
offsets at their extremes, pieces cut out, repeated or swapped, the end cut off. The result is read, its model config,
tokenizer and tensor names are derived, and every tensor is packed, decoded and multiplied. Build the kernels with
sanitizers to see reads out of bounds (docs/kernels.md).
"""

import argparse
import json
import logging
import os
import random
import resource
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import gguf
import numpy as np
import torch

from mistralrs import kernels
from mistralrs.api.errors import MistralRsError
from mistralrs.load.gguf import read_gguf
from mistralrs.load.gguf_config import config_of
from mistralrs.load.gguf_names import tensors_of
from mistralrs.load.gguf_tokenizer import tokenizer_of
from mistralrs.nn.checkpoint import Packed
from mistralrs.quant.affine import packed
from mistralrs.quant.ggml import KINDS

BOUND = 256 << 20  # bytes that the process may grow by over the whole run
EXTREMES = [
    0,
    1,
    2,
    7,
    31,
    255,
    1 << 15,
    (1 << 31) - 1,
    1 << 31,
    1 << 32,
    1 << 40,
    1 << 62,
    (1 << 64) - 1,
]


def sound(path: Path) -> bytes:
    """A llama of one layer with a matrix of every type beside it."""
    writer, chance = gguf.GGUFWriter(path, "llama"), np.random.default_rng(1)
    for add, value in {
        "context_length": 64, "embedding_length": 32, "block_count": 1, "feed_forward_length": 32,
        "head_count": 2, "head_count_kv": 1, "rope_freq_base": 1e4, "layer_norm_rms_eps": 1e-5,
    }.items():  # fmt: skip
        getattr(writer, f"add_{add}")(value)
    tokens = [*"abcdefgh", "ab", "cd"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges(["a b", "c d"])
    writer.add_eos_token_id(3)
    writer.add_chat_template("{{ messages[0].content }}")
    shapes = {"attn_q": 32, "attn_k": 16, "attn_v": 16, "attn_output": 32}
    shapes |= {"ffn_gate": 32, "ffn_up": 32, "ffn_down": 32}
    for part, rows in shapes.items():
        writer.add_tensor(f"blk.0.{part}.weight", np.ones((rows, 32), np.float32))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(32, np.float32))
    for name in ("token_embd", "output"):
        writer.add_tensor(f"{name}.weight", np.ones((len(tokens), 32), np.float32))
    for kind in KINDS.values():
        if gguf.GGML_QUANT_SIZES[kind.code] != (kind.block, kind.size):
            continue  # the writer has another idea of Q8_1
        raw = chance.integers(0, 255, (2, kind.row_bytes(256)), np.uint8)
        type = gguf.GGMLQuantizationType(kind.code)
        writer.add_tensor(f"extra.{kind.name}", raw, raw_dtype=type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def place(data: bytearray, chance: random.Random, header: int) -> int:
    """Mostly in the header, where the numbers are that matter."""
    return chance.randrange(min(header, len(data)) if chance.random() < 0.85 else len(data))


def damage(data: bytearray, chance: random.Random, header: int) -> None:
    """Change `data` in one place."""
    at = place(data, chance, header)
    match chance.randrange(8):
        case 0 | 1:
            data[at] = chance.randrange(256)
        case 2:
            data[at] ^= 1 << chance.randrange(8)
        case 3 | 4:
            number = struct.pack("<Q", chance.choice(EXTREMES))[: chance.choice((4, 8))]
            data[at : at + len(number)] = number
        case 5:
            del data[at : at + chance.randrange(1, 64)]
        case 6:
            other = place(data, chance, header)
            data[at:at] = data[other : other + chance.randrange(1, 64)]
        case _:
            del data[chance.randrange(len(data)) :]
    if not data:
        data += b"G"


def use(path: Path) -> None:
    """All that a load does with a file, short of the model."""
    file = read_gguf([path])
    reads = (lambda: tokenizer_of(file), lambda: config_of(file), lambda: list(tensors_of(file)))
    failed = [error for read in reads if (error := attempt(read))]
    for lazy in file.tensors.values():
        if not isinstance(lazy, Packed) or len(lazy.shape) < 2:  # as loading does
            lazy.load()
            continue
        weight = packed(lazy.weight(torch.device("cpu")))
        weight.dequantize()
        if len(lazy.shape) == 2:
            weight.matmul(torch.ones(3, lazy.shape[-1]))
    if failed:
        raise failed[0]


def attempt(read) -> MistralRsError | None:
    """The error of one reader, so that the others get their turn."""
    try:
        read()
    except MistralRsError as error:
        return error
    return None


def peak() -> int:
    """Bytes that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    path = Path(tempfile.mkdtemp()) / "file.gguf"
    original, chance, ends = sound(path), random.Random(args.seed), Counter[str]()
    header = original.index(b"output_norm.weight") + 2000
    use(path)
    before, start, slowest = peak(), time.monotonic(), 0.0
    for done in range(args.files):
        data = bytearray(original)
        for _ in range(chance.choice((1, 1, 1, 2, 4, 8))):
            damage(data, chance, header)
        path.write_bytes(data)
        began = time.monotonic()
        try:
            use(path)
            ends["sound"] += 1
        except MistralRsError as error:
            ends[type(error).__name__] += 1
        except BaseException as error:
            kept = Path(f"fuzz-{args.seed}-{done}.gguf").absolute()
            kept.write_bytes(data)
            print(f"{kept}: {type(error).__name__}: {error}", flush=True)
            ends[f"WRONG {type(error).__name__}"] += 1
            if isinstance(error, KeyboardInterrupt):
                break
        slowest = max(slowest, time.monotonic() - began)
        if time.monotonic() - start > args.seconds:
            break
    grown = peak() - before
    print(json.dumps({"files": done + 1, "ends": ends, "slowest, s": round(slowest, 3),
                      "grown, MiB": grown >> 20, "kernels": kernels.describe()["cpu"]}))  # fmt: skip
    return int(any(end.startswith("WRONG") for end in ends) or grown > BOUND)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)

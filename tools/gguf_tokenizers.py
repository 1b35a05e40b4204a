"""Tokens of GGUF vocabularies here, in llama.cpp and in the tokenizer.json that each was made from.

    python tools/gguf_tokenizers.py PYTHON KIND[/PRE]:TOKENIZER.json ... [--texts 1000]

PYTHON is an interpreter with the package `xllamacpp`; KIND is `gpt2`, `llama`, `bert` or `t5` and PRE the way of splitting
words, as GGUF files name them. Each vocabulary is written as a converter does, with a model of one layer around it. The
columns count texts whose ids differ: between this project and llama.cpp, this project and the original, llama.cpp and
the original.
"""

import argparse
import base64
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parent.parent))
from mistralrs.load.gguf import read_gguf
from mistralrs.load.gguf_tokenizer import tokenizer_of
from tests.prompt.corpus import corpus

WIDTH = 32
PEER = """
import json, os, sys, urllib.request
out = os.dup(1); os.dup2(2, 1)
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel, params.warmup = sys.argv[1], 64, 1, False
params.n_gpu_layers, params.hostnames, params.port = 0, ["127.0.0.1"], 0
server = xllamacpp.Server(params)
url = server.listening_address.rstrip("/") + "/tokenize"
def ids(text):
    body = json.dumps(dict(content=text, add_special=False, parse_special=True)).encode()
    return json.load(urllib.request.urlopen(urllib.request.Request(url, body)))["tokens"]
with open(sys.argv[2]) as file:
    found = [ids(text) for text in json.load(file)]
with open(sys.argv[3], "w") as file:
    json.dump(found, file)
os._exit(0)
"""


def pieces(data: dict[str, Any]) -> tuple[list[str], list[int], dict[str, int]]:
    """Tokens by id, their types, and the rank of the first merge that makes each."""
    model, kinds = data["model"], gguf.TokenType
    vocabulary = model["vocab"]
    if model["type"] == "Unigram":
        vocabulary = {token: id for id, (token, _) in enumerate(vocabulary)}
    added = {token["content"]: token for token in data["added_tokens"]}
    vocabulary |= {text: token["id"] for text, token in added.items()}
    tokens = [f"[PAD{i}]" for i in range(max(vocabulary.values()) + 1)]
    types = [kinds.UNUSED] * len(tokens)
    for text, id in vocabulary.items():
        special = added[text]["special"] if text in added else None
        byte = model.get("byte_fallback") and len(text) == 6 and text.startswith("<0x")
        tokens[id] = text
        types[id] = (
            kinds.UNKNOWN if text == model.get("unk_token")
            else kinds.CONTROL if special
            else kinds.USER_DEFINED if special is not None
            else kinds.BYTE if byte
            else kinds.NORMAL
        )  # fmt: skip
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(model.get("merges", [])):
        a, b = merge.split(" ") if isinstance(merge, str) else merge
        ranks.setdefault(a + b, rank)
    return tokens, list(map(int, types)), ranks


def charsmap(normalizer: dict[str, Any]) -> bytes:
    """SentencePiece's compiled normalization, from the first place that has it."""
    if "precompiled_charsmap" in normalizer:
        return base64.b64decode(normalizer["precompiled_charsmap"])
    return charsmap(normalizer["normalizers"][0])


def write(kind: str, pre: str, data: dict[str, Any], path: Path) -> None:
    """A llama of one layer with the vocabulary of a tokenizer.json."""
    tokens, types, ranks = pieces(data)
    writer = gguf.GGUFWriter(path, "llama")
    for add, value in {
        "context_length": 64, "embedding_length": WIDTH, "block_count": 1, "feed_forward_length": WIDTH,
        "head_count": 2, "head_count_kv": 2, "rope_freq_base": 1e4, "layer_norm_rms_eps": 1e-5,
    }.items():  # fmt: skip
        getattr(writer, f"add_{add}")(value)
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre(pre)
    if kind == "bert":
        tokens = [
            t if type != gguf.TokenType.NORMAL else t[2:] if t.startswith("##") else "▁" + t
            for t, type in zip(tokens, types, strict=True)
        ]
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if kind == "gpt2":
        merges = data["model"]["merges"]
        writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    elif kind == "t5":
        scores = [score for _, score in data["model"]["vocab"]]
        writer.add_token_scores(scores + [0.0] * (len(tokens) - len(scores)))
        writer.add_precompiled_charsmap(charsmap(data["normalizer"]))
        writer.add_add_space_prefix(True)
        writer.add_remove_extra_whitespaces(True)
    else:
        writer.add_token_scores([-float(ranks.get(token, 1e9)) for token in tokens])
    if kind == "llama":
        writer.add_add_space_prefix("Prepend" in json.dumps(data["normalizer"] or {}))
    unknown = data["model"].get("unk_id", data["model"].get("unk_token"))
    if unknown is not None:
        writer.add_unk_token_id(unknown if kind == "t5" else tokens.index(unknown))
    writer.add_add_bos_token(False)
    matrices = {f"blk.0.attn_{part}": WIDTH for part in ("q", "k", "v", "output")}
    matrices |= {f"blk.0.ffn_{part}": WIDTH for part in ("gate", "up", "down")}
    for name, rows in (matrices | {"token_embd": len(tokens)}).items():
        writer.add_tensor(f"{name}.weight", np.zeros((rows, WIDTH), np.float16))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def theirs(python: str, model: Path, texts: Sequence[str]) -> list[list[int]]:
    """llama.cpp's ids of each text."""
    asked, answered = model.with_suffix(".in"), model.with_suffix(".out")
    asked.write_text(json.dumps(texts))
    command = [python, "-c", PEER, str(model), str(asked), str(answered)]
    run = subprocess.run(command, capture_output=True, text=True)
    if not answered.exists():
        raise SystemExit(f"llama.cpp failed: {run.stderr[-600:]}")
    found: list[list[int]] = json.loads(answered.read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python")
    parser.add_argument("vocabularies", nargs="+")
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--show", type=int, default=0, help="differences to print")
    args = parser.parse_args()
    # llama.cpp reads text as UTF-8 and ends it at a zero.
    texts = [t for t in corpus(args.texts + 50) if "\0" not in t][: args.texts]
    print("| vocabulary | tokens | ours / llama.cpp | ours / original | llama.cpp / original |")
    print("|---|---|---|---|---|")
    for entry in args.vocabularies:
        label, _, source = entry.partition(":")
        kind, _, pre = label.partition("/")
        original = Tokenizer.from_file(source)
        original.no_padding()
        original.no_truncation()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            write(kind, pre or "default", json.loads(Path(source).read_text()), path)
            tokenizer, _ = tokenizer_of(read_gguf([path]))
            peer = theirs(args.python, path, texts)
        own = [tokenizer.encode(t, add_special_tokens=False).ids for t in texts]
        first = [original.encode(t, add_special_tokens=False).ids for t in texts]
        pairs = ((own, peer), (own, first), (peer, first))
        counts = [sum(a != b for a, b in zip(x, y, strict=True)) for x, y in pairs]
        print(f"| {label} | {tokenizer.get_vocab_size()} | " + " | ".join(map(str, counts)) + " |")
        odd = [row for row in zip(texts, own, peer, first, strict=True) if row[1] != row[2]]
        for row in odd[: args.show]:
            print(*map(repr, row), sep="\n  ", file=sys.stderr)


if __name__ == "__main__":
    main()

"""Log-probabilities of GGUF models here and in llama.cpp: many architectures and types, tiny random weights.

    python tools/gguf_parity.py PYTHON

PYTHON is an interpreter with the package `xllamacpp`. For every file both engines read the same prompts; the figure is the
largest difference of a log-probability among llama.cpp's 20 most probable tokens at 6 positions, once with our float
products of decoded weights ("exact") and once with the packed kernels, which round activations to bytes as llama.cpp does.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

import gguf
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from mistralrs import kernels
from mistralrs.quant.ggml import KINDS
from mistralrs.quant.ggml_quantize import quantize
from tests.load import convert
from tests.load.test_gguf_models import DEFAULT_SCALE, WISH, load
from tests.models import tiny
from tests.models.test_parity import Driver, Pages, Scheduler, Turn

WIDE = dict(
    vocab_size=300, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
    moe_intermediate_size=256, head_dim=64, pad_token_id=None, bos_token_id=None, eos_token_id=299,
)  # fmt: skip
CASES = {  # llama.cpp lets Starcoder2 see beyond its window
    "llama": {}, "llama llama3": {}, "qwen2": {}, "qwen3": {}, "qwen3_moe": {}, "mixtral": {}, "phi3": {},
    "gemma2": DEFAULT_SCALE | dict(query_pre_attn_scalar=64), "starcoder2": dict(sliding_window=None), "smollm3": {},
}  # fmt: skip
TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
PROMPTS = [
    [(7 * i * i + 3 * i + k) % 290 for i in range(n)] for k, n in enumerate((3, 8, 17, 24, 33, 47))
]
TOP = 20
QUIET = 0.25  # of the tests' wild weights, so that matrices scatter as much as those of real models

PEER = """
import json, os, sys, urllib.request
out = os.dup(1); os.dup2(2, 1)
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel, params.warmup = sys.argv[1], 256, 1, False
params.cpuparams.n_threads, params.n_gpu_layers = 2, 0
params.hostnames, params.port = ["127.0.0.1"], 0
params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
server = xllamacpp.Server(params)
url = server.listening_address.rstrip("/") + "/completion"
found = []
for prompt in json.loads(sys.argv[2]):
    body = dict(prompt=prompt, n_predict=1, n_probs=int(sys.argv[3]), temperature=0.0, cache_prompt=False)
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    answer = json.load(urllib.request.urlopen(request))
    found.append([[t["id"], t["logprob"]] for t in answer["completion_probabilities"][0]["top_logprobs"]])
os.write(out, ("@" + json.dumps(found)).encode())
os._exit(0)
"""


def put(writer: gguf.GGUFWriter, name: str, x: np.ndarray, kind: gguf.GGMLQuantizationType) -> None:
    """As the converter of the tests, with our quantizers for the K types."""
    if (
        kind.name.endswith("_K")
        and x.ndim > 1
        and x.shape[-1] % 256 == 0
        and "gate_inp" not in name
    ):
        raw = quantize(KINDS[kind.value], torch.from_numpy(np.ascontiguousarray(x, np.float32)))
        writer.add_tensor(name, raw.numpy(), raw_dtype=kind)
    elif kind.name.endswith("_K"):
        PLAIN_PUT(writer, name, x, gguf.GGMLQuantizationType.F32)
    else:
        PLAIN_PUT(writer, name, x, kind)


PLAIN_PUT = convert.put


def tokenizer(writer: gguf.GGUFWriter, cfg: dict) -> None:
    """Names without meaning; prompts are ids."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"[{i}]" for i in range(cfg["vocab_size"])])
    writer.add_token_types([gguf.TokenType.NORMAL] * cfg["vocab_size"])
    writer.add_token_merges(["[0] [1]"])
    writer.add_eos_token_id(cfg["vocab_size"] - 1)
    writer.add_add_bos_token(False)


def checkpoint(case: str, folder: Path) -> Path:
    """The transformers checkpoint of a case, wide enough for every type."""
    one = tiny.CASES[case]
    tiny.CASES["wide"] = replace(one, settings=one.settings | WIDE | CASES[case])
    model = tiny.reference("wide")
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data *= QUIET
    return tiny.save(model, folder)


def theirs(python: str, path: Path) -> list[dict[int, float]]:
    """llama.cpp's most probable tokens behind each prompt."""
    command = [python, "-c", PEER, str(path), json.dumps(PROMPTS), str(TOP)]
    run = subprocess.run(command, capture_output=True, text=True)
    if "@" not in run.stdout:
        raise RuntimeError(run.stderr[-400:])
    return [dict(map(tuple, top)) for top in json.loads(run.stdout.split("@", 1)[1])]


def ours(path: Path) -> list[torch.Tensor]:
    """Our log-probabilities behind each prompt."""
    driver = Driver(load(path, WISH).model, Scheduler(Pages(64, 16), 8, 512))
    steps = [driver.step([Turn(driver.start(prompt), len(prompt))])[0][-1] for prompt in PROMPTS]
    return [step.log_softmax(-1) for step in steps]


def distance(tops: list[dict[int, float]], found: list[torch.Tensor]) -> float:
    return max(
        abs(float(p[id]) - value) for top, p in zip(tops, found) for id, value in top.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python")
    python = parser.parse_args().python
    convert.put = put
    print(f"| architecture | {' | '.join(TYPES)} |\n|{'---|' * (len(TYPES) + 1)}")
    exact, packed = [], []
    for case in CASES:
        cells = []
        with tempfile.TemporaryDirectory() as name:
            folder = checkpoint(case, Path(name) / "hf")
            for type in TYPES:
                path = convert.convert(folder, Path(name) / f"{type}.gguf", type, tokenizer)
                try:
                    tops = theirs(python, path)
                except RuntimeError as error:
                    print(case, type, error, file=sys.stderr)
                    cells.append("-")
                    continue
                with kernels.use("reference"):
                    exact.append(distance(tops, ours(path)))
                packed.append(distance(tops, ours(path)))
                cells.append(f"{exact[-1]:.1e} {packed[-1]:.1e}")
        print(f"| {case} | " + " | ".join(cells) + " |", flush=True)
    print(f"\n{len(exact)} files; exact: median {median(exact):.1e}, worst {max(exact):.1e}; "
          f"packed: median {median(packed):.1e}, worst {max(packed):.1e}")  # fmt: skip


if __name__ == "__main__":
    main()

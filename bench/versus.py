"""Every engine on the same model, in turn: prefill, decode, several requests at once, start, memory.

python bench/versus.py FILE.gguf --engine ours=mistralrs:PYTHON --engine wheel=mistralrs:PYTHON
    --engine llama.cpp=llamacpp:PYTHON --engine ik_llama.cpp=ikllama:PYTHON
    --engine openvino=openvino:PYTHON [--tests pp128 tg128 ...]
python bench/versus.py FOLDER [--isq Q4K] --engine ours=mistralrs:PYTHON --engine transformers=transformers:PYTHON

An engine is NAME=KIND:PYTHON, where PYTHON is an interpreter that has the package: `mistralrs` (this project, or
another one behind the same API), `xllamacpp` (llama.cpp's server in process), `ik_llama_cpp` (its fork),
`openvino_genai` or `transformers`. The first engine is compared with the others. Each run of an engine is a process of
its own; rounds alternate between engines; a figure is the median of the rounds, a ratio the median of the rounds'
ratios. FILE comes from make_gguf.py and FOLDER from make_model.py: a token is a byte. FOLDER's weights stay bf16, but
for engines of kind `mistralrs` when `--isq` names a type.

Tests: ppN tokens/s of a prompt of N tokens, tgN tokens/s while writing behind N tokens, cN tokens/s written by N
requests at once (128 tokens in, 64 out, prompts included). With every run come `start` (seconds from the interpreter's
start to one new token, files in the page cache), `load` (its part after the engine's modules are imported) and `rss`
(peak MiB of the whole run).
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pkgutil import resolve_name
from statistics import median
from typing import Any

WRITTEN = 32  # tokens that a tgN test times
LETTERS = "abcdefghijklmnopqrstuvwxyz     "
Test = Callable[[int], float]


def text(tokens: int) -> str:
    """A prompt of so many bytes; never the same twice."""
    return "".join(random.choices(LETTERS, k=tokens))


# --- one engine, inside its own interpreter ---------------------------------------------------------


class MistralRs:
    """This project, or the package whose API it has."""

    needs = ("mistralrs:Runner",)

    def __init__(self, model: str, args: argparse.Namespace):
        import mistralrs

        self.package, which = mistralrs, mistralrs.Which
        gguf = which.GGUF(*os.path.split(model)) if os.path.isfile(model) else None
        self.runner = mistralrs.Runner(
            which=gguf or which.Plain(model, dtype=mistralrs.ModelDType.BF16),
            in_situ_quant=args.isq,
            max_seqs=32,
            prefix_cache_n=0,
        )
        self.write(text(8), 1)

    def write(self, prompt: str, new: int) -> Any:
        request = self.package.CompletionRequest(
            prompt=prompt, model="default", max_tokens=new, temperature=0.0, ignore_eos=True
        )
        return self.runner.send_completion_request(request).usage

    def stream(self, tokens: int, new: int) -> Iterator[Any]:
        """Chunks of a chat, because the original streams nothing else."""
        request = self.package.ChatCompletionRequest(
            messages=text(tokens),
            model="default",
            max_tokens=new,
            temperature=0.0,
            ignore_eos=True,
            stream=True,
        )
        return self.runner.send_chat_completion_request(request)

    def pp(self, tokens: int) -> float:
        start = time.perf_counter()
        used = self.write(text(tokens), 1)
        return used.prompt_tokens / (time.perf_counter() - start)

    def tg(self, tokens: int) -> float:
        return WRITTEN / self.write(text(tokens), WRITTEN + 1).total_completion_time_sec

    def c(self, count: int) -> float:
        # The original takes requests from one thread, and fails on prompts of one length together.
        streams = [self.stream(120 + i, 64) for i in range(count)]
        return together(count * 64, [partial(consume, stream) for stream in streams])


class LlamaCpp:
    """llama.cpp's server, over loopback; its own clock for single requests."""

    needs = ("urllib.request", "xllamacpp")

    def __init__(self, model: str, args: argparse.Namespace):
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path, params.n_ctx, params.n_parallel = model, 16 * 256, 16
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = args.threads
        params.kv_unified, params.warmup, params.n_gpu_layers = True, False, 0
        params.hostnames, params.port = ["127.0.0.1"], 0
        self.server = xllamacpp.Server(params)
        self.post(text(8), 1)

    def post(self, prompt: str, new: int) -> dict[str, float]:
        import urllib.request

        body = dict(prompt=prompt, n_predict=new, temperature=0.0, ignore_eos=True)
        body |= dict(cache_prompt=False, samplers=["top_k"], top_k=1)
        url = self.server.listening_address.rstrip("/") + "/completion"
        request = urllib.request.Request(
            url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        answer = json.load(urllib.request.urlopen(request))
        assert answer["tokens_predicted"] == new, answer
        return answer["timings"]

    def pp(self, tokens: int) -> float:
        return self.post(text(tokens), 1)["prompt_per_second"]

    def tg(self, tokens: int) -> float:
        return self.post(text(tokens), WRITTEN)["predicted_per_second"]

    def c(self, count: int) -> float:
        return together(count * 64, [lambda: self.post(text(128), 64)] * count)


class IkLlama:
    """ik_llama.cpp through its C functions: several requests are sequences of one batch."""

    needs = ("numpy", "ik_llama_cpp._ctypes_api")

    def __init__(self, model: str, args: argparse.Namespace):
        from ik_llama_cpp import _ctypes_api as api

        self.api, self.ubatch = api, 512
        api.llama_backend_init()
        params = api.llama_model_default_params()
        params.use_mmap, params.repack_tensors = False, True
        self.model = api.llama_model_load_from_file(model.encode(), params)
        self.vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))
        params = api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = 16 * 256, 4096, 512, 16
        params.n_threads = params.n_threads_batch = args.threads
        params.flash_attn = True
        self.context = api.llama_init_from_model(self.model, params)
        self.write(1, 8, 1)

    def decode(self, rows: list[tuple[int, int, int, bool]]) -> None:
        """One batch of (token, position, sequence, whether somebody asks its logits)."""
        batch = self.api.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, asked) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, asked
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        if self.api.llama_decode(self.context, batch):
            raise RuntimeError("llama_decode failed")
        self.api.llama_batch_free(batch)

    def write(self, count: int, tokens: int, new: int) -> tuple[float, float]:
        """Seconds until the first token of `count` requests, and from there to the last."""
        import numpy as np

        def best(row: int) -> int:
            logits = self.api.llama_get_logits_ith(self.context, row)
            return int(np.ctypeslib.as_array(logits, (self.vocabulary,)).argmax())

        self.api.llama_kv_cache_clear(self.context)
        prompts = [[random.randrange(1, 200) for _ in range(tokens)] for _ in range(count)]
        start = time.perf_counter()
        for s, prompt in enumerate(prompts):
            for first in range(0, tokens, self.ubatch):
                piece = list(enumerate(prompt))[first : first + self.ubatch]
                self.decode([(token, i, s, i == tokens - 1) for i, token in piece])
            prompts[s] = [best(-1)]
        read = time.perf_counter()
        for i in range(new - 1):
            self.decode([(last, tokens + i, s, True) for s, (last,) in enumerate(prompts)])
            prompts = [[best(s)] for s in range(count)]
        return read - start, time.perf_counter() - read

    def pp(self, tokens: int) -> float:
        return tokens / self.write(1, tokens, 1)[0]

    def tg(self, tokens: int) -> float:
        return WRITTEN / self.write(1, tokens, WRITTEN + 1)[1]

    def c(self, count: int) -> float:
        return count * 64 / sum(self.write(count, 128, 64))


class OpenVino:
    """OpenVINO GenAI with its continuous batching pipeline; it converts the file at load."""

    needs = ("numpy", "openvino_genai")

    def __init__(self, model: str, args: argparse.Namespace):
        import openvino
        import openvino_genai

        self.genai, self.tensor = openvino_genai, openvino.Tensor
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size, scheduler.max_num_batched_tokens = 2, 4096
        scheduler.enable_prefix_caching, scheduler.max_num_seqs = False, 64
        self.pipe = openvino_genai.ContinuousBatchingPipeline(
            model, scheduler, "CPU", {"INFERENCE_NUM_THREADS": args.threads}
        )
        self.write([8], 1)

    def write(self, prompts: list[int], new: int) -> Any:
        import numpy as np

        config = self.genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = new
        config.ignore_eos, config.do_sample = True, False
        ids = [self.tensor(np.random.randint(1, 200, (1, n), dtype=np.int64)) for n in prompts]
        return self.pipe.generate(ids, [config] * len(ids))[0].perf_metrics

    def pp(self, tokens: int) -> float:
        return 1000 * tokens / self.write([tokens], 1).get_ttft().mean

    def tg(self, tokens: int) -> float:
        return 1000 / self.write([tokens], WRITTEN + 1).get_tpot().mean

    def c(self, count: int) -> float:
        return together(count * 64, [lambda: self.write([128] * count, 64)])


class Transformers:
    """transformers in the dtype of the files; several requests are one batch."""

    needs = ("torch", "transformers:AutoModelForCausalLM")

    def __init__(self, model: str, args: argparse.Namespace):
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(args.threads)
        torch.set_grad_enabled(False)
        self.torch = torch
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
        self.write(1, 8, 1)

    def write(self, count: int, tokens: int, new: int) -> float:
        """Seconds of `count` prompts in a batch."""
        ids = self.torch.randint(1, 200, (count, tokens))
        start = time.perf_counter()
        self.model.generate(
            ids, attention_mask=self.torch.ones_like(ids), do_sample=False, pad_token_id=0,
            min_new_tokens=new, max_new_tokens=new, disable_compile=True,
        )  # fmt: skip
        return time.perf_counter() - start

    def pp(self, tokens: int) -> float:
        return tokens / self.write(1, tokens, 1)

    def tg(self, tokens: int) -> float:
        return WRITTEN / (self.write(1, tokens, WRITTEN + 1) - self.write(1, tokens, 1))

    def c(self, count: int) -> float:
        return count * 64 / self.write(count, 128, 64)


def consume(stream: Iterator[Any]) -> None:
    for _ in stream:
        pass


KINDS: dict[str, Any] = {
    "mistralrs": MistralRs, "llamacpp": LlamaCpp, "ikllama": IkLlama, "openvino": OpenVino,
    "transformers": Transformers,
}  # fmt: skip


def together(tokens: int, calls: list[Callable[[], Any]]) -> float:
    """Tokens per second of calls that run at once, a thread for each."""
    failed: list[BaseException] = []

    def run(call: Callable[[], Any]) -> None:
        try:
            call()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return tokens / (time.perf_counter() - start)


def work(args: argparse.Namespace) -> None:
    """Measure one engine and print a line of JSON for each figure."""
    random.seed(args.seed)
    for name in KINDS[args.work].needs:
        resolve_name(name)
    imported = time.time()
    engine = KINDS[args.work](args.model, args)
    say("start", time.time() - args.since)
    say("load", time.time() - imported)
    for test in args.tests:
        name = test.rstrip("0123456789")
        try:
            say(test, getattr(engine, name)(int(test[len(name) :])))
        except Exception as error:
            say(test, None, str(error)[:200])
    say("rss", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    sys.stdout.flush()
    os._exit(0)  # an engine's way out is not measured


def say(test: str, value: float | None, error: str = "") -> None:
    print("\n@" + json.dumps([test, value, error]), flush=True)


# --- all engines ------------------------------------------------------------------------------------


def measure(spec: str, args: argparse.Namespace, seed: int) -> dict[str, float | None]:
    """The figures of one run of one engine, in a new process."""
    kind, python = spec.split("=", 1)[1].split(":", 1)
    command = [python, __file__, args.model, "--work", kind, "--threads", str(args.threads)]
    command += ["--seed", str(seed), "--since", str(time.time()), "--tests", *args.tests]
    command += ["--isq", args.isq] if args.isq else []
    counts = dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS"), str(args.threads))
    run = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, **counts))
    lines = [json.loads(line[1:]) for line in run.stdout.splitlines() if line.startswith("@[")]
    for test, _, error in lines:
        if error:
            print(f"{spec}: {test}: {error}", file=sys.stderr)
    if not lines:
        print(f"{spec}: {run.stderr[-500:]}", file=sys.stderr)
    return {test: value for test, value, _ in lines}


EVERY = ("start", "load", "rss")  # figures of every run


def less_is_better(test: str) -> bool:
    return test in EVERY


def ratio(test: str, ours: float | None, theirs: float | None) -> float | None:
    """Above 1: ours is better."""
    if not ours or not theirs:
        return None
    return theirs / ours if less_is_better(test) else ours / theirs


def middle(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def show(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def table(rounds: list[dict[str, dict[str, float | None]]], tests: list[str]) -> None:
    """Print medians, and how many times better the first engine is than each other one."""
    first, *others = rounds[0]
    heads = [first, *(f"{name} (ratio)" for name in others)]
    print(f"| test | {' | '.join(heads)} |\n|---{'|---' * len(heads)}|")
    for test in [*tests, *EVERY]:
        figures = {name: [r[name].get(test) for r in rounds] for name in rounds[0]}
        cells = [show(middle(figures[first]), ".1f")]
        for name in others:
            pairs = zip(figures[first], figures[name])
            times = middle([ratio(test, ours, theirs) for ours, theirs in pairs])
            cells.append(f"{show(middle(figures[name]), '.1f')} ({show(times, '.2f')})")
        print(f"| {test} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=os.path.abspath)
    parser.add_argument("--engine", action="append", default=[])
    parser.add_argument("--tests", nargs="+", default=["pp128", "pp512", "tg128", "c8"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--isq")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--since", type=float, default=0.0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(args)
    rounds = [
        {spec.split("=")[0]: measure(spec, args, seed) for spec in args.engine}
        for seed in range(args.rounds)
    ]
    print(f"{os.path.basename(args.model)}, {args.threads} threads, {args.rounds} rounds\n")
    return table(rounds, args.tests)


if __name__ == "__main__":
    main()

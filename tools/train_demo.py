"""Make the bundled demo model: write text, train a tokenizer and a small Qwen3, score, save.

Needs: pip install torch transformers tokenizers safetensors jinja2
Run:   python tools/train_demo.py
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from demo_optimizer import Optimizer
from demo_render import TEMPLATE_FILE, spans
from demo_report import write_report
from demo_score import answers, first_mistakes, score, trials
from demo_text import held_out_examples, training_examples
from demo_tokenizer import END, END_OF_TEXT, save_tokenizer, train_tokenizer
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import Qwen3Config, Qwen3ForCausalLM

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "src" / "mistralrs" / "demo" / "model"
SEED = 7
VOCAB_SIZE = 1536
MAX_LENGTH = 512
CONTEXT = 2048
CHUNK = 3000
CONFIG_KEYS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act"),
    *("max_position_embeddings", "initializer_range", "rms_norm_eps", "use_cache"),
    *("tie_word_embeddings", "attention_bias", "attention_dropout", "use_sliding_window"),
)
MODES = (True, None, False, False)

Row = tuple[list[int], list[int]]  # token ids and labels


def config() -> Qwen3Config:
    """Describe the shape of the model."""
    return Qwen3Config(
        vocab_size=VOCAB_SIZE,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        attention_bias=False,
    )


def texts(seed: int, count: int) -> Iterator[list[tuple[str, bool]]]:
    """Yield examples as pieces of text, in changing thinking modes."""
    rng = random.Random(seed)
    for example in training_examples(seed, count):
        yield spans(example, rng.choice(MODES))


def row_of(tokenizer: Tokenizer, pieces: list[tuple[str, bool]]) -> Row:
    """Encode one example; labels are -100 but for what is to be learned."""
    ids: list[int] = []
    labels: list[int] = []
    for text, learned in pieces:
        part = tokenizer.encode(text).ids
        ids += part
        labels += part if learned else [-100] * len(part)
    return ids, labels


def rows(tokenizer: Tokenizer, seed: int) -> list[Row]:
    """Encode one chunk of examples, those too long left out."""
    made = (row_of(tokenizer, pieces) for pieces in texts(seed, CHUNK))
    return [row for row in made if len(row[0]) <= MAX_LENGTH]


def batches(tokenizer: Tokenizer, tokens: int, first: int) -> Iterator[list[Row]]:
    """Yield batches of about `tokens` tokens without end; rows of like length go together."""
    for seed in range(first * 1000, first * 1000 + 10**6):
        ready = packed(sorted(rows(tokenizer, seed), key=lambda row: len(row[0])), tokens)
        random.Random(seed).shuffle(ready)
        yield from ready


def packed(chunk: list[Row], tokens: int) -> list[list[Row]]:
    """Cut a sorted chunk into batches of about `tokens` tokens."""
    ready: list[list[Row]] = [[]]
    for row in chunk:
        ready[-1].append(row)
        if len(ready[-1]) * len(row[0]) >= tokens:
            ready.append([])
    return [batch for batch in ready if batch]


def tensors(batch: list[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad a batch on the right."""
    width = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([row + [0] * (width - len(row)) for row, _ in batch])
    labels = torch.tensor([row + [-100] * (width - len(row)) for _, row in batch])
    return ids, labels


def loss_of(model: Qwen3ForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Compute the mean loss of the answer tokens only."""
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    chosen = labels[:, 1:] != -100
    return functional.cross_entropy(model.lm_head(hidden[chosen]), labels[:, 1:][chosen])


def rate_factor(step: int, progress: float, warmup: int = 40) -> float:
    """Warm up, then follow a cosine down to two hundredths."""
    wave = 0.5 + 0.5 * math.cos(math.pi * min(progress, 1.0))
    return min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * wave)


def train(model: Qwen3ForCausalLM, tokenizer: Tokenizer, args: argparse.Namespace) -> dict:
    """Train for the asked steps, or until the time is up; return what was done."""
    optimizer = Optimizer(model, args.muon_rate, args.adam_rate)
    start, seen = time.monotonic(), 0
    for step, batch in enumerate(batches(tokenizer, args.tokens, args.seed)):
        minutes = (time.monotonic() - start) / 60
        progress = max(step / args.steps, minutes / args.minutes)
        if progress >= 1:
            break
        ids, labels = tensors(batch)
        seen += ids.numel()
        loss = loss_of(model, ids, labels)
        loss.backward()
        optimizer.step(rate_factor(step, progress))
        if step % 50 == 0:
            print(f"{step=} {minutes=:.1f} {seen=} loss={loss.item():.4f}", flush=True)
    return {"steps": step, "tokens": seen, "minutes": round(minutes, 1)}


def round_to_bf16(model: Qwen3ForCausalLM) -> None:
    """Round all weights to bf16 but go on computing in f32, as a reader of the file would."""
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16().float()


def save_model(model: Qwen3ForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the weights in bf16, config.json and generation_config.json."""
    state = {k: v.bfloat16() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    end, stop = tokenizer.token_to_id(END), tokenizer.token_to_id(END_OF_TEXT)
    write_json(folder / "config.json", config_values(model.config, end, stop))
    stops = {"do_sample": False, "eos_token_id": [end, stop], "pad_token_id": stop}
    write_json(folder / "generation_config.json", stops)


def config_values(shape: Qwen3Config, end: int, stop: int) -> dict:
    """List what a reader of the model has to know, in the form of Hugging Face."""
    known = shape.to_dict()
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **{key: known[key] for key in CONFIG_KEYS},
        "rope_theta": 10000.0,
        "sliding_window": None,
        "bos_token_id": None,
        "eos_token_id": end,
        "pad_token_id": stop,
        "torch_dtype": "bfloat16",
    }


def write_json(path: Path, value: dict) -> None:
    """Write a dictionary as readable JSON."""
    path.write_text(json.dumps(value, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--minutes", type=float, default=45, help="the schedule ends by then")
    parser.add_argument("--tokens", type=int, default=2048, help="tokens per step")
    parser.add_argument("--seed", type=int, default=SEED, help="another one gives other text")
    parser.add_argument("--resume", action="store_true", help="go on with the model in --out")
    parser.add_argument("--muon-rate", type=float, default=5e-3)
    parser.add_argument("--adam-rate", type=float, default=3e-3)
    parser.add_argument("--per-skill", type=int, default=40, help="held-out examples per skill")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--report", type=Path, default=ROOT / "docs" / "demo-model.md")
    return parser.parse_args()


def evaluate(model: Qwen3ForCausalLM, tokenizer: Tokenizer, per_skill: int) -> tuple[dict, dict]:
    """Score greedily and at temperature 1, and show some mistakes."""
    tried = list(trials(held_out_examples(SEED + 1, per_skill)))
    greedy = answers(model, tokenizer, tried, 0.0)
    print(*first_mistakes(tried, greedy), sep="\n")
    return score(tried, greedy), score(tried, answers(model, tokenizer, tried, 1.0))


def new_tokenizer(folder: Path) -> Tokenizer:
    """Train a tokenizer on generated text and save it."""
    corpus = ("".join(text for text, _ in pieces) for pieces in texts(SEED, 30000))
    tokenizer = train_tokenizer(corpus, VOCAB_SIZE)
    save_tokenizer(tokenizer, folder, TEMPLATE_FILE.read_text(), CONTEXT)
    return tokenizer


def beginning(args: argparse.Namespace) -> tuple[Qwen3ForCausalLM, Tokenizer]:
    """Start anew, or from the model that is already in the folder."""
    torch.manual_seed(args.seed)
    if not args.resume:
        return Qwen3ForCausalLM(config()), new_tokenizer(args.out)
    tokenizer = Tokenizer.from_file(str(args.out / "tokenizer.json"))
    return Qwen3ForCausalLM.from_pretrained(args.out, dtype=torch.float32).train(), tokenizer


def main() -> None:
    """Do everything in order."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    model, tokenizer = beginning(args)
    done = train(model, tokenizer, args) | {"parameters": model.num_parameters()}
    round_to_bf16(model.eval())
    save_model(model, tokenizer, args.out)
    greedy, sampled = evaluate(model, tokenizer, args.per_skill)
    write_report(args.report, done, greedy, sampled)


if __name__ == "__main__":
    main()

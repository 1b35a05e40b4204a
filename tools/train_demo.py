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
from itertools import islice
from pathlib import Path

import torch
from demo_render import TEMPLATE_FILE, answer_text, prompt_text
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
MODES = (True, None, False, False)

Row = tuple[list[int], list[int]]


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


def texts(seed: int, count: int) -> Iterator[tuple[str, str]]:
    """Yield pairs of prompt and answer, in changing thinking modes."""
    rng = random.Random(seed)
    for example in training_examples(seed, count):
        mode = rng.choice(MODES)
        yield prompt_text(example, mode), answer_text(example, mode)


def rows(tokenizer: Tokenizer, seed: int) -> list[Row]:
    """Encode one chunk of examples, those too long left out."""
    pairs = list(texts(seed, CHUNK))
    encode = tokenizer.encode_batch_fast
    prompts, wanted = encode([p for p, _ in pairs]), encode([a for _, a in pairs])
    both = [(p.ids, a.ids) for p, a in zip(prompts, wanted, strict=True)]
    return [row for row in both if len(row[0]) + len(row[1]) <= MAX_LENGTH]


def batches(tokenizer: Tokenizer, tokens: int) -> Iterator[list[Row]]:
    """Yield batches of about `tokens` tokens without end; rows of like length go together."""
    for seed in range(SEED * 1000, SEED * 1000 + 10**6):
        chunk = sorted(rows(tokenizer, seed), key=lambda row: len(row[0]) + len(row[1]))
        ready, batch = [], []
        for row in chunk:
            batch.append(row)
            if len(batch) * (len(row[0]) + len(row[1])) >= tokens:
                ready.append(batch)
                batch = []
        random.Random(seed).shuffle(ready)
        yield from ready


def tensors(batch: list[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad a batch on the right; labels are -100 but for answers."""
    width = max(len(prompt) + len(answer) for prompt, answer in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for i, (prompt, answer) in enumerate(batch):
        end = len(prompt) + len(answer)
        ids[i, :end] = torch.tensor(prompt + answer)
        labels[i, len(prompt) : end] = torch.tensor(answer)
    return ids, labels


def loss_of(model: Qwen3ForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Compute the mean loss of the answer tokens only."""
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    chosen = labels[:, 1:] != -100
    return functional.cross_entropy(model.lm_head(hidden[chosen]), labels[:, 1:][chosen])


def optimizer_for(model: Qwen3ForCausalLM, rate: float) -> torch.optim.AdamW:
    """Make AdamW with weight decay on matrices only."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


def rate_factor(step: int, progress: float, warmup: int = 100) -> float:
    """Warm up, then follow a cosine down to two hundredths."""
    wave = 0.5 + 0.5 * math.cos(math.pi * min(progress, 1.0))
    return min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * wave)


def train(model: Qwen3ForCausalLM, tokenizer: Tokenizer, args: argparse.Namespace) -> dict:
    """Train for the asked steps, or until the time is up; return what was done."""
    optimizer, start, seen = optimizer_for(model, args.rate), time.monotonic(), 0
    for step, batch in enumerate(batches(tokenizer, args.tokens)):
        minutes = (time.monotonic() - start) / 60
        progress = max(step / args.steps, minutes / args.minutes)
        if progress >= 1:
            break
        ids, labels = tensors(batch)
        seen += ids.numel()
        loss = update(model, optimizer, ids, labels, args.rate * rate_factor(step, progress))
        if step % 50 == 0:
            print(f"step {step} loss {loss:.4f} minutes {minutes:.1f} tokens {seen}", flush=True)
    return {"steps": step, "tokens": seen, "minutes": round(minutes, 1)}


def update(
    model: Qwen3ForCausalLM,
    optimizer: torch.optim.AdamW,
    ids: torch.Tensor,
    labels: torch.Tensor,
    rate: float,
) -> float:
    """Take one optimizer step and return the loss."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = loss_of(model, ids, labels)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def round_to_bf16(model: Qwen3ForCausalLM) -> None:
    """Round all weights to bf16 but go on computing in f32, as a reader of the file would."""
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16().float()


def save_model(model: Qwen3ForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the weights in bf16, config.json and generation_config.json."""
    state = {k: v.bfloat16() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})
    end, stop = tokenizer.token_to_id(END), tokenizer.token_to_id(END_OF_TEXT)
    shape = {key: value for key, value in model.config.to_dict().items() if value is not None}
    names = {"architectures": ["Qwen3ForCausalLM"], "dtype": "bfloat16"}
    shape |= names | {"rope_theta": 10000.0, "eos_token_id": end, "pad_token_id": stop}
    write_json(folder / "config.json", shape)
    stops = {"do_sample": False, "eos_token_id": [end, stop], "pad_token_id": stop}
    write_json(folder / "generation_config.json", stops)


def write_json(path: Path, value: dict) -> None:
    """Write a dictionary as readable JSON."""
    path.write_text(json.dumps(value, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--minutes", type=float, default=45, help="the schedule ends by then")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens per step")
    parser.add_argument("--rate", type=float, default=2e-3)
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


def main() -> None:
    """Do everything in order."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    corpus = (prompt + answer for prompt, answer in islice(texts(SEED, 30000), 30000))
    tokenizer = train_tokenizer(corpus, VOCAB_SIZE)
    save_tokenizer(tokenizer, args.out, TEMPLATE_FILE.read_text(), CONTEXT)
    model = Qwen3ForCausalLM(config())
    done = train(model, tokenizer, args) | {"parameters": model.num_parameters()}
    round_to_bf16(model.eval())
    save_model(model, tokenizer, args.out)
    greedy, sampled = evaluate(model, tokenizer, args.per_skill)
    write_report(args.report, done, greedy, sampled)


if __name__ == "__main__":
    main()

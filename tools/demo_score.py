"""Score the demo model on held-out examples."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from demo_render import answer_text, prompt_text
from demo_text import Example
from demo_tokenizer import END, END_OF_TEXT
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM

MAX_NEW = 160
BATCH = 32


@dataclass(frozen=True)
class Trial:
    """One example in one thinking mode."""

    skill: str
    example: Example
    thinking: bool


def trials(examples: Iterable[Example]) -> Iterator[Trial]:
    """Try examples that have something to think about in both modes, the others in turn."""
    for index, example in enumerate(examples):
        if not example.think:
            yield Trial(example.skill, example, index % 2 == 0)
            continue
        yield Trial(f"{example.skill}, thinking", example, True)
        yield Trial(f"{example.skill}, not thinking", example, False)


def final_part(text: str) -> str:
    """Drop the think block and the end token."""
    return text.split("</think>")[-1].removesuffix(END).removesuffix(END_OF_TEXT).strip()


def parsed_calls(text: str) -> list | None:
    """Read all tool calls of an answer; None if one is not JSON."""
    parts = text.split("<tool_call>")[1:]
    try:
        return [json.loads(part.split("</tool_call>")[0]) for part in parts]
    except json.JSONDecodeError:
        return None


def is_right(trial: Trial, text: str) -> bool:
    """Judge an answer: it must end, and be equal, or for free text hold the wanted words."""
    example = trial.example
    if not text.endswith((END, END_OF_TEXT)):
        return False
    if example.calls:
        return parsed_calls(text) == list(example.calls)
    if example.wanted:
        return all(word in final_part(text) for word in example.wanted)
    return final_part(text) == final_part(answer_text(example, trial.thinking))


def padded(rows: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad rows on the left; return ids and mask."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def complete(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer, prompts: list[str], temperature: float
) -> list[str]:
    """Let the model write answers, greedily when the temperature is zero."""
    ends = [tokenizer.token_to_id(END), tokenizer.token_to_id(END_OF_TEXT)]
    rows = [row.ids for row in tokenizer.encode_batch(prompts)]
    ids, mask = padded(rows, ends[1])
    how = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {}
    how = how or {"do_sample": False}
    out = model.generate(
        ids, attention_mask=mask, max_new_tokens=MAX_NEW, eos_token_id=ends,
        pad_token_id=ends[1], use_cache=True, **how,
    )  # fmt: skip
    return [until_end(tokenizer, row, ends) for row in out[:, ids.shape[1] :].tolist()]


def until_end(tokenizer: Tokenizer, row: list[int], ends: list[int]) -> str:
    """Decode a row up to its first end token."""
    stop = next((i for i, token in enumerate(row) if token in ends), len(row))
    return tokenizer.decode(row[: stop + 1], skip_special_tokens=False)


@torch.inference_mode()
def answers(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer, rows: list[Trial], temperature: float
) -> list[str]:
    """Write an answer for every trial."""
    texts: list[str] = []
    for start in range(0, len(rows), BATCH):
        prompts = [prompt_text(row.example, row.thinking) for row in rows[start : start + BATCH]]
        texts += complete(model, tokenizer, prompts, temperature)
    return texts


def score(rows: list[Trial], texts: list[str]) -> dict[str, tuple[int, int]]:
    """Count right answers and all answers per skill."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row, text in zip(rows, texts, strict=True):
        counts[row.skill][0] += is_right(row, text)
        counts[row.skill][1] += 1
    return {skill: (right, total) for skill, (right, total) in sorted(counts.items())}


def first_mistakes(rows: list[Trial], texts: list[str], per_skill: int = 2) -> Iterator[str]:
    """Describe some wrong answers of each skill."""
    seen: dict[str, int] = defaultdict(int)
    for row, text in zip(rows, texts, strict=True):
        if is_right(row, text) or seen[row.skill] >= per_skill:
            continue
        seen[row.skill] += 1
        example = row.example
        asked = example.raw or example.messages[-1]["content"]
        wanted = answer_text(example, row.thinking)
        yield f"[{row.skill}] {asked!r}\n  wanted {wanted!r}\n  got    {text!r}"

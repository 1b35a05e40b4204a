"""What does quantization cost? Each ISQ type against the float32 model, on text that the demo model was never shown.

python bench/quality.py [MODEL] [--types q4k hqq4 ...] [--text FILE] [--tokens 20000]

For every token of an answer: the KL divergence of the next-token distribution from that of the float32 model, whether
the most probable token is the same, and the probability of the token that follows (perplexity). Of a --text, which
another MODEL needs, all tokens count.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mistralrs.api.prompt import Prompt
from mistralrs.demo import model_path
from mistralrs.engine import batch
from mistralrs.engine import sequence as state
from mistralrs.engine.scheduler import Turn
from mistralrs.load.build import Built, build
from mistralrs.load.explain import weights
from mistralrs.load.hub import open_repo
from mistralrs.load.plan import Wish
from mistralrs.load.vocabulary import read_tokenizer
from mistralrs.nn.linear import Embedding
from mistralrs.passes.isq import NAMES, parse

CONTEXT = 512  # tokens of one piece of a long text
SEED = 7
Piece = tuple[list[int], int]  # tokens, and how many of them are given


class Quality(NamedTuple):
    """Means over all tokens; `loss` and `divergence` in nats, `bits` per weight of the quantized matrices."""

    bits: float
    divergence: float
    same: float
    loss: float


def demo_texts(per_skill: int = 12) -> list[tuple[str, str]]:
    """Prompts and answers: held-out examples of every skill of the demo model, half of them thinking."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
    from demo_render import answer_text, prompt_text
    from demo_text import held_out_examples

    modes = [(e, i % 2 == 0) for i, e in enumerate(held_out_examples(SEED, per_skill))]
    return [(prompt_text(e, thinking), answer_text(e, thinking)) for e, thinking in modes]


def pieces(texts: Sequence[tuple[str, str]], args: argparse.Namespace) -> Iterator[Piece]:
    """Texts as tokens, at most CONTEXT together and `args.tokens` in all."""
    tokenizer, _ = read_tokenizer(open_repo(args.model), None)
    left = args.tokens
    for pair in texts:
        given, rest = (tokenizer.encode(text, add_special_tokens=False).ids for text in pair)
        ids = (given + rest)[:left]
        left -= len(ids)
        for start in range(0, len(ids) - 1, CONTEXT):
            piece, before = ids[start : start + CONTEXT], max(1, len(given) - start)
            if before < len(piece):
                yield piece, before


def log_probabilities(built: Built, piece: Piece) -> Tensor:
    """[T, V] of every token that is not given."""
    ids, given = piece
    one = state.Sequence(
        state.Job(Prompt(tuple(ids)), lambda: None, lambda piece: None), 0, CONTEXT
    )
    one.pages = list(range(-(-len(ids) // built.plan.page_size)))
    step = batch.build([Turn(one, len(ids))], torch.device("cpu"))
    step.outputs.resize_(len(ids)).copy_(torch.arange(len(ids)))
    with torch.inference_mode():
        return built.model(step)[given - 1 : -1].double().log_softmax(-1)


def measured(built: Built, texts: Sequence[Piece], reference: Sequence[Tensor]) -> Quality:
    """One model against the distributions of another."""
    divergence = same = loss = count = 0.0
    for piece, want in zip(texts, reference, strict=True):
        found, (ids, given) = log_probabilities(built, piece), piece
        divergence += float((want.exp() * (want - found)).sum())
        same += float((want.argmax(-1) == found.argmax(-1)).sum())
        loss -= float(found.gather(1, torch.tensor(ids[given:])[:, None]).sum())
        count += len(found)
    matrices = [w for _, m, w in weights(built.model) if not isinstance(m, Embedding)]
    numbers = sum(torch.Size(w.shape).numel() for w in matrices)
    bits = 8 * sum(w.nbytes for w in matrices) / numbers
    return Quality(bits, divergence / count, same / count, loss / count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default=str(model_path()))
    every = [name for name in NAMES if not name.isdigit()]
    parser.add_argument("--types", nargs="+", default=every, choices=every, metavar="TYPE")
    parser.add_argument("--text", type=Path, help="a file; the default is the demo's held-out text")
    parser.add_argument("--tokens", type=int, default=20000)
    args = parser.parse_args()

    def load(name: str | None) -> Built:
        return build(open_repo(args.model), Wish(dtype="f32", isq=name and parse(name)))

    texts = list(pieces([("", args.text.read_text())] if args.text else demo_texts(), args))
    plain = load(None)
    reference = [log_probabilities(plain, piece) for piece in texts]
    print(
        f"{sum(map(len, reference))} tokens\n\n| type | bits | KL, nats | same token | perplexity |"
    )
    print("|---|---|---|---|---|")
    for name in (None, *args.types):
        found = measured(load(name) if name else plain, texts, reference)
        perplexity = torch.tensor(found.loss).exp().item()
        print(
            f"| {name or 'float32'} | {found.bits:.2f} | {found.divergence:.5f} | {found.same:.1%} | "
            f"{perplexity:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

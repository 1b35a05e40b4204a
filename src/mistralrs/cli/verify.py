"""`mistralrs verify`: a checkpoint computed here and by transformers, both in float32, number by number."""

import gc
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from mistralrs.api.errors import NotSupportedError
from mistralrs.cli.options import AT_LEAST_1
from mistralrs.demo import model_path

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mistralrs.load.hub import Repo

PROMPTS = (
    "The capital of France is",
    "def fibonacci(n):\n    ",
    "1, 2, 3, 4, 5, 6,",
    "Im Frühling wird es wärmer, und die Tage",
)


@dataclass(frozen=True)
class Trace:
    """What one side computed for a text."""

    logits: "Tensor"  # [T, V]
    layers: "list[Tensor]"  # the output [T, D] of each layer


@dataclass(frozen=True)
class Finding:
    """How the two sides compare on one prompt and its greedy continuation by transformers."""

    prompt: str
    tokens: int
    difference: float  # largest of all logits
    agreed: int  # tokens of the continuation that are the likeliest here too
    continued: int
    drift: list[float]  # relative difference of each layer's output, in norms


class Peer:
    """The model of transformers."""

    def __init__(self, name: str, cache: str | None):
        try:
            import transformers
        except ImportError as error:
            raise NotSupportedError(
                "verify compares with transformers: pip install 'mistralrs[verify]'"
            ) from error
        import torch

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        config = transformers.AutoConfig.from_pretrained(name, cache_dir=cache)
        sees = hasattr(config, "vision_config")  # here its text model is compared
        kind = (
            transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM
        )
        self.model = kind.from_pretrained(name, dtype=torch.float32, cache_dir=cache).eval()
        self.version = transformers.__version__

    def extend(self, tokens: list[int], count: int) -> list[int]:
        """The tokens and up to `count` more, the likeliest each time."""
        import torch

        ids = torch.tensor([tokens])
        mask = torch.ones_like(ids)
        plain = dict(do_sample=False, temperature=None, top_p=None, top_k=None)
        return self.model.generate(ids, attention_mask=mask, max_new_tokens=count, **plain)[
            0
        ].tolist()

    def trace(self, tokens: Sequence[int]) -> Trace:
        """Logits and layers of a text."""
        import torch

        def run() -> "Tensor":
            return self.model(torch.tensor([tokens]), use_cache=False).logits[0]

        layers = self.model.config.get_text_config().num_hidden_layers
        return watch(self.model.get_decoder(), layers, run)


class Own:
    """The model as it is built here."""

    def __init__(self, repo: "Repo"):
        import torch

        from mistralrs.load.build import build
        from mistralrs.load.plan import Wish

        self.built = build(repo, Wish(dtype="f32", device=torch.device("cpu"), sequences=1))

    def trace(self, tokens: Sequence[int]) -> Trace:
        """Logits and layers of a text."""
        import torch

        from mistralrs.engine.oneshot import Room, build

        plan = self.built.plan
        batch = build([tokens], Room(plan.pages, plan.page_size, 1), torch.device("cpu"))
        every = replace(batch, outputs=torch.arange(len(tokens)))
        layers = self.built.cfg.text.num_hidden_layers
        return watch(self.built.model, layers, lambda: self.built.model(every))


def watch(model: "nn.Module", count: int, run: "Callable[[], Tensor]") -> Trace:
    """Run a model that returns logits, and keep what each of its `count` layers gives."""
    import torch

    found: dict[nn.Module, Tensor] = {}

    def keep(module: "nn.Module", inputs: Any, output: Any) -> None:
        x = output[0] if isinstance(output, tuple) else output
        found[module] = x.reshape(-1, x.shape[-1]).clone()

    lists = [m for name, m in model.named_modules() if name.split(".")[-1] == "layers"]
    layers = next((m for m in lists if len(list(m.children())) == count), None)
    ordered = list(layers.children()) if layers else []
    hooks = [layer.register_forward_hook(keep) for layer in ordered]
    try:
        with torch.inference_mode():
            logits = run()
    finally:
        for hook in hooks:
            hook.remove()
    outputs: list[Tensor] = []
    for layer in ordered:  # one that was skipped gives what it got
        outputs += [found[layer]] if layer in found else outputs[-1:]
    return Trace(logits, outputs)


def compare(prompt: str, start: int, tokens: list[int], own: Trace, peer: Trace) -> Finding:
    """The finding for a text whose continuation begins at token `start`."""
    said, likeliest = tokens[start:], own.logits.argmax(-1)[start - 1 : -1].tolist()
    return Finding(
        prompt,
        len(tokens),
        (own.logits - peer.logits).abs().max().item(),
        sum(a == b for a, b in zip(said, likeliest, strict=True)),
        len(said),
        [((a - b).norm() / b.norm()).item() for a, b in zip(own.layers, peer.layers)],
    )


def examine(name: str, cache: str | None, prompts: Sequence[str], count: int) -> list[Finding]:
    """Compare on each prompt; the two models are in memory one after the other."""
    from mistralrs.load.hub import open_repo
    from mistralrs.load.sentence import is_embedding_model
    from mistralrs.load.vocabulary import read_tokenizer
    from mistralrs.prompt.tokenizer import Tokenizer

    repo = open_repo(name, cache=cache)
    if is_embedding_model(repo):
        raise NotSupportedError(f"'{name}' is an embedding model; verify compares text models")
    tokenizer = Tokenizer.wrap(*read_tokenizer(repo, None))
    starts = [tokenizer.encode(prompt) for prompt in prompts]
    peer = Peer(name, cache)
    texts = [peer.extend(tokens, count) for tokens in starts]
    expected = [peer.trace(tokens) for tokens in texts]
    del peer
    gc.collect()
    own = Own(repo)
    return [
        compare(prompt, len(start), tokens, own.trace(tokens), trace)
        for prompt, start, tokens, trace in zip(prompts, starts, texts, expected, strict=True)
    ]


@click.command(context_settings={"show_default": True})
@click.option("-m", "--model-id", help="Hugging Face id or folder; default: the demo model.")
@click.option("-p", "--prompt", "prompts", multiple=True, help="Compare on this; repeatable.")
@click.option("-n", "--tokens", default=16, type=AT_LEAST_1, help="Tokens to continue each prompt.")
@click.option("--threshold", default=1e-3, help="Largest difference of logits that passes.")
@click.option("--hf-cache", help="Folder of downloaded models.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(
    model_id: str | None,
    prompts: tuple[str, ...],
    tokens: int,
    threshold: float,
    hf_cache: str | None,
    as_json: bool,
) -> None:
    """Compare a model with transformers in float32.

    transformers continues each prompt greedily; then both compute the
    whole text. Exit code 1 when a logit differs by more than the threshold.
    """
    name = model_id or str(model_path())
    findings = examine(name, hf_cache, prompts or PROMPTS, tokens)
    worst = max(finding.difference for finding in findings)
    passed = worst <= threshold  # false for NaN
    if as_json:
        report = dict(model=name, passed=passed, difference=worst, threshold=threshold)
        print(json.dumps(report | dict(prompts=[asdict(one) for one in findings]), indent=2))
    else:
        show(findings)
        print(
            f"largest difference {worst:.1e}, threshold {threshold:.0e}: {'ok' if passed else 'FAILED'}"
        )
    if not passed:
        sys.exit(1)


def show(findings: Sequence[Finding]) -> None:
    """Print a table of prompts and one of layers."""
    print(f"{'prompt':<44}{'tokens':>7}{'greedy':>9}{'logits':>10}")
    for one in findings:
        text = repr(one.prompt)
        text = text if len(text) <= 42 else f"{text[:39]}..."
        same = f"{one.agreed}/{one.continued}"
        print(f"{text:<44}{one.tokens:>7}{same:>9}{one.difference:>10.1e}")
    print(f"\n{'layer':<6}{'drift':>10}")
    for layer, drifts in enumerate(zip(*(one.drift for one in findings))):
        print(f"{layer:<6}{max(drifts):>10.1e}")
    print()

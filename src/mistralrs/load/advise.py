"""Which quantization of a model fits this machine's memory: sizes by config.json alone, and a recommendation."""

import shlex
from dataclasses import asdict, dataclass
from typing import Any

import torch

from mistralrs.api.enums import IsqOrganization, ModelDType
from mistralrs.api.errors import NotSupportedError, OutOfMemoryError
from mistralrs.api.which import Which, WhichPlain, WhichVisionPlain
from mistralrs.load.estimate import Estimate, estimates
from mistralrs.load.hub import Repo
from mistralrs.load.plan import Wish, memory
from mistralrs.passes.isq import parse
from mistralrs.quant.formats import Format

CANDIDATES = ("none", "q8_0", "q6k", "q5k", "q4k", "q3k", "q2k")  # best first
PREFERRED = {"quality": CANDIDATES[1:], "balanced": CANDIDATES[2:], "fast": CANDIDATES[4:]}
TIERS = ((16, "baseline"), (8, "near-lossless"), (5, "good"), (4, "acceptable"), (0, "degraded"))
SEQUENCES = 32  # what run and serve have without --max-seqs
LEAST = 4096  # tokens of context that a model must have room for, unless its own is shorter
NOTES = {
    "sizes": "sizes are those of weights and recurrent states; Python and torch take some hundred MiB more",
    "images": "images take no memory beside the weights, so their number and size change nothing",
}


@dataclass(frozen=True)
class Question:
    """What is to be tuned, and for what use."""

    which: WhichPlain | WhichVisionPlain
    profile: str = "balanced"
    isq: str | None = None  # the type that the user would like best
    sequences: int = SEQUENCES  # that run at the same time
    cpu: bool = False  # leave every GPU alone

    @property
    def wanted(self) -> list[str]:
        """The types to choose from, best first."""
        return [self.isq.strip().lower()] if self.isq else list(PREFERRED[self.profile])

    @property
    def names(self) -> list[str]:
        """Every type to look at."""
        return list(dict.fromkeys((*CANDIDATES, *self.wanted)))

    @property
    def least(self) -> int:
        """Tokens of context that there must be room for."""
        limits = self.which.auto_map_params
        return limits.max_seq_len * limits.max_batch_size if limits else LEAST

    @property
    def wish(self) -> Wish:
        """What would be loaded."""
        gpu = torch.cuda.is_available() and not self.cpu
        return Wish(
            arch=self.which.arch.value if self.which.arch else None,
            media=isinstance(self.which, WhichVisionPlain),
            dtype=self.which.dtype.value,
            device=torch.device("cuda", 0) if gpu else torch.device("cpu"),
            experts=self.moqe,
            sequences=self.sequences,
        )

    @property
    def moqe(self) -> bool:
        """Whether the experts of a mixture alone are quantized."""
        return getattr(self.which, "organization", None) is IsqOrganization.MoQE


@dataclass(frozen=True)
class Machine:
    """Where the model is to run."""

    backend: str
    total: int  # bytes of memory
    available: int


@dataclass(frozen=True)
class Candidate:
    """A quantization and what becomes of the model with it."""

    isq: str
    isq_name: str
    estimated_size_bytes: int
    vram_usage_percent: float
    max_context_tokens: int
    context_is_model_max: bool
    quality: str
    fit_status: str  # "fits" or "too-large"
    recommended: bool = False


def tunable(which: Which) -> WhichPlain | WhichVisionPlain:
    """The same; raises NotSupportedError for what cannot be quantized while it is loaded."""
    if isinstance(which, WhichPlain | WhichVisionPlain):
        return which
    raise NotSupportedError(
        f"{type(which).__qualname__}: there is nothing to choose, since only the plain weights of models that write "
        "text are quantized on load; a GGUF or GGML file is quantized already, choose another file to save memory"
    )


def advise(repo: Repo, question: Question) -> dict[str, Any]:
    """What `mistralrs tune --json` prints; of `repo` only config.json is read.

    Raises OutOfMemoryError when nothing fits, and ConfigError or RequestError for what makes no sense.
    """
    wish = question.wish
    kinds = [None if name == "none" else parse(name) for name in question.names]
    machine = Machine(wish.device.type, *memory(wish.device))
    candidates = [
        candidate(name, kind, size, machine, question.least)
        for name, kind, size in zip(question.names, kinds, estimates(repo, wish, kinds))
    ]
    return report(question, machine, candidates, recommend(candidates, question.wanted))


def candidate(
    name: str, kind: Format | None, size: Estimate, machine: Machine, least: int = LEAST
) -> Candidate:
    """The figures of one quantization."""
    bits = 16.0 if kind is None else kind.bits
    fixed = size.weights + size.states
    room = max(machine.available - fixed, 0)
    context = min(size.context, room // size.per_token if size.per_token else size.context)
    return Candidate(
        isq=name,
        isq_name="none" if name == "none" else name.upper(),
        estimated_size_bytes=fixed,
        vram_usage_percent=round(100 * fixed / machine.total, 2),
        max_context_tokens=context,
        context_is_model_max=context == size.context,
        quality=next(tier for fewest, tier in TIERS if int(bits) >= fewest),
        fit_status="fits" if room > 0 and fits(size, room, least) else "too-large",
    )


def fits(size: Estimate, room: int, least: int) -> bool:
    """Whether `room` bytes hold the caches of `least` tokens, or of one longest sequence if that is shorter."""
    return room >= min(least, size.context) * size.per_token


def recommend(candidates: list[Candidate], wanted: list[str]) -> Candidate:
    """The first wanted one that fits, else the first that fits at all."""
    fitting = {one.isq: one for one in candidates if one.fit_status == "fits"}
    for name in (*wanted, *fitting):
        if name in fitting:
            return fitting[name]
    smallest = min(candidates, key=lambda one: one.estimated_size_bytes)
    raise OutOfMemoryError(
        f"no quantization of this model fits: {smallest.isq_name} needs "
        f"{smallest.estimated_size_bytes:,} bytes; take a smaller model, or free memory"
    )


def report(
    question: Question, machine: Machine, candidates: list[Candidate], chosen: Candidate
) -> dict[str, Any]:
    """Everything as JSON."""
    name, room = str(question.which.model_id), chosen.max_context_tokens
    isq = None if chosen.isq == "none" else chosen.isq
    short = [] if chosen.context_is_model_max else [f"there is room for {room:,} tokens alone"]
    return dict(
        model_id=name,
        profile=question.profile,
        backend=machine.backend,
        candidates=[{**asdict(one), "recommended": one == chosen} for one in candidates],
        recommended_isq=isq,
        device_layers=None,
        device_layers_cli=None,
        paged_attn_mode="auto",
        recommended_command=" ".join(
            ["mistralrs serve -m", shlex.quote(name), *flags(question, isq)]
        ),
        total_vram_bytes=machine.total,
        available_vram_bytes=machine.available,
        warnings=short,
        notes=[NOTES["sizes"]],
    )


def flags(question: Question, isq: str | None) -> list[str]:
    """The options of the command line that the sizes hold for."""
    which, sequences = question.which, question.sequences
    given = {
        "--arch": which.arch.value if which.arch else None,
        "--dtype": None if which.dtype is ModelDType.Auto else which.dtype.value,
        "--tokenizer": which.tokenizer_json,
        "--hf-cache": which.hf_cache_path,
        "--isq": isq,
        "--isq-organization": "moqe" if isq and question.moqe else None,
        "--max-seqs": None if sequences == SEQUENCES else str(sequences),
    }
    words = [f"{name} {shlex.quote(str(value))}" for name, value in given.items() if value]
    return [*words, *(["--cpu"] if question.cpu else [])]

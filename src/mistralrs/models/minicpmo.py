"""MiniCPM-o 2.6: a picture and its slices, of which learned rows take what they want to know; sounds by Whisper.

It hears and reads; its voice (`tts.*`) is left out.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mistralrs.api.errors import MediaError, NotSupportedError
from mistralrs.models import idefics3, voxtral
from mistralrs.nn import image, vision
from mistralrs.nn.audio import log_mel
from mistralrs.nn.checkpoint import Lazy, drop, rename, split
from mistralrs.nn.decoder import Settings
from mistralrs.nn.linear import Linear, empty
from mistralrs.nn.media import Encoder, Media, Prepared
from mistralrs.nn.norm import LayerNorm

NAMES = {
    r"^llm\.": "",
    r"^vpm\.": "encoder.tower.",
    r"^resampler\.": "encoder.resampler.",
    r"^apm\.": "encoder.ears.",
    r"^audio_projection_layer\.": "encoder.projector.",
    r"resampler\.attn\.": "resampler.",
    r"resampler\.in_proj_(\w+)": r"resampler.in_proj.\1",
    r"resampler\.proj$": "resampler.proj.weight",
}
WHISPER = {old: new for old, new in voxtral.WHISPER.items() if not old.startswith("^")}
WORDS = dict(
    hidden_size="d_model",
    intermediate_size="encoder_ffn_dim",
    num_hidden_layers="encoder_layers",
    num_attention_heads="encoder_attention_heads",
)
PIECE = 30  # seconds of sound that are heard at once
VOICE = "<|spk_bos|><|spk|><|spk_eos|><|tts_bos|>"


class Processor:
    """The whole picture in about as many pixels as a square has; a large one also in slices of that size."""

    joined = False
    placeholder = "<unk>"
    joint = "\n"

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        named = {"image_mean": files.get("norm_mean"), "image_std": files.get("norm_std")}
        self.look = image.Look.of({**files, **{k: v for k, v in named.items() if v}}, **image.HALF)
        self.patch = cfg.vision_config.patch_size
        self.edge = files.get("scale_resolution", 448)
        self.most = files.get("max_slice_nums", 9) if files.get("slice_mode", True) else 1
        self.queries, self.numbered = cfg.query_num, files.get("use_image_id", cfg.use_image_id)

    def marker(self, index: int) -> str:
        return "(<image>./</image>)"

    def prepare(self, picture: image.Picture) -> Prepared:
        columns, lines = slices(picture.size, self.edge, self.most)
        views = [self.look.resize(picture, self.whole(picture.size, columns * lines == 1))]
        if columns * lines > 1:
            size = self.slice(picture.size, columns, lines)
            wide = self.look.resize(picture, (size[0] * columns, size[1] * lines))
            views += image.tiles(wide, size)
        patches = [vision.patches(self.look.pixels(view)[None], self.patch) for view in views]
        sides = [side // self.patch for view in (views[0], views[-1]) for side in view.size[::-1]]
        return Prepared(
            {"patches": torch.cat(patches)}, len(views) * self.queries, (lines, columns, *sides)
        )

    def whole(self, size: image.Size, grow: bool) -> image.Size:
        """The size of the whole picture; small ones grow only where they are all that is seen."""
        large = size[0] * size[1] > self.edge**2
        return self.patched(scaled(size, self.edge) if large or grow else size)

    def slice(self, size: image.Size, columns: int, lines: int) -> image.Size:
        """The size of each slice."""
        width, height = nearest(size[0], columns), nearest(size[1], lines)
        return self.patched(scaled((width / columns, height / lines), self.edge))

    def patched(self, size: tuple[float, float]) -> image.Size:
        """A size in whole patches."""
        return nearest(size[0], self.patch), nearest(size[1], self.patch)

    def expand(self, prepared: Prepared, index: int) -> str:
        lines, columns, rows = *prepared.grid[:2], self.placeholder * self.queries
        number = f"<image_id>{index}</image_id>" if self.numbered else ""
        slices = [f"<slice>{rows}</slice>" * columns] * lines if lines * columns > 1 else []
        return f"{number}<image>{rows}</image>" + "\n".join(slices)


def nearest(length: float, step: int) -> int:
    """The nearest multiple of a step, at least one."""
    return max(round(length / step) * step, step)


def scaled(size: tuple[float, float], edge: int) -> image.Size:
    """A size of the same proportions with about the pixels of a square."""
    ratio = size[0] / size[1]
    height = int(edge / math.sqrt(ratio))
    return int(height * ratio), height


def slices(size: image.Size, edge: int, most: int) -> image.Size:
    """Columns and lines of about as many slices as the picture has squares, in proportions near its own."""
    wanted = min(math.ceil(math.prod(size) / edge**2), most)
    if wanted < 2:
        return 1, 1
    counts = [n for n in (wanted - 1, wanted, wanted + 1) if 1 < n <= most]
    grids = [(w, n // w) for n in counts for w in range(1, n + 1) if n % w == 0]
    ratio = math.log(size[0] / size[1])
    return min(grids, key=lambda grid: abs(ratio - math.log(grid[0] / grid[1])))


class Listener:
    """Spectrograms; every second stands between tokens of its own."""

    joined = False
    placeholder = "<unk>"
    joint = "\n"

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        self.bands, self.pool = cfg.audio_config.num_mel_bins, cfg.audio_pool_step
        self.rate, self.hop = files.get("sampling_rate", 16000), files.get("hop_length", 160)
        self.size = files.get("n_fft", 400)
        self.second = 50 // self.pool  # rows

    def marker(self, index: int) -> str:
        return "(<audio>./</audio>)"

    def prepare(self, sound: Tensor) -> Prepared:
        pieces = [self.mel(piece) for piece in sound.split(PIECE * self.rate)]
        rows = sum(pooled(piece.shape[1], self.pool) for piece in pieces)
        if not rows:
            raise MediaError(f"a sound of {len(sound)} samples is too short to hear anything")
        return Prepared({"mel": torch.cat(pieces, 1)}, rows)

    def mel(self, sound: Tensor) -> Tensor:
        """samples [N] -> [bands, N / hop], as loud as it is before the silence of a whole piece."""
        whole = F.pad(sound, (0, PIECE * self.rate - len(sound)))
        mel = log_mel(whole, self.bands, self.size, self.hop, self.rate)
        return mel[:, : math.ceil(len(sound) / self.hop)]

    def expand(self, prepared: Prepared, index: int) -> str:
        starts = range(0, prepared.rows, self.second)
        counts = [min(self.second, prepared.rows - start) for start in starts]
        return "".join(f"<|audio_start|>{self.placeholder * n}<|audio_end|>" for n in counts)

    def tidy(self, text: str) -> str:
        """What is heard is answered as if aloud: the answer begins with the tokens of the voice."""
        heard, opened = "<|audio_start|>" in text, text.endswith("<|im_start|>assistant\n")
        return text + VOICE if heard and opened else text


def pooled(frames: int, pool: int) -> int:
    """The rows that frames of a spectrogram become."""
    return ((frames - 1) // 2 + 1) // pool


class Tower(idefics3.Tower):
    """SigLIP for pictures of any size."""

    def see(self, patches: Tensor, views: int, lines: int, columns: int) -> Tensor:
        """patches [N * P, K] of N views -> [N * P, V]."""
        x = self.patch_embedding(patches) + self.places(lines, columns).repeat(views, 1)
        for block in self.layers:
            x = block(x, views)
        return x if self.post_layernorm is None else self.post_layernorm(x)

    def places(self, lines: int, columns: int) -> Tensor:
        """Embeddings [P, V]; in the steps of the model's own code, since rounding decides at the borders of places."""
        table = self.position_embedding.weight
        side = int(len(table) ** 0.5)
        borders = torch.arange(1 / side, 1.0, 1 / side)
        steps = (1 / torch.tensor(n) for n in (lines, columns))
        y, x = (
            torch.bucketize(torch.arange(0, 1 - 1e-6, step.item()), borders, right=True)
            for step in steps
        )
        return table[(y[:, None] * side + x).flatten().to(table.device)]


class Resampler(nn.Module):
    """Rows of a view of any size -> a fixed number of rows, by attention once (arXiv 2308.12966)."""

    def __init__(self, queries: int, width: int, dim: int):
        super().__init__()
        self.query, self.heads = empty(queries, dim), max(1, dim // 128)
        self.kv_proj = Linear(width, dim) if width != dim else nn.Identity()
        self.ln_q, self.ln_kv, self.ln_post = (LayerNorm(dim, 1e-6) for _ in range(3))
        self.q_proj, self.k_proj, self.v_proj = (Linear(dim, dim, True) for _ in range(3))
        self.out_proj, self.proj = Linear(dim, dim, True), Linear(dim, dim)

    def forward(self, x: Tensor, views: int, lines: int, columns: int) -> Tensor:
        """x [N * P, V] of N views -> [N * Q, D]."""
        x = self.ln_kv(self.kv_proj(x))
        places = waves(lines, columns, x.shape[1]).to(x).repeat(views, 1)
        q = self.q_proj(self.ln_q(self.query.to(x.dtype))).repeat(views, 1)
        q, k, v = (
            one.unflatten(1, (self.heads, -1))
            for one in (q, self.k_proj(x + places), self.v_proj(x))
        )
        return self.proj(self.ln_post(self.out_proj(vision.attend(q, k, v, views))))


def waves(lines: int, columns: int, dim: int) -> Tensor:
    """Sines and cosines [P, D] of the column, then of the line, of each place."""
    speed = 1.0 / 10000 ** (torch.arange(dim // 4).float() / (dim / 4))
    y, x = torch.meshgrid(torch.arange(lines), torch.arange(columns), indexing="ij")
    angles = [at.flatten()[:, None] * speed for at in (x, y)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], 1)


class Ears:
    """Whisper's part of config.json, in the words of `voxtral.Whisper`."""

    def __init__(self, cfg: Settings):
        self.cfg = cfg

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cfg, WORDS.get(name, name))

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a key, or the default."""
        return self.cfg.get(WORDS.get(name, name), default)


class Projector(nn.Module):
    """linear2(relu(linear1(x))), then means of neighbours."""

    def __init__(self, width: int, dim: int, pool: int):
        super().__init__()
        self.linear1, self.linear2 = Linear(width, dim, True), Linear(dim, dim, True)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """x [T, V] -> [T / pool, D]."""
        x = self.linear2(self.linear1(x).relu())
        return x[: len(x) // self.pool * self.pool].unflatten(0, (-1, self.pool)).mean(1)


def until(count: int, chunk: int, device: torch.device) -> Tensor | None:
    """Which states [T, T] each sees: those up to the end of its own chunk; None: all."""
    if chunk <= 0:
        return None
    at = torch.arange(count, device=device)
    return at < (at[:, None] // chunk + 1) * chunk


class MiniCPMO(Encoder):
    text = "qwen2"
    defaults: ClassVar[Mapping[str, Any]] = dict(
        query_num=64,
        use_image_id=True,
        drop_vision_last_layer=True,
        audio_pool_step=2,
        audio_chunk_length=1.0,
        vision_config=dict(
            hidden_size=1152, intermediate_size=4304, num_hidden_layers=27, num_attention_heads=16, num_channels=3,
            image_size=980, patch_size=14, hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-6,
        ),
        audio_config=dict(
            d_model=1024, encoder_ffn_dim=4096, encoder_layers=24, encoder_attention_heads=16, num_mel_bins=80,
            max_source_positions=1500, activation_function="gelu",
        ),
    )  # fmt: skip
    text_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "minicpmo": dict(
            vocab_size=151700, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28,
            num_attention_heads=28, num_key_value_heads=4, hidden_act="silu", max_position_embeddings=32768,
            rms_norm_eps=1e-6, rope_theta=1e6, tie_word_embeddings=False,
        )
    }  # fmt: skip

    def __init__(self, cfg: Settings):
        super().__init__()
        if str(cfg.get("version", "2.6")) != "2.6":
            raise NotSupportedError(
                f"this is MiniCPM-o {cfg.version}; of these models only 2.6 is available"
            )
        seen, heard, dim = cfg.vision_config, cfg.audio_config, cfg.text.hidden_size
        layers = seen.num_hidden_layers - bool(cfg.drop_vision_last_layer)
        self.tower = Tower(seen, clip=False, layers=layers, post=True)
        self.resampler = Resampler(cfg.query_num, seen.hidden_size, dim)
        self.ears = voxtral.Whisper(Ears(heard))
        self.projector = Projector(heard.d_model, dim, cfg.audio_pool_step)
        self.chunk = int(cfg.audio_chunk_length * 50)

    def forward(self, media: Media) -> Tensor:
        if "mel" in media.inputs:
            return torch.cat([self.hear(piece) for piece in media.inputs["mel"].split(3000, 1)])
        (lines, columns), whole, each = media.grid[:2], media.grid[2:4], media.grid[4:]
        patches = media.inputs["patches"]
        first, rest = patches.split([math.prod(whole), len(patches) - math.prod(whole)])
        rows = [self.see(first, 1, *whole)]
        return torch.cat([*rows, self.see(rest, lines * columns, *each)]) if len(rest) else rows[0]

    def see(self, patches: Tensor, views: int, lines: int, columns: int) -> Tensor:
        """patches [N * P, K] of N views -> [N * Q, D]."""
        return self.resampler(self.tower.see(patches, views, lines, columns), views, lines, columns)

    def hear(self, mel: Tensor) -> Tensor:
        """mel [bands, T] of one piece -> [rows, D]."""
        mask = until((mel.shape[1] - 1) // 2 + 1, self.chunk, mel.device)
        return self.projector(self.ears(mel[None], mask))

    @classmethod
    def processor(cls, cfg: Settings, files: Mapping[str, Any]) -> Processor:
        return Processor(cfg, files)

    @classmethod
    def listener(cls, cfg: Settings, files: Mapping[str, Any]) -> Listener | None:
        return Listener(cfg, files)

    @classmethod
    def checkpoint(cls, cfg: Settings, tensors: dict[str, Lazy]) -> dict[str, Lazy]:
        kept = drop(tensors, r"^tts\.", "position_ids", r"^audio_avg_pooler\.")
        named = rename(kept, NAMES | vision.TRANSFORMER | WHISPER)
        named = split(named, {"in_proj": {f"{one}_proj": cfg.text.hidden_size for one in "qkv"}})
        turned = "encoder.resampler.proj.weight"
        named[turned] = named[turned].transpose().map(Tensor.contiguous)
        return vision.flatten_kernels(
            named, "patch_embedding.weight", "conv1.weight", "conv2.weight"
        )

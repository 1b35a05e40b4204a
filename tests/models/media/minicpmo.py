"""MiniCPM-o 2.6: its own code is not part of transformers, so the reference is put together from parts of it."""

import json
import math
from types import SimpleNamespace

import torch
import transformers as hf
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from transformers.models.idefics2.modeling_idefics2 import Idefics2VisionTransformer
from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import (
    MiniCPMV4_6ImageProcessorPil,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from tests.models.media.case import TEXT, Case

TOKENS = (
    "<unk>", "<image>", "</image>", "<slice>", "</slice>", "<image_id>", "</image_id>",
    "<|audio_start|>", "<|audio_end|>", "<|spk_bos|>", "<|spk|>", "<|spk_eos|>", "<|tts_bos|>",
)  # fmt: skip
SEEN = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    image_size=84,
    patch_size=14,
    hidden_act="gelu_pytorch_tanh",
)
HEARD = dict(
    d_model=32,
    encoder_ffn_dim=128,
    encoder_layers=2,
    encoder_attention_heads=4,
    num_mel_bins=80,
    max_source_positions=130,
    activation_function="gelu",
)
EDGE, QUERIES, POOL = 56, 4, 2
FILES = dict(
    scale_resolution=EDGE,
    image_feature_size=QUERIES,
    max_slice_nums=9,
    use_image_id=True,
    norm_mean=[0.5] * 3,
    norm_std=[0.5] * 3,
    sampling_rate=16000,
    feature_size=80,
)


class Resampler(nn.Module):
    """Learned rows, torch's attention, sines of places as Vaswani and others have them."""

    def __init__(self, width, dim):
        super().__init__()
        self.query, self.proj = (nn.Parameter(torch.zeros(n, dim)) for n in (QUERIES, dim))
        self.kv_proj = nn.Linear(width, dim, bias=False)
        self.attn = nn.MultiheadAttention(dim, max(1, dim // 128), batch_first=True)
        self.ln_q, self.ln_kv, self.ln_post = (nn.LayerNorm(dim, eps=1e-6) for _ in range(3))

    def forward(self, x, lines, columns):
        dim = len(self.proj)
        place = torch.zeros(lines, columns, dim)
        for line in range(lines):
            for column in range(columns):
                for part, at in enumerate((column, line)):
                    for i in range(dim // 4):
                        angle = at / 10000 ** (i / (dim / 4))
                        place[line, column, part * dim // 2 + i] = math.sin(angle)
                        place[line, column, part * dim // 2 + dim // 4 + i] = math.cos(angle)
        x = self.ln_kv(self.kv_proj(x))
        q = self.ln_q(self.query).expand(len(x), -1, -1)
        return self.ln_post(self.attn(q, x + place.flatten(0, 1), x)[0]) @ self.proj


class Reference(nn.Module):
    """Siglip's tower, Whisper's encoder and Qwen 2 of transformers, named as the checkpoint names them."""

    def __init__(self, config):
        super().__init__()
        self.raw = config.raw
        dim = TEXT["hidden_size"]
        self.llm = hf.Qwen2ForCausalLM(hf.Qwen2Config(**TEXT, attn_implementation="eager"))
        seen = hf.models.idefics2.configuration_idefics2.Idefics2VisionConfig(**SEEN)
        seen._attn_implementation = "eager"
        self.vpm = Idefics2VisionTransformer(seen)
        if self.raw["drop_vision_last_layer"]:
            self.vpm.encoder.layers = self.vpm.encoder.layers[:-1]
        self.resampler = Resampler(SEEN["hidden_size"], dim)
        heard = hf.WhisperConfig(**HEARD)
        heard._attn_implementation = "eager"
        self.apm = WhisperEncoder(heard)
        self.audio_projection_layer = nn.Module()
        self.audio_projection_layer.linear1 = nn.Linear(HEARD["d_model"], dim)
        self.audio_projection_layer.linear2 = nn.Linear(dim, dim)
        self.tts = nn.Linear(3, 3)  # the voice, which is not read

    def tie_weights(self):
        pass

    def save_pretrained(self, folder):
        kept = {name: one.contiguous() for name, one in self.state_dict().items()}
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(self.raw))

    def see(self, pixels, sizes):
        """Patches [P, C * 14 * 14] of views of so many lines and columns -> rows."""
        rows = []
        for view, (h, w) in zip(pixels.split([h * w for h, w in sizes]), sizes):
            x = view.view(h, w, 3, 14, 14).permute(2, 0, 3, 1, 4).reshape(1, 3, h * 14, w * 14)
            mask = torch.ones(1, h, w, dtype=torch.bool)
            states = self.vpm(x, patch_attention_mask=mask).last_hidden_state
            rows.append(self.resampler(states, h, w)[0])
        return torch.cat(rows)

    def hear(self, mel):
        """Spectrograms [bands, T] -> rows; states see to the end of their own second."""
        x = F.gelu(self.apm.conv1(mel[None]))
        x = F.gelu(self.apm.conv2(x)).transpose(1, 2)
        count = x.shape[1]
        x = x + self.apm.embed_positions.weight[:count]
        chunk = round(self.raw["audio_chunk_length"] * 50)
        mask = torch.zeros(1, 1, count, count)
        for i in range(count if chunk > 0 else 0):
            mask[..., i, (i // chunk + 1) * chunk :] = -torch.inf
        for layer in self.apm.layers:
            x = layer(x, mask)
            x = x[0] if isinstance(x, tuple) else x
        layer = self.audio_projection_layer
        x = layer.linear2(layer.linear1(self.apm.layer_norm(x)).relu())
        return F.avg_pool1d(x.transpose(1, 2), POOL, POOL)[0].T

    def forward(self, input_ids, patches=None, sizes=None, mels=None, lengths=None, **_):
        x = self.llm.get_input_embeddings()(input_ids)
        rows = []
        if patches is not None:
            rows.append(self.see(patches, sizes.tolist()))
        if mels is not None:
            rows += [self.hear(one) for one in mels.split(lengths.tolist(), 1)]
        if rows:
            x[input_ids == ID] = torch.cat(rows)
        return self.llm(inputs_embeds=x)


ID = 261  # of <unk>


class Slices(MiniCPMV4_6ImageProcessorPil):
    """A later model of the family cuts as this one does, but in steps of four patches."""

    def find_best_resize(self, image_size, scale_resolution, patch_size, *args, **kwargs):
        found = super().find_best_resize(
            image_size, scale_resolution, patch_size / 4, *args, **kwargs
        )
        return tuple(map(int, found))


class Processor:
    """What the model's own code makes of pictures: texts by hand, pixels by the processor above."""

    def __init__(self, tokenizer, **options):
        self.tokenizer = tokenizer
        self.slices = Slices(scale_resolution=EDGE, **options)

    def __call__(self, text, images, return_tensors):
        made = self.slices(images, return_tensors="pt")
        for index, (lines, columns) in enumerate(made["grids"]):
            row = [f"<slice>{'<unk>' * QUERIES}</slice>" * columns] * lines
            whole = f"<image>{'<unk>' * QUERIES}</image>" + "\n".join(row)
            text = text.replace("(<image>./</image>)", f"<image_id>{index}</image_id>{whole}", 1)
        x = made["pixel_values"][0]  # [3, 14, patches * 14]
        patches = x.view(3, 14, -1, 14).permute(2, 0, 1, 3).flatten(1)
        words = self.tokenizer(text, return_tensors="pt")
        return {**words, "patches": patches, "sizes": made["target_sizes"]}


class Hearing:
    """The same for sounds, by Whisper's feature extractor."""

    def __init__(self, tokenizer):
        self.tokenizer, self.features = tokenizer, hf.WhisperFeatureExtractor(feature_size=80)

    def __call__(self, text, audio, return_tensors):
        options = dict(padding="max_length", return_attention_mask=True, return_tensors="pt")
        mels = []
        for one in audio:
            made = self.features(one, sampling_rate=16000, **options)
            mels.append(made["input_features"][0][:, : int(made["attention_mask"].sum())])
            left, said = ((mels[-1].shape[1] - 1) // 2 + 1) // POOL, ""
            while left > 0:
                said += f"<|audio_start|>{'<unk>' * min(left, 25)}<|audio_end|>"
                left -= 25
            text = text.replace("(<audio>./</audio>)", said, 1)
        text += "<|spk_bos|><|spk|><|spk_eos|><|tts_bos|>"
        lengths = torch.tensor([one.shape[1] for one in mels])
        words = self.tokenizer(text, return_tensors="pt")
        return {**words, "mels": torch.cat(mels, 1), "lengths": lengths}


def config(**settings):
    text = {key: value for key, value in TEXT.items() if not key.endswith("_token_id")}
    raw = dict(
        text,
        model_type="minicpmo",
        architectures=["MiniCPMO"],
        version="2.6",
        vision_config=SEEN | {"model_type": "siglip"},
        audio_config=HEARD,
        query_num=QUERIES,
        audio_pool_step=POOL,
        audio_chunk_length=settings.pop("chunk", 1.0),
        drop_vision_last_layer=settings.pop("dropped", False),
        rope_theta=10000.0,
        use_sliding_window=False,
    )
    return lambda: SimpleNamespace(raw=raw)


def case(**settings):
    kind = settings.pop("kind", "image")
    return Case(
        Reference,
        config(**{key: settings.pop(key) for key in ("chunk", "dropped") if key in settings}),
        TOKENS,
        f"(<{kind}>./</{kind}>)",
        Hearing if kind == "audio" else Processor,
        ("mel", "mels") if kind == "audio" else ("patches", "patches"),
        files=FILES,
        kind=kind,
        **settings,
    )


def by_length(inputs):
    """Their spectrograms by sound."""
    return inputs["mels"].split(inputs["lengths"].tolist(), 1)


CASES = {
    "": case(),
    "without the last layer": case(dropped=True),
    "sound": case(kind="audio", split=by_length),
    "sound without chunks": case(kind="audio", split=by_length, chunk=-1.0),
}

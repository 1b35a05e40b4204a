"""Gemma 3n: a convolutional tower and a conformer, tables of their own for the tokens beside them."""

import torch
import transformers as hf
from torch.nn import functional as F

from tests.models import timm_tower
from tests.models.media.case import FIRST, TEXT, Case, boost

IMAGE = ("<image_soft_token>", "<start_of_image>", "<end_of_image>")
AUDIO = ("<audio_soft_token>", "<start_of_audio>", "<end_of_audio>")
VISION, SOUND = (
    FIRST + 2,
    FIRST + 4,
)  # where the tables begin: <image_soft_token> and <audio_soft_token>
TOKENS = ("<start_of_image>", "<start_of_audio>", *IMAGE[::2], *AUDIO[::2])
NAMES = dict(
    boi_token=IMAGE[1], eoi_token=IMAGE[2], image_token=IMAGE[0],
    boa_token=AUDIO[1], eoa_token=AUDIO[2], audio_token=AUDIO[0],
)  # fmt: skip
TEXT = boost(
    TEXT,
    vocab_size=276,
    vocab_size_per_layer_input=VISION,
    num_hidden_layers=5,
    intermediate_size=[96, 64, 96, 64, 96],
    head_dim=16,
    sliding_window=24,
    layer_types=["sliding_attention", "full_attention", "sliding_attention"]
    + ["full_attention", "sliding_attention"],
    num_kv_shared_layers=2,
    laurel_rank=8,
    hidden_size_per_layer_input=16,
    activation_sparsity_pattern=[0.9, 0.0, 0.5, 0.0, 0.0],
    tie_word_embeddings=True,
)
EARS = dict(
    hidden_size=32, vocab_size=276 - SOUND, vocab_offset=SOUND, input_feat_size=128, conf_num_hidden_layers=2,
    conf_num_attention_heads=4, conf_attention_chunk_size=6, conf_attention_context_left=7,
    conf_attention_logit_cap=5.0, sscp_conv_channel_size=[16, 8],
)  # fmt: skip


def config():
    timm_tower.install()
    return hf.Gemma3nConfig(
        text_config=TEXT,
        vision_config=dict(
            vocab_size=SOUND - VISION,
            vocab_offset=VISION,
            hidden_size=2048,
            model_args=dict(channel_multiplier=0.0625, msfa_output_resolution=4),
        ),
        audio_config=EARS,
        vision_soft_tokens_per_image=16,
        audio_soft_tokens_per_image=20,
        boi_token_id=FIRST,
        boa_token_id=FIRST + 1,
        image_token_id=VISION,
        eoi_token_id=VISION + 1,
        audio_token_id=SOUND,
        eoa_token_id=SOUND + 1,
    )


def processor(tokenizer):
    images = hf.SiglipImageProcessorPil(
        size={"height": 128, "width": 128}, do_normalize=False, resample=2
    )
    features = hf.Gemma3nAudioFeatureExtractor()
    return hf.Gemma3nProcessor(
        features, images, tokenizer, image_seq_length=16, audio_seq_length=20
    )


class Alone:
    """Their processor with each sound alone: in a batch, the frames at the end of one depend on the longest."""

    def __init__(self, tokenizer):
        self.inner = processor(tokenizer)
        self.save_pretrained = self.inner.save_pretrained

    def __call__(self, text, audio, return_tensors):
        whole = self.inner(text=text, audio=audio, return_tensors=return_tensors)
        one = [self.inner.feature_extractor([a], return_tensors="pt") for a in audio]
        longest = max(o["input_features"].shape[1] for o in one)
        for name, fill in (("input_features", torch.nan), ("input_features_mask", False)):
            rows = [o[name][0].unflatten(0, (-1, 1)).flatten(1) for o in one]
            rows = [F.pad(r, (0, 0, 0, longest - len(r)), value=fill) for r in rows]
            whole[name] = torch.stack(rows).reshape(len(rows), longest, *one[0][name].shape[2:])
        return whole


def alone(model):
    """Their model, which hears such sounds one by one."""
    inner = model.model.get_audio_features

    def features(mel, silent, **options):
        heard = [~one.isnan().any(-1) for one in mel]
        found = [
            inner(m[h][None], s[h][None], **options)
            for m, s, h in zip(mel, silent, heard, strict=True)
        ]
        rows = max(f.audio_mel_mask.shape[1] for f in found)
        for f in found:
            missing = rows - f.audio_mel_mask.shape[1]
            f.audio_mel_mask = F.pad(f.audio_mel_mask, (0, missing), value=True)
            f.pooler_output = F.pad(f.pooler_output, (0, 0, 0, missing))
        found[0].audio_mel_mask = torch.cat([f.audio_mel_mask for f in found])
        found[0].pooler_output = torch.cat([f.pooler_output for f in found])
        return found[0]

    model.model.get_audio_features = features
    return model


def case(tokens, pixels, make, **options):
    return Case(
        "Gemma3nForConditionalGeneration",
        config,
        TOKENS,
        tokens[0],
        make,
        pixels,
        norm=0.5,
        names=NAMES,
        **options,
    )


def mel(inputs):
    return [one[~one.isnan().any(-1)] for one in inputs["input_features"]]


CASES = {
    "": case(IMAGE, ("pixels", "pixel_values"), processor),
    "sound": case(AUDIO, ("mel", "input_features"), Alone, kind="audio", split=mel, adjust=alone),
}

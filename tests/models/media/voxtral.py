"""Voxtral: Whisper's encoder below a Llama."""

import torch
import transformers as hf

from tests.models.media.case import FIRST, TEXT, Case

PIECE = 80 * 160  # samples; as long as the encoder below hears at once
FILES = dict(feature_size=128, sampling_rate=16000, hop_length=160, n_fft=400)


def config(**settings):
    def make():
        return hf.VoxtralConfig(
            audio_config=dict(
                hidden_size=32,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_source_positions=40,
            ),
            text_config=dict(TEXT, model_type="llama", head_dim=16),
            audio_token_id=FIRST,
            tie_word_embeddings=False,
            **settings,
        )

    return make


class Processor:
    """Theirs wants the tokenizer of mistral-common; this is what it does, by its own feature extractor."""

    def __init__(self, tokenizer):
        self.tokenizer, self.features = tokenizer, hf.WhisperFeatureExtractor(**FILES)

    def __call__(self, text, audio, return_tensors):
        pieces = []
        for one in audio:
            options = dict(padding=True, truncation=False, pad_to_multiple_of=PIECE)
            mel = self.features(one, sampling_rate=16000, return_tensors="pt", **options)
            pieces.append(mel["input_features"].reshape(128, -1, 80).transpose(0, 1))
            text = text.replace("[AUDIO]", "[BEGIN_AUDIO]" + "[PLACE]" * 10 * len(pieces[-1]), 1)
        words = self.tokenizer(text.replace("[PLACE]", "[AUDIO]"), return_tensors="pt")
        return {**words, "input_features": torch.cat(pieces)}


def case(**settings):
    return Case(
        "VoxtralForConditionalGeneration",
        config(**settings),
        ("[AUDIO]", "[BEGIN_AUDIO]"),
        "[AUDIO]",
        Processor,
        ("mel", "input_features"),
        files=FILES,
        kind="audio",
    )


CASES = {"": case(), "another activation": case(projector_hidden_act="silu")}

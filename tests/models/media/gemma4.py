"""Gemma 4: rows of an image see each other in local layers, experts, bounded and standardized towers."""

import transformers as hf

from tests.models.media.case import FIRST, TEXT, Case, boost

TOWER = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=4,
    head_dim=8,
    patch_size=8,
    position_embedding_size=80,
    pooling_kernel_size=2,
)
TEXT = boost(
    TEXT,
    head_dim=16,
    global_head_dim=32,
    layer_types=["sliding_attention", "full_attention"] * 2,
    hidden_size_per_layer_input=0,
    sliding_window=120,
    use_bidirectional_attention="vision",
    final_logit_softcapping=30.0,
    tie_word_embeddings=True,
)
EXPERTS = dict(enable_moe_block=True, num_experts=4, top_k_experts=2, moe_intermediate_size=40)
TOKENS = ("<|image|>", "<|image>", "<image|>")
FILES = dict(max_soft_tokens=70, patch_size=8, pooling_kernel_size=2)


EARS = dict(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=4, subsampling_conv_channels=[128, 8],
    attention_chunk_size=6, attention_context_left=7, attention_logit_cap=5.0, output_proj_dims=40,
)  # fmt: skip
SOUNDS = ("<|audio|>", "<|audio>", "<audio|>")
SMALL = dict(  # E2B and E4B
    num_hidden_layers=5,
    layer_types=["sliding_attention", "full_attention"] * 2 + ["full_attention"],
    hidden_size_per_layer_input=16,
    vocab_size_per_layer_input=320,
    num_kv_shared_layers=2,
    use_double_wide_mlp=True,
    use_bidirectional_attention=None,
)


def config(tower=None, ears=None, **settings):
    def make():
        return hf.Gemma4Config(
            text_config=boost(TEXT, **settings),
            vision_config=boost(TOWER, **(tower or {})),
            audio_config=ears,
            image_token_id=FIRST,
            boi_token_id=FIRST + 1,
            eoi_token_id=FIRST + 2,
            audio_token_id=FIRST + 3,
            boa_token_id=FIRST + 4,
            eoa_token_index=FIRST + 5,
        )

    return make


class Processor:
    """Theirs also wants films and sounds; this is what it does with images, by its own image processor."""

    def __init__(self, tokenizer):
        self.tokenizer, self.images = tokenizer, hf.Gemma4ImageProcessorPil(**FILES)

    def __call__(self, text, images, return_tensors):
        inputs = dict(self.images(images, return_tensors="pt"))
        for rows in list(inputs.pop("num_soft_tokens_per_image")):
            text = text.replace("<|image|>", "<|image>" + "[PLACE]" * int(rows) + "<image|>", 1)
        inputs |= self.tokenizer(text.replace("[PLACE]", "<|image|>"), return_tensors="pt")
        return {**inputs, "mm_token_type_ids": (inputs["input_ids"] == FIRST).int()}


class Hearing:
    """The same for sounds."""

    def __init__(self, tokenizer):
        self.tokenizer, self.features = tokenizer, hf.Gemma4AudioFeatureExtractor()

    def __call__(self, text, audio, return_tensors):
        inputs = dict(self.features(audio, sampling_rate=16000, return_tensors="pt"))
        for mask in inputs["input_features_mask"]:
            rows = int(mask[::2][::2].sum())
            text = text.replace("<|audio|>", "<|audio>" + "[PLACE]" * rows + "<audio|>", 1)
        return {
            **inputs,
            **self.tokenizer(text.replace("[PLACE]", "<|audio|>"), return_tensors="pt"),
        }


def frames(inputs):
    """Their frames without the silence that fills up the batch."""
    pairs = zip(inputs["input_features"], inputs["input_features_mask"], strict=True)
    return [one[heard] for one, heard in pairs]


def pixels(inputs):
    """Their patches without the padding; ours are scaled to -1..1 before the model."""
    return [
        x[(at >= 0).all(-1)] * 2 - 1
        for x, at in zip(inputs["pixel_values"], inputs["image_position_ids"])
    ]


def case(make, **options):
    said = dict(tokens=TOKENS, marker="<|image|>", processor=Processor, split=pixels)
    said |= dict(pixels=("patches", "pixel_values"), files=FILES)
    return Case(
        "Gemma4ForConditionalGeneration",
        make,
        **said | options,
        norm=0.5,  # scores are not scaled: with norms about 1 transformers itself is 3e-4 away from its float64
        buffers=dict(
            layer_scalar=0.8,
            std_bias=0.1,
            std_scale=0.7,
            input_min=-1.5,
            input_max=1.5,
            output_min=-1,
            output_max=1,
        ),
    )


CASES = {
    "": case(config()),
    "keys as values, experts": case(
        config(attention_k_eq_v=True, num_global_key_value_heads=1, **EXPERTS)
    ),
    "bounds, standardized, one way": case(
        config(dict(use_clipped_linears=True, standardize=True), use_bidirectional_attention=None)
    ),
    "words for each layer": case(config(ears=EARS, **SMALL), tokens=(*TOKENS, *SOUNDS)),
    "sound": case(
        config(ears=EARS, **SMALL),
        tokens=(*TOKENS, *SOUNDS),
        marker="<|audio|>",
        processor=Hearing,
        pixels=("mel", "input_features"),
        split=frames,
        files=dict(sampling_rate=16000),
        kind="audio",
    ),
}

"""Gemma 3: rows of an image see each other; windows, and pictures in pieces."""

import transformers as hf

from tests.models.media.case import FIRST, TEXT, TOWER, Case

ROPES = dict(
    sliding_attention=dict(rope_type="default", rope_theta=1e4),
    full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
)
TEXT = TEXT | dict(
    head_dim=16,
    sliding_window=24,
    query_pre_attn_scalar=24,
    layer_types=["sliding_attention", "full_attention"] * 2,
    rope_parameters=ROPES,
    tie_word_embeddings=True,
)
NAMES = dict(
    boi_token="<start_of_image>", eoi_token="<end_of_image>", image_token="<image_soft_token>"
)
IDS = dict(boi_token_index=FIRST, eoi_token_index=FIRST + 1, image_token_index=FIRST + 2)
SCAN = dict(
    do_pan_and_scan=True,
    pan_and_scan_min_crop_size=20,
    pan_and_scan_max_num_crops=3,
    pan_and_scan_min_ratio_to_activate=1.2,
)


def config():
    return hf.Gemma3Config(text_config=TEXT, vision_config=TOWER, mm_tokens_per_image=4, **IDS)


def case(**scan):
    def processor(tokenizer):
        images = hf.Gemma3ImageProcessorPil(size={"height": 56, "width": 56}, **scan)
        return hf.Gemma3Processor(images, tokenizer, image_seq_length=4)

    return Case(
        "Gemma3ForConditionalGeneration",
        config,
        tuple(NAMES.values()),
        "<start_of_image>",
        processor,
        ("pixels", "pixel_values"),
        norm=0.0,
        names=NAMES,
        options=scan,
    )


CASES = {"": case(), "pan and scan": case(**SCAN)}

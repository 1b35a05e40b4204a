"""Qwen 2 VL."""

import transformers as hf

from tests.models.media.case import FIRST, TEXT, Case

VISION = dict(depth=2, embed_dim=32, hidden_size=64, num_heads=4, mlp_ratio=2, patch_size=14)
TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
IDS = dict(
    vision_start_token_id=FIRST,
    vision_end_token_id=FIRST + 1,
    image_token_id=FIRST + 2,
    video_token_id=FIRST + 3,
)
ROPE = dict(rope_type="default", rope_theta=1e4, mrope_section=[2, 3, 3])
SIZE = dict(min_pixels=56 * 56, max_pixels=28 * 28 * 12)


def config():
    text = TEXT | dict(rope_parameters=ROPE)
    return hf.Qwen2VLConfig(
        vision_config=VISION, text_config=text, tie_word_embeddings=False, **IDS
    )


class Processor:
    """Qwen's needs torchvision for its films; this is what it does with images, by its own image processor."""

    def __init__(self, tokenizer, image_processor):
        self.tokenizer, self.image_processor = tokenizer, image_processor

    def __call__(self, text, images, return_tensors):
        inputs = dict(self.image_processor(images, return_tensors="pt"))
        for grid in inputs["image_grid_thw"].tolist():
            text = text.replace("<|image_pad|>", "<|place|>" * (grid[1] * grid[2] // 4), 1)
        inputs |= self.tokenizer(text.replace("<|place|>", "<|image_pad|>"), return_tensors="pt")
        kinds = (inputs["input_ids"] == IDS["image_token_id"]).int()
        return {**inputs, "mm_token_type_ids": kinds}


def processor(tokenizer):
    return Processor(tokenizer, hf.Qwen2VLImageProcessorPil(**SIZE))


CASES = {
    "": Case(
        "Qwen2VLForConditionalGeneration",
        config,
        TOKENS,
        "<|vision_start|><|image_pad|><|vision_end|>",
        processor,
        ("patches", "pixel_values"),
        files=SIZE,
    )
}

"""LLaVA 1.6: tiles in several grids, with a Mistral and with a Llama."""

import transformers as hf

from tests.models.media.case import FIRST, TEXT, TOWER, Case

GRIDS = [[56, 112], [112, 56], [112, 112], [168, 56], [56, 168]]
CLIP = dict(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})


def config(text):
    def make():
        return hf.LlavaNextConfig(
            vision_config=hf.CLIPVisionConfig(**TOWER),
            text_config=text(),
            image_token_index=FIRST,
            image_grid_pinpoints=GRIDS,
            tie_word_embeddings=False,
        )

    return make


def processor(tokenizer):
    return hf.LlavaNextProcessor(
        hf.LlavaNextImageProcessorPil(image_grid_pinpoints=GRIDS, **CLIP),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
    )


def case(text):
    return Case(
        "LlavaNextForConditionalGeneration",
        config(text),
        ("<image>",),
        "<image>",
        processor,
        ("pixels", "pixel_values"),
    )


CASES = {
    "": case(lambda: hf.MistralConfig(**TEXT, sliding_window=None)),
    "llama": case(lambda: hf.LlamaConfig(**TEXT)),
}

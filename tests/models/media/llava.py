"""LLaVA with a CLIP or a SigLIP tower."""

import transformers as hf

from tests.models.media.case import FIRST, TEXT, TOWER, Case

CLIP = dict(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})


def config(tower=None, **settings):
    def make():
        return hf.LlavaConfig(
            vision_config=tower() if tower else hf.CLIPVisionConfig(**TOWER),
            text_config=hf.LlamaConfig(**TEXT),
            image_token_index=FIRST,
            **{"tie_word_embeddings": False, **settings},
        )

    return make


def processor(strategy="default", extra=1):
    def make(tokenizer):
        return hf.LlavaProcessor(
            hf.CLIPImageProcessorPil(**CLIP),
            tokenizer,
            patch_size=14,
            vision_feature_select_strategy=strategy,
            image_token="<image>",
            num_additional_image_tokens=extra,
        )

    return make


CLIPS = processor()


def case(make, processor=CLIPS):
    return Case(
        "LlavaForConditionalGeneration",
        make,
        ("<image>",),
        "<image>",
        processor,
        ("pixels", "pixel_values"),
    )


CASES = {
    "": case(config()),
    "several layers": case(config(vision_feature_layer=[-3, -1, 1])),
    "siglip, full": case(
        config(
            lambda: hf.SiglipVisionConfig(**TOWER),
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
        ),
        processor("full", 0),
    ),
}

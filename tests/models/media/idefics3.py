"""Idefics 3: tiles with row and column tokens."""

import transformers as hf

from tests.models.media.case import FIRST, TEXT, TOWER, Case

TOKENS = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
PLACES = tuple(f"<row_{y}_col_{x}>" for y in range(1, 5) for x in range(1, 5))


def config(kind="Idefics3"):
    def make():
        return getattr(hf, f"{kind}Config")(
            vision_config=TOWER,
            text_config=hf.LlamaConfig(**TEXT),
            image_token_id=FIRST,
            scale_factor=2,
            tie_word_embeddings=False,
        )

    return make


def processor(edge, **options):
    def make(tokenizer):
        images = hf.Idefics3ImageProcessorPil(
            size={"longest_edge": edge}, max_image_size={"longest_edge": 56}, **options
        )
        return hf.Idefics3Processor(images, tokenizer, image_seq_len=4)

    return make


def case(edge=168, kind="Idefics3", **options):
    return Case(
        f"{kind}ForConditionalGeneration",
        config(kind),
        (*TOKENS, *PLACES),
        "<image>",
        processor(edge, **options),
        ("pixels", "pixel_values"),
    )


CASES = {"": case(), "whole pictures": case(do_image_splitting=False), "one tile": case(56)}

"""Idefics 2: a perceiver, pictures of any size, quarters."""

import transformers as hf

from tests.models.media.case import FIRST, TEXT, TOWER, Case

TOKENS = ("<image>", "<fake_token_around_image>", "<end_of_utterance>")


def config():
    return hf.Idefics2Config(
        vision_config=TOWER | dict(image_size=70),
        perceiver_config=dict(
            hidden_size=64,
            resampler_n_latents=5,
            resampler_depth=2,
            resampler_n_heads=4,
            num_key_value_heads=2,
            resampler_head_dim=12,
        ),
        text_config=hf.MistralConfig(**TEXT, sliding_window=None),
        image_token_id=FIRST,
        tie_word_embeddings=False,
    )


def processor(**options):
    def make(tokenizer):
        images = hf.Idefics2ImageProcessorPil(
            size=dict(longest_edge=98, shortest_edge=30), **options
        )
        return hf.Idefics2Processor(images, tokenizer, image_seq_len=5)

    return make


def whole(inputs):
    """Patches that a picture fills only in part count in transformers where a larger picture is near, else not.

    We leave them out always, so that a picture is the same in any company.
    """
    for mask in inputs["pixel_attention_mask"][0]:
        height, width = size(mask)
        mask[height // 14 * 14 :] = 0
        mask[:, width // 14 * 14 :] = 0
    return inputs


def size(mask):
    return int(mask.any(1).sum()), int(mask.any(0).sum())


def split(views):
    """The first view of each picture without padding."""

    def pick(inputs):
        found = []
        for pixels, mask in zip(inputs["pixel_values"][0], inputs["pixel_attention_mask"][0]):
            height, width = size(mask)
            found.append(pixels[None, :, :height, :width])
        return found[::views]

    return pick


def case(views, **options):
    return Case(
        "Idefics2ForConditionalGeneration",
        config,
        TOKENS,
        "<image>",
        processor(**options),
        ("view0", "pixel_values"),
        extra=whole,
        split=split(views),
        double=True,
    )


CASES = {"": case(1), "quarters": case(5, do_image_splitting=True)}

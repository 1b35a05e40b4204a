"""Mistral Small 3.1: Pixtral's tower."""

import transformers as hf

from tests.models.media.case import FIRST, TEXT, TOWER, Case

FILES = dict(size={"longest_edge": 112})
TOKENS = ("[IMG]", "[IMG_BREAK]", "[IMG_END]")


def config(**settings):
    def make():
        return hf.Mistral3Config(
            vision_config=hf.PixtralVisionConfig(**TOWER),
            text_config=hf.MistralConfig(**TEXT, sliding_window=None),
            image_token_index=FIRST,
            tie_word_embeddings=False,
            **settings,
        )

    return make


class Processor:
    """Theirs needs torchvision; this is what it does, by its own image processor."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.images = hf.PixtralImageProcessorPil(**FILES, patch_size={"height": 28, "width": 28})

    def __call__(self, text, images, return_tensors):
        inputs = dict(self.images(images, return_tensors="pt"))
        for height, width in inputs["image_sizes"].tolist():
            tokens = (["[PLACE]"] * (width // 28) + ["[IMG_BREAK]"]) * (height // 28)
            text = text.replace("[IMG]", "".join([*tokens[:-1], "[IMG_END]"]), 1)
        inputs |= self.tokenizer(text.replace("[PLACE]", "[IMG]"), return_tensors="pt")
        return {name: inputs[name] for name in ("input_ids", "pixel_values", "image_sizes")}


def pixels(inputs):
    """Their pictures without the padding to one size."""
    sizes = inputs["image_sizes"].tolist()
    return [x[None, :, :h, :w] for x, (h, w) in zip(inputs["pixel_values"], sizes)]


def case(**settings):
    return Case(
        "Mistral3ForConditionalGeneration",
        config(**settings),
        TOKENS,
        "[IMG]",
        Processor,
        ("pixels", "pixel_values"),
        split=pixels,
        files=FILES,
    )


CASES = {
    "": case(),
    "biases, another activation": case(multimodal_projector_bias=True, projector_hidden_act="silu"),
}

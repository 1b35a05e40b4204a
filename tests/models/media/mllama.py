"""Llama 3.2 Vision: cross-attention, tiles on canvases, gates."""

import transformers as hf

from tests.models.media.case import FIRST, TEXT, Case, boost

TOWER = dict(
    hidden_size=32,
    attention_heads=4,
    num_hidden_layers=3,
    num_global_layers=2,
    intermediate_size=48,
    vision_output_dim=96,
    image_size=28,
    patch_size=14,
    intermediate_layers_indices=[0, 1],
)
ROPE = dict(
    rope_type="llama3",
    rope_theta=5e5,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=128,
)
IMAGE = "<|image|>"


def config(tower=None, **text):
    def make():
        text_config = boost(
            TEXT,
            vocab_size=FIRST,  # as in real checkpoints no image can be generated
            num_hidden_layers=5,
            rope_parameters=ROPE,
            **{"cross_attention_layers": [1, 3], **text},
        )
        return hf.MllamaConfig(
            vision_config=boost(TOWER, **(tower or {})),
            text_config=text_config,
            image_token_index=FIRST,
        )

    return make


def processor(tokenizer):
    images = hf.MllamaImageProcessorPil(size={"height": 28, "width": 28})
    return hf.MllamaProcessor(images, tokenizer)


def open_gates(model):
    """Gates begin at zero, where images do not matter."""
    for name, parameter in model.named_parameters():
        if "gate" in name and "gate_proj" not in name:
            parameter.data += 0.6
    return model


def as_trained(model):
    """What Meta's and vLLM's code do but transformers leaves out: tokens before the first image see nothing.

    In transformers they attend to all images of the prompt, also to those that come later.
    """
    for layer in model.model.language_model.layers:
        if hasattr(layer, "cross_attn"):
            layer.register_forward_pre_hook(remember, with_kwargs=True)
            layer.cross_attn.register_forward_hook(hide)
    return open_gates(model)


def remember(layer, args, kwargs):
    layer.cross_attn.sees = kwargs["full_text_row_masked_out_mask"]


def hide(attention, args, output):
    return output[0] * attention.sees[:, 0], output[1]


def case(make):
    return Case(
        "MllamaForConditionalGeneration",
        make,
        (IMAGE,),
        IMAGE,
        processor,
        ("pixels", "pixel_values"),
        names=dict(image_token=IMAGE),
        adjust=as_trained,
    )


CASES = {
    "": case(config()),
    "other layers, one patch to a tile": case(
        config(
            dict(image_size=28, patch_size=28, intermediate_layers_indices=[2, 0]),
            cross_attention_layers=[0, 4],
        )
    ),
}

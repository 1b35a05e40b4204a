"""SmolVLM 2, whose processor is that of Idefics 3 as far as images go; films frame by frame."""

import numpy as np
import torch
from PIL import Image
from transformers.models.smolvlm import processing_smolvlm
from transformers.video_utils import VideoMetadata

from tests.models.media.case import Case
from tests.models.media.idefics3 import TOKENS, case, config
from tests.models.media.qwen2_vl import theirs

FILES = dict(
    size={"longest_edge": 112},
    max_image_size={"longest_edge": 56},
    image_seq_len=4,
    video_sampling=dict(fps=2, max_frames=5, video_size={"longest_edge": 84}),
)
COUNTS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}  # as num2words has them


class Films:
    """Sampling, sizes and text of transformers; resizing of Pillow."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.videos, self.module = theirs("smolvlm", num_frames=5)
        self.text = object.__new__(processing_smolvlm.SmolVLMProcessor)
        self.text.__dict__.update(
            fake_image_token="<fake_token_around_image>",
            image_token="<image>",
            global_image_token="<global-img>",
            image_seq_len=4,
        )
        processing_smolvlm.num2words = COUNTS.get

    def __call__(self, text, videos, return_tensors):
        pixels = []
        for frames, rate in videos:
            meta = VideoMetadata(len(frames), float(rate), duration=len(frames) / rate)
            meta.frames_indices = self.videos.sample_frames(metadata=meta).tolist()
            pixels.append(torch.stack([self.shown(frames[i]) for i in meta.frames_indices]))
            made = dict(pixel_values=pixels[-1][None], video_metadata=[meta])
            text = text.replace("<video>", self.text.replace_video_token(made, 0), 1)
        words = self.tokenizer(text, return_tensors="pt")
        return {**words, "pixel_values": torch.cat(pixels)[None]}

    def shown(self, frame):
        like = torch.empty(3, frame.height, frame.width)
        height, width = self.module.get_resize_output_image_size(like, 84)
        small = frame.resize((width, height), Image.Resampling.LANCZOS)
        square = np.asarray(small.resize((56, 56), Image.Resampling.LANCZOS), np.float32)
        return torch.from_numpy(square).permute(2, 0, 1) / 255 * 2 - 1


CASES = {
    "": case(112, "SmolVLM"),
    "video": Case(
        "SmolVLMForConditionalGeneration",
        config("SmolVLM"),
        TOKENS,
        "<video>",
        Films,
        ("pixels", "pixel_values"),
        files=FILES,
        kind="video",
    ),
}

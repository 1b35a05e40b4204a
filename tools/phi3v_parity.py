"""Phi 3 vision against mlx-vlm, another implementation of what is remote code on the hub.

python tools/phi3v_parity.py --peer PYTHON     of an environment with mlx-vlm (`pip install 'mlx[cpu]' mlx-vlm`)

A random model: the first layers of the hub's vision tower and a small text model. mlx-vlm is no part of the test suite: it
wants its own versions of numpy and transformers, and the sizes of its tower are in its code. Two things it does in another
way than the hub's code. Its processor stretches pictures to whole tiles, where the hub's pads them, so it gets our pixels.
It joins tiles that lie beside each other by a reshape that mixes their lines, so only pictures of one column can agree.
tests/models/media/phi3_v.py compares with parts of transformers, put together as the hub's code is.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
CLIP = dict(
    hidden_size=1024, intermediate_size=512, num_hidden_layers=4, num_attention_heads=16,
    image_size=336, patch_size=14, hidden_act="quick_gelu", layer_norm_eps=1e-5,
)  # fmt: skip
PICTURES = {  # size of a picture and number of tiles
    "one tile": ((301, 240), 1),
    "a column": ((310, 1301), 4),
    "two columns": ((500, 420), 4),
}


def ours(folder: Path) -> None:
    """Write the model, and for each picture its prompt, pixels and logits."""
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    import torch

    from tests.models.media import case, phi3_v
    from tests.models.test_media import Subject

    phi3_v.CLIP, phi3_v.EDGE = CLIP, 336
    subject = Subject(smaller(phi3_v.CASES[""], case, phi3_v), folder / "model")
    for name, (size, tiles) in PICTURES.items():
        picture = case.picture(*size)
        subject.pipeline.prompter.placer.processors["image"].tiles = tiles
        prompt = asked(subject, picture)
        scheduler = subject.scheduler(pages=128)
        with torch.inference_mode():
            logits = subject.run(scheduler, subject.start(scheduler, prompt), 512)
        (medium,) = prompt.media.values()
        pixels, down = medium.inputs["pixels"], medium.grid[0]
        size = np.array([336 * down, 336 * ((len(pixels) - 1) // down)])
        ids = np.array(prompt.tokens)
        ids[ids >= 1 << 32] = -1
        np.savez(folder / f"{name}.npz", ids=ids, logits=logits, pixels=pixels, size=size)
    subject.pipeline.close()


def smaller(case: Any, cases: Any, family: Any) -> Any:
    """The case with random weights of about the size that a trained tower's have."""
    from dataclasses import replace

    import torch

    class Model(family.Model):
        def tie_weights(self) -> None:
            for parameter in self.vision.parameters():
                if parameter.dim() > 1:
                    parameter.data.mul_(0.15)
            self.text.tie_weights()

    torch.set_num_threads(1)
    return replace(case, cls=Model)


def asked(subject: Any, picture: Image.Image) -> Any:
    """The prompt about a picture."""
    from mistralrs import ChatCompletionRequest

    content = [{"type": "image", "image": picture}, {"type": "text", "text": "What is this?"}]
    messages = [{"role": "user", "content": content}]
    return subject.pipeline.prompter.chat(ChatCompletionRequest(messages, max_tokens=5))


def theirs(folder: Path) -> None:
    """The same by mlx-vlm, in its own environment."""
    import json

    import mlx.core as mx
    from mlx_vlm.models.phi3_v.config import ModelConfig
    from mlx_vlm.models.phi3_v.phi3_v import Model
    from mlx_vlm.models.phi3_v.vision import VisionModel

    tower = VisionModel.CLIP_VIT_LARGE_PATCH14_336_CONFIG
    tower.num_hidden_layers, tower.intermediate_size = (
        CLIP["num_hidden_layers"],
        CLIP["intermediate_size"],
    )
    config = json.loads((folder / "model" / "config.json").read_text())
    model = Model(ModelConfig.from_dict(config))
    tensors = model.vision_model.sanitize(mx.load(str(folder / "model" / "model.safetensors")))
    model.load_weights(list(tensors.items()), strict=False)
    for name in PICTURES:
        own = np.load(folder / f"{name}.npz")
        out = model(
            mx.array(own["ids"][None]),
            pixel_values=mx.array(own["pixels"][None]),
            image_sizes=mx.array(own["size"][None]),
        )
        off = np.abs(own["logits"] - np.array(out.logits)[0]).max()
        print(
            f"{name}, {len(own['ids'])} tokens: logits of {np.abs(own['logits']).max():.1f} differ by {off:.1e}"
        )


def main() -> None:
    """Run both sides."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer", help="the Python that has mlx-vlm")
    parser.add_argument("--theirs", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.theirs:
        theirs(options.theirs)
        return
    with tempfile.TemporaryDirectory() as folder:
        ours(Path(folder))
        subprocess.run([options.peer, __file__, "--theirs", folder], check=True)


if __name__ == "__main__":
    main()

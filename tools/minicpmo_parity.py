"""Rows of MiniCPM-o 2.6's encoders here and in mlx-vlm: pictures of many sizes and sounds, tiny random weights.

    python tools/minicpmo_parity.py PYTHON

PYTHON is an interpreter with the packages `mlx[cpu]` and `mlx-vlm`, whose `minicpmo` nobody here wrote. It gets our
pixels, cut into views, and our spectrograms. The text model is not compared: mlx-vlm has the later model's, on Qwen 3; Qwen 2
is compared with transformers by the tests. Sounds end within a second: mlx-vlm's states see the whole sound, those of the
model's own code only to the end of their second. The sizes are some whose patches lie on no border of the table of places:
there rounding decides, and mlx-vlm rounds in another way than torch does in the model's own code.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from mistralrs import Which
from mistralrs.loaders import load
from mistralrs.nn.media import Media
from mistralrs.pipeline import Settings
from tests.models.media import minicpmo
from tests.models.media.case import picture, reference, save, sound

SIZES = ((90, 70), (301, 40), (28, 29), (400, 380), (56, 56), (70, 40), (150, 170))
SECONDS = (0.06, 0.5, 0.73, 0.99)

THEIRS = """
import json, sys
import mlx.core as mx, numpy as np
from mlx_vlm.models.minicpmo.config import ModelConfig
from mlx_vlm.models.minicpmo.minicpmo import Model
folder = sys.argv[1]
raw = json.load(open(f"{folder}/config.json"))
model = Model(ModelConfig.from_dict({**raw, "head_dim": 16, "rms_norm_eps": 1e-6, "init_tts": False}))
weights = model.sanitize(dict(mx.load(f"{folder}/model.safetensors")))
known = dict(__import__("mlx.utils").utils.tree_flatten(model.parameters()))
seen = {k: v for k, v in weights.items() if not k.startswith("language_model.")}
assert not [k for k in seen if k not in known], "unknown tensors"
assert not [k for k in known if k not in seen and not k.startswith("language_model.")], "missing tensors"
model.load_weights(list(seen.items()), strict=False)
given, rows = np.load(f"{folder}/given.npz"), {}
for name in given.files:
    kind, number = name.split()
    if kind == "sizes":
        views = [given[f"view {number}.{i}"] for i in range(len(given[name]))]
        found = model.get_vision_embedding([views], [given[name]])[0]
        rows[f"image {number}"] = np.array(found.reshape(-1, found.shape[-1]))
    if kind == "mel":
        mel = given[name]
        found = model.get_audio_embedding(mx.array(mel[None]), [[mel.shape[1]]])[0][0]
        rows[f"sound {number}"] = np.array(found)
np.savez(f"{folder}/theirs.npz", **rows)
"""


def views(patches: torch.Tensor, grid: tuple[int, ...]) -> tuple[list[np.ndarray], np.ndarray]:
    """Patches of all views -> views [3, H, W], and their lines and columns of patches."""
    (h, w), rest = grid[2:4], grid[4:]
    sizes = [(h, w)] + [rest] * ((len(patches) - h * w) // (rest[0] * rest[1]))
    parts = patches.split([a * b for a, b in sizes])
    found = [
        part.view(a, b, 3, 14, 14).permute(2, 0, 3, 1, 4).reshape(3, a * 14, b * 14).numpy()
        for part, (a, b) in zip(parts, sizes, strict=True)
    ]
    return found, np.array(sizes, np.int32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python")
    python = parser.parse_args().python
    case = minicpmo.CASES[""]
    with tempfile.TemporaryDirectory() as name:
        folder = save(case, reference(case), Path(name))
        pipeline = load(Which.VisionPlain(str(folder), dtype="f32"), Settings(pa_ctxt_len=512))
        see, hear = pipeline.prompter.placer.processors.values()
        given, ours = {}, {}

        def encoded(prepared, number: int) -> np.ndarray:
            with torch.inference_mode():
                one = Media(number, prepared.inputs, prepared.rows, prepared.grid)
                return pipeline.built.model.encoder.encode(one).numpy()

        for number, size in enumerate(SIZES):
            prepared = see.prepare(picture(*size, seed=number))
            cut, sizes = views(prepared.inputs["patches"], prepared.grid)
            given |= {f"view {number}.{i}": view for i, view in enumerate(cut)}
            given[f"sizes {number}"] = sizes
            ours[f"image {number}"] = encoded(prepared, number)
        for number, seconds in enumerate(SECONDS):
            prepared = hear.prepare(torch.from_numpy(sound(seconds, seed=number)))
            given[f"mel {number}"] = prepared.inputs["mel"].numpy()
            ours[f"sound {number}"] = encoded(prepared, 100 + number)
        pipeline.close()
        np.savez(folder / "given.npz", **given)
        raw = json.loads((folder / "config.json").read_text())
        assert raw["architectures"] == ["MiniCPMO"]
        subprocess.run([python, "-c", THEIRS, str(folder)], check=True)
        theirs = np.load(folder / "theirs.npz")
        for key, rows in ours.items():
            assert rows.shape == theirs[key].shape, (key, rows.shape, theirs[key].shape)
            size = f"{np.abs(rows).max():6.2f}"
            print(
                f"{key}  {rows.shape[0]:3} rows, largest {size}, difference {np.abs(rows - theirs[key]).max():.1e}"
            )


if __name__ == "__main__":
    main()

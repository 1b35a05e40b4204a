"""What does a photo cost before a model sees it? Each family's processor, default settings, in a process of its own.

The picture is a JPEG of 12 megapixels. Seconds are those of decoding and preparing, the best of some; MB is what memory
grew by at most (Linux).

python bench/photo.py [FAMILY...] [--rounds 3]
"""

import argparse
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SIZE = 4032, 3024
CHILD = "--child"

CLIP = dict(image_size=336, patch_size=14, model_type="clip_vision_model")
GRIDS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
QWEN = dict(min_pixels=56 * 56, max_pixels=28 * 28 * 16384)
# Family: what config.json and preprocessor_config.json of a checkpoint on the hub say where it matters.
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "LLaVA 1.5": ("llava", dict(vision_config=CLIP), dict(size=336, crop_size=336)),
    "LLaVA 1.6": (
        "llava_next",
        dict(vision_config=CLIP, image_grid_pinpoints=GRIDS),
        dict(size={"shortest_edge": 336}, crop_size=336),
    ),
    "Gemma 3": ("gemma3", dict(mm_tokens_per_image=256), dict(size=dict(height=896, width=896))),
    "Gemma 4": ("gemma4", {}, {}),
    "Idefics 2": ("idefics2", {}, dict(do_image_splitting=True)),
    "Idefics 3": ("idefics3", dict(vision_config=dict(image_size=364, patch_size=14)), {}),
    "LFM 2 VL": ("lfm2_vl", {}, {}),
    "Llama 3.2 Vision": ("mllama", {}, dict(size=dict(height=560, width=560))),  # rows of 1601
    "Llama 4": ("llama4", dict(vision_config=dict(image_size=336)), {}),
    "Mistral Small 3.1": ("mistral3", {}, dict(size={"longest_edge": 1540})),
    "Qwen 2 VL, 2.5 VL": ("qwen2_vl", {}, QWEN),
    "Qwen 3 VL": (
        "qwen3_vl",
        {},
        dict(size=dict(shortest_edge=65536, longest_edge=16777216), patch_size=16),
    ),
    "SmolVLM 2": (
        "smolvlm",
        dict(scale_factor=4, vision_config=dict(image_size=512, patch_size=16)),
        dict(size={"longest_edge": 2048}, max_image_size={"longest_edge": 512}),
    ),
}
TEXTS = dict(lfm2_vl="lfm2", llama4="llama4_text", gemma3="gemma3_text", gemma4="gemma4_text")


def photo() -> bytes:
    """A JPEG with large and small structures, and the noise of a sensor."""
    import numpy as np
    from PIL import Image

    random, picture = np.random.default_rng(0), np.zeros((SIZE[1], SIZE[0], 3), np.float32)
    for cells, weight in ((8, 0.6), (64, 0.25), (512, 0.15)):
        coarse = random.integers(0, 256, (cells * 3 // 4, cells, 3), dtype=np.uint8)
        picture += weight * np.asarray(
            Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)
        )
    picture += random.normal(0, 4, picture.shape).astype(np.float32)
    file = io.BytesIO()
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def memory(name: str) -> float:
    """A line of this process's status, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1000


def child(family: str, file: str, rounds: int) -> None:
    """Prepare the photo some times, and print the figures."""
    from mistralrs import models
    from mistralrs.load.build import media_config
    from mistralrs.prompt.picture import open_picture

    key, config, files = FAMILIES[family]
    encoder = models.encoder(key)
    assert encoder is not None
    text = dict(model_type=TEXTS.get(key, "llama"))
    cfg = media_config(dict(model_type=key, text_config=text, **config), encoder)
    processor = encoder.processor(cfg, files)
    assert processor is not None
    data = Path(file).read_bytes()
    open_picture(data, "photo", 100), processor.prepare(open_picture(data, "photo", 100))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, peak, decoded, whole = memory("VmRSS"), 0.0, [], []
    for _ in range(rounds):
        start = time.perf_counter()
        picture = open_picture(data, "photo")
        decoded.append(time.perf_counter() - start)
        rows = processor.prepare(picture).rows
        whole.append(time.perf_counter() - start)
        peak = peak or memory("VmHWM")  # later rounds find what the allocator kept
        del picture
    print(json.dumps([rows, min(decoded), min(whole), peak - before]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("families", nargs="*", default=list(FAMILIES), metavar="FAMILY")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    file = Path("/tmp/photo.jpg") if sys.platform == "linux" else Path("photo.jpg")
    file.write_bytes(photo())
    print(f"{SIZE[0]} x {SIZE[1]} pixels, {file.stat().st_size / 1e6:.1f} MB")
    print(f"{'family':20} {'rows':>6} {'decode s':>9} {'in all s':>9} {'peak MB':>8}")
    for family in args.families:
        command = [sys.executable, __file__, CHILD, family, str(file), str(args.rounds)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        rows, decode, whole, grown = json.loads(run.stdout)
        print(f"{family:20} {rows:6} {decode:9.2f} {whole:9.2f} {grown:8.0f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        child(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()

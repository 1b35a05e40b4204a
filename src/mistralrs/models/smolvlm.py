"""SmolVLM 2: Idefics 3 that also sees films, frame by frame, each behind its time."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import torch

from mistralrs.api.errors import MediaError
from mistralrs.models import idefics3
from mistralrs.nn import image
from mistralrs.nn.decoder import Settings
from mistralrs.nn.film import Film
from mistralrs.nn.media import Prepared

SKIP = 1  # seconds at both ends of a long film that are not looked at
SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def words(number: int) -> str:
    """A number below 1000 in English."""
    if number < 20:
        return SMALL[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f"-{SMALL[number % 10]}" if number % 10 else "")
    rest = f" and {words(number % 100)}" if number % 100 else ""
    return f"{SMALL[number // 100]} hundred{rest}"


class Watcher:
    """One frame per second, each as a square of one tile."""

    joined = False
    placeholder = "<image>"

    def __init__(self, cfg: Settings, files: Mapping[str, Any]):
        own, still = files.get("video") or {}, idefics3.Processor(cfg, files)
        self.look, self.tile, self.rows = still.look, still.tile, still.rows
        sampling = files.get("video_sampling") or own.get("video_sampling") or {}
        self.fps, self.most = sampling.get("fps", 1), sampling.get("max_frames", 64)
        size = sampling.get("video_size") or own.get("size") or {"longest_edge": 4 * self.tile}
        self.edge = image.edge(size, "longest_edge")

    def marker(self, index: int) -> str:
        return "<video>"

    def prepare(self, film: Film) -> Prepared:
        places = list(range(film.frames)) if film.whole else self.sample(film)
        if len(places) > self.most:
            raise MediaError(
                f"a video of {len(places)} frames is too long, {self.most} are the most; leave some out"
            )
        square, size = (self.tile, self.tile), idefics3.scaled(film.size, self.edge)
        views = [
            self.look.pixels(self.look.resize(self.look.resize(frame, size), square))
            for frame in film.read(places)
        ]
        times = (*(place / film.rate for place in places), film.frames / film.rate)
        return Prepared({"pixels": torch.stack(views)}, len(views) * self.rows, (0, 0), times=times)

    def sample(self, film: Film) -> list[int]:
        """Frames evenly spread, without the ends of a film that is much longer than they are many."""
        fps, seconds = film.wanted or self.fps, film.frames / film.rate
        count = max(1, min(round(fps * seconds), self.most))
        first, last = 0, film.frames - 1
        if seconds - 2 * SKIP > self.most * fps:
            first = int(SKIP * film.rate)
            last = min(int(film.frames - SKIP * film.rate), last)
        return np.unique(np.linspace(first, last, count, dtype=int)).tolist()

    def expand(self, prepared: Prepared, index: int) -> str:
        *times, end = prepared.times
        around, rows = idefics3.AROUND, self.placeholder * self.rows
        frames = "".join(
            f"\nFrame from {int(s // 60):02d}:{int(s % 60):02d}:{around}{idefics3.GLOBAL}{rows}{around}"
            for s in times
        )
        return (
            f"You are provided the following series of {words(len(times))} frames from a "
            f"{timedelta(seconds=int(end))} [H:MM:SS] video.\n{frames}\n\n"
        )


class SmolVLM(idefics3.Idefics3):
    @classmethod
    def watcher(cls, cfg: Settings, files: Mapping[str, Any]) -> Watcher:
        return Watcher(cfg, files)

"""Sounds in memory as parts of messages."""

import base64
import struct
from typing import Any

from mistralrs.api.errors import MediaError


def audio_part(samples: Any, rate: int) -> dict[str, Any]:
    """An `input_audio` part of a message from samples in memory, such as a numpy array or a torch tensor.

    `samples` are [N] or [N, channels], floats from -1 to 1 or 16-bit whole numbers, `rate` of them in a second.
    Raises MediaError for other shapes and types. OpenAI's server takes the same part.
    """
    import numpy as np

    values = np.asarray(samples)
    if values.ndim not in (1, 2) or not values.size:
        raise MediaError(
            f"samples of shape {list(values.shape)} are no sound; their shape must be [samples] or "
            "[samples, channels]"
        )
    if values.dtype == np.int16:
        values = values.astype(np.float32) / 32768
    if values.dtype.kind != "f":
        raise MediaError(f"samples must be floats or int16, not {values.dtype}")
    if not np.isfinite(values).all():
        raise MediaError("samples must be finite numbers")
    if not isinstance(rate, int) or rate < 1:
        raise MediaError(f"rate must be the number of samples in a second, not {rate!r}")
    body = np.ascontiguousarray(values, dtype="<f4").tobytes()
    return {
        "type": "input_audio",
        "input_audio": {
            "data": base64.b64encode(header(values, rate, body) + body).decode(),
            "format": "wav",
        },
    }


def header(values: Any, rate: int, body: bytes) -> bytes:
    """The header of a WAV file of 32-bit floats."""
    channels = 1 if values.ndim == 1 else values.shape[1]
    form = struct.pack("<HHIIHH", 3, channels, rate, rate * channels * 4, channels * 4, 32)
    size = len(body) + 4 + 8 + len(form) + 8
    return (
        struct.pack("<4sI4s4sI", b"RIFF", size, b"WAVE", b"fmt ", len(form))
        + form
        + struct.pack("<4sI", b"data", len(body))
    )

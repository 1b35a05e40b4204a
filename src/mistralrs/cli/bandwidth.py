"""How many bytes per second this machine's memory gives to a reader."""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SIZE = 256 << 20  # bytes; larger than any cache
WIDTH = 8192
ROUNDS = 10


def bandwidth(device: str) -> float:
    """Bytes per second of reading a large array with all threads of the kernels; the best of some rounds."""
    import torch

    from mistralrs.kernels import describe

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, describe()["threads"]))
    try:
        matrix = torch.ones(SIZE // 4 // WIDTH, WIDTH, device=device)
        vector = torch.ones(WIDTH, device=device)
        return max(SIZE / seconds(matrix, vector) for _ in range(ROUNDS))
    finally:
        torch.set_num_threads(before)


def seconds(matrix: "Tensor", vector: "Tensor") -> float:
    """Time to read a matrix once, which is what a product with a vector waits for."""
    import torch

    began = time.perf_counter()
    matrix @ vector
    if matrix.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began

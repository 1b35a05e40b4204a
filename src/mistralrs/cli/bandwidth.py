"""How many bytes per second this machine's memory gives to a reader."""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SIZE = 256 << 20  # bytes; larger than any cache
ROUNDS = 5


def bandwidth(device: str) -> float:
    """Bytes per second of reading a large array with all threads of the kernels; the best of some rounds."""
    import torch

    from mistralrs.kernels import describe

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, describe()["threads"]))
    try:
        x = torch.ones(SIZE // 4, device=device)
        return max(SIZE / seconds(x) for _ in range(ROUNDS))
    finally:
        torch.set_num_threads(before)


def seconds(x: "Tensor") -> float:
    """Time to read a tensor once."""
    import torch

    began = time.perf_counter()
    x.max()  # the cheapest thing that looks at every number
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began

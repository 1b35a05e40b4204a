"""FP8 in blocks: a scale for every square of numbers, as DeepSeek V3 and Qwen 3 FP8 are published."""

from torch import Tensor


def unpack(codes: Tensor, scales: Tensor, block: tuple[int, int]) -> Tensor:
    """codes float8 [N, K], scales [ceil(N / block[0]), ceil(K / block[1])] -> bfloat16 [N, K]."""
    rows, columns = codes.shape
    spread = scales.float().repeat_interleave(block[0], 0)[:rows]
    spread = spread.repeat_interleave(block[1], 1)[:, :columns]
    return spread.mul_(codes.float()).bfloat16()

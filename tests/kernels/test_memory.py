"""Memory of packed weights: pieces that do not overlap, in mappings that go when nobody holds them."""

import gc
import mmap
import sys

import pytest
import torch

from mistralrs.kernels import memory

linux = pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="huge pages are Linux's")


def test_without_a_load_it_is_a_tensor_like_any():
    assert memory.empty(3, 5).shape == (3, 5)
    assert memory.ARENA.get() is None


@linux
def test_pieces_share_a_mapping_and_do_not_overlap():
    sizes = [(1, 1), (2, 100), (3, memory.HUGE - 7), (1, 64), (0, 8)]
    with memory.together():
        pieces = [memory.empty(*size) for size in sizes]
    for number, piece in enumerate(pieces):
        piece.fill_(number)
    assert all(bool((piece == number).all()) for number, piece in enumerate(pieces))
    assert all(piece.data_ptr() % memory.LINE == 0 for piece in pieces)
    assert pieces[0].data_ptr() % memory.HUGE == 0
    assert pieces[3].data_ptr() - pieces[0].data_ptr() < memory.CHUNK


@linux
def test_a_matrix_that_is_longer_than_a_mapping_gets_its_own():
    arena = memory.Arena()
    small, large, after = arena.empty(8), arena.empty(memory.CHUNK + 5), arena.empty(8)
    large[-1] = small[0] = after[0] = 1
    assert len(arena.chunk) == memory.CHUNK + memory.HUGE
    assert after.data_ptr() - large.data_ptr() >= len(large)


@linux
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_goes_back_with_the_last_piece():
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * mmap.PAGESIZE

    before = resident()
    with memory.together():
        pieces = [memory.empty(memory.CHUNK // 2) for _ in range(4)]
    for piece in pieces:
        piece.fill_(1)
    held = resident()
    kept = pieces[0].clone()
    del pieces, piece
    gc.collect()
    assert held - before > 1.8 * memory.CHUNK
    assert resident() - before < memory.CHUNK
    assert torch.equal(kept, torch.ones_like(kept))

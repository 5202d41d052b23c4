# SPDX-License-Identifier: Apache-2.0
"""Memory in large pages holds what is written to it, however large it is."""

import pytest
import torch

from convsmith.native.pages import new_memory, side_by_side

_HUGE_BYTES = 2 << 20


@pytest.mark.parametrize("floats", [0, 1, 1000, 300_000, 1_500_000])
def test_memory_is_ours_from_end_to_end(floats: int) -> None:
    memory = new_memory(floats)
    assert memory.shape == (floats,)
    assert memory.dtype is torch.float32
    values = torch.arange(floats, dtype=torch.float32)
    memory.copy_(values)
    assert torch.equal(memory, values)


def test_much_memory_begins_with_a_page() -> None:
    assert new_memory(1_500_000).data_ptr() % _HUGE_BYTES == 0


def test_copies_lie_side_by_side_on_lines_of_their_own() -> None:
    tensors = [torch.randn(3, 5), torch.randn(0), torch.randn(16), torch.randn(400_000)]
    copies = side_by_side(tensors)
    for tensor, copy in zip(tensors, copies, strict=True):
        assert torch.equal(copy, tensor.reshape(-1))
        assert copy.data_ptr() % 64 == 0
    assert copies[2].data_ptr() - copies[0].data_ptr() == 64
    assert copies[3].data_ptr() - copies[2].data_ptr() == 64
    copies[0].fill_(7.0)
    assert torch.equal(copies[2], tensors[2])

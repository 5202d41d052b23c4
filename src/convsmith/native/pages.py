# SPDX-License-Identifier: Apache-2.0
"""Memory in large pages, where the system has them: the processor finds each page of 4 KB anew, and
waits for it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from convsmith.native import core

# Floats of a cache line, and of a page that holds 2 MB.
_LINE, _HUGE = 16, 1 << 19


def new_memory(floats: int) -> Tensor:
    """So many float32 numbers, whatever they are.

    >>> new_memory(10).shape
    torch.Size([10])
    """
    if floats < _HUGE // 2:
        return torch.empty(floats)
    memory = torch.empty(floats + _HUGE)
    core.ask_for_huge_pages(memory)
    first = -(memory.data_ptr() // 4) % _HUGE  # of the first whole page
    return memory[first : first + floats]


def side_by_side(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Flat copies of float32 tensors that share one block of memory, each on a cache line.

    >>> side_by_side([torch.ones(2, 2), torch.zeros(1)])
    [tensor([1., 1., 1., 1.]), tensor([0.])]
    """
    sizes = [-(-t.numel() // _LINE) * _LINE for t in tensors]
    memory = new_memory(sum(sizes))
    places = torch.split(memory, sizes) if sizes else ()
    return [
        place[: t.numel()].copy_(t.reshape(-1)) for place, t in zip(places, tensors, strict=True)
    ]

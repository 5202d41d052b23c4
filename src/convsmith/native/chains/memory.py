# SPDX-License-Identifier: Apache-2.0
"""Where values that live for a while lie in one block of memory."""

from collections.abc import Sequence
from typing import NamedTuple

# A cache line: kernels may rely on no more than torch's own alignment, and run best on it.
_LINE = 16


class Lifetime(NamedTuple):
    """A value of so many floats, needed from step `first` to step `last`, both included."""

    value: int
    floats: int
    first: int
    last: int


def lay_out(lifetimes: Sequence[Lifetime]) -> tuple[dict[int, int], int]:
    """The offset of each value, and the floats of the whole block.

    The largest values first, each into the lowest gap among those that live at the same time: the
    "greedy by size" of Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net
    Inference", 2020.

    >>> lay_out([Lifetime(0, 64, 0, 1), Lifetime(1, 16, 1, 2), Lifetime(2, 64, 2, 3)])
    ({0: 0, 2: 0, 1: 64}, 80)
    """
    offsets: dict[int, int] = {}
    placed: list[tuple[Lifetime, int, int]] = []
    for life in sorted(lifetimes, key=lambda life: -life.floats):
        size = -(-life.floats // _LINE) * _LINE
        begin = 0
        for other, its_begin, its_end in sorted(placed, key=lambda entry: entry[1]):
            is_alive = other.first <= life.last and life.first <= other.last
            if is_alive and its_begin < begin + size and begin < its_end:
                begin = its_end
        offsets[life.value] = begin
        placed.append((life, begin, begin + size))
    return offsets, max((end for _, _, end in placed), default=0)

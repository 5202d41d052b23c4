# SPDX-License-Identifier: Apache-2.0
"""Examples: inputs and what is right for them, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, Self

from torch import Tensor


class Examples(Protocol):
    """Inputs and what is right for them; nothing is decoded before its batch is asked for."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The inputs of these indices, stacked, and what is right for each."""
        ...

    def part(self, indices: Sequence[int]) -> Self:
        """The examples of these indices as a set of their own."""
        ...


def batches(examples: Examples, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All examples in their order, `batch_size` at a time."""
    for first in range(0, len(examples), batch_size):
        yield examples.batch(range(first, min(first + batch_size, len(examples))))

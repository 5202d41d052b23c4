# SPDX-License-Identifier: Apache-2.0
"""Random numbers of a batch, the same however many processes share it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Draws for every image of a batch, and gives those of a share.

    Each process draws for the whole batch and keeps the numbers of its own images, so that two
    processes treat every image as one would.
    """

    images: int  # in the whole batch
    generator: torch.Generator
    first: int = 0  # image of the share
    every: int = 1  # how far apart its images are

    def integers(self, end: int, rows: int) -> Tensor:
        """Integers from 0 to end - 1, shape (rows, images of the share)."""
        drawn = torch.randint(0, end, (rows, self.images), generator=self.generator)
        return drawn[:, self.first :: self.every]

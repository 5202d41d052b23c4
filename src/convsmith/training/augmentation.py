# SPDX-License-Identifier: Apache-2.0
"""Images moved, mirrored and cut out at random, and what is to be said of them with them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from convsmith.training.draws import Draws


def shifted(x: Tensor, amount: int, draws: Draws) -> Tensor:
    """Every image moved by a random number of pixels, -amount to amount along each axis; the edge
    is repeated.

    >>> draws = Draws(images=2, generator=torch.default_generator)
    >>> shifted(torch.ones(2, 1, 4, 4), 1, draws).shape
    torch.Size([2, 1, 4, 4])
    """
    padded = F.pad(x, (amount,) * 4, mode="replicate")
    return _cut(padded, draws.integers(2 * amount + 1, rows=2), x.shape[2], x.shape[3])


def mirrored(x: Tensor, y: Tensor | None, draws: Draws) -> tuple[Tensor, Tensor | None]:
    """Images mirrored left to right by the toss of a coin, their maps `y` (n, ..., h, w) too."""
    flips = draws.integers(2, rows=1)[0].bool()

    def flip(maps: Tensor) -> Tensor:
        chosen = flips.view(-1, *[1] * (maps.ndim - 1))
        return torch.where(chosen, maps.flip(-1), maps)

    return flip(x), None if y is None else flip(y)


def windows(x: Tensor, y: Tensor, size: int, draws: Draws) -> tuple[Tensor, Tensor]:
    """A window of size x size pixels at a random place of every image, and of its map (n, h, w)."""
    h, w = x.shape[-2:]
    if size >= h and size >= w:
        return x, y
    rows, columns = min(size, h), min(size, w)
    first = torch.cat(
        [draws.integers(h - rows + 1, rows=1), draws.integers(w - columns + 1, rows=1)]
    )
    return _cut(x, first, rows, columns), _cut(y[:, None], first, rows, columns)[:, 0]


def _cut(x: Tensor, first: Tensor, h: int, w: int) -> Tensor:
    """From each image of (n, c, ...) the h x w pixels that begin at its row and column."""
    rows, columns = first[0][:, None] + torch.arange(h), first[1][:, None] + torch.arange(w)
    images = torch.arange(len(x))[:, None, None]
    return x[images, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

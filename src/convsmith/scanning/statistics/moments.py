# SPDX-License-Identifier: Apache-2.0
"""What the positions of a map amount to, channel by channel, put together from disjoint tiles.

Sums of squares cancel where the mean is large; deviations from each part's own mean do not, and two
parts are joined by

    n = n_a + n_b,   d = mean_b - mean_a
    mean = mean_a + d n_b / n,   spread = spread_a + spread_b + d^2 n_a n_b / n

Source: Chan, Golub and LeVeque 1983, doi:10.1080/00031305.1983.10483115, equation 2.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from convsmith.errors import ArgumentError


@dataclass(frozen=True)
class Moments:
    """Of each channel, in float64: the mean over all positions, the sum of the squared deviations
    from it, and the largest number.

    >>> whole = Moments.of(torch.tensor([[[1.0, 2.0, 6.0]]]))
    >>> whole.count, whole.mean.item(), whole.spread.item(), whole.largest.item()
    (3, 3.0, 14.0, 6.0)
    """

    count: int
    mean: Tensor
    spread: Tensor
    largest: Tensor

    @staticmethod
    def of(image: Tensor) -> "Moments":
        """The moments of a map (channels, *space)."""
        rows = image.detach().flatten(1).double()
        mean = rows.mean(1)
        spread = (rows - mean[:, None]).square().sum(1)
        return Moments(rows.shape[1], mean, spread, rows.amax(1))

    def __add__(self, other: "Moments") -> "Moments":
        count = self.count + other.count
        apart = other.mean - self.mean
        return Moments(
            count,
            self.mean + apart * (other.count / count),
            self.spread + other.spread + apart.square() * (self.count * other.count / count),
            torch.maximum(self.largest, other.largest),
        )

    def of_groups(self, groups: int) -> "Moments":
        """The moments of neighbouring channels together, `groups` of them."""
        rows = [part.view(groups, -1) for part in (self.mean, self.spread, self.largest)]
        members = [Moments(self.count, *parts) for parts in zip(*(r.T for r in rows), strict=True)]
        return reduce(Moments.__add__, members)


def combined(parts: Mapping[int, Moments]) -> Moments:
    """The moments of a whole map from those of its tiles, by their numbers.

    They are joined in the order of the numbers, so that no byte depends on which came first.

    Raises:
        ArgumentError: if there are none.
    """
    if not parts:
        raise ArgumentError("statistics: a map without tiles has no moments; give at least one")
    return reduce(Moments.__add__, (parts[number] for number in sorted(parts)))

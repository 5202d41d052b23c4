# SPDX-License-Identifier: Apache-2.0
"""One small classifier on Fashion-MNIST, its 3x3 layers of every kind: what each costs and reaches.

    python examples/kinds_of_convolution.py [--quick] [--data-root FOLDER]

The first layer and the last are alike in all; four layers in between are of the kind. About
fifteen minutes, on one of the cores.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from comparing import COLUMNS, cells, clothes, panels
from recording import bars, options, record
from torch import Tensor, nn

import convsmith as cs
from convsmith.training import Recipe

CHANNELS = 16
# Many steps of few images: an involution, whose kernels are made, needs many to begin to learn.
RECIPE = Recipe(epochs=5, batch_size=16, lr=0.01, flip=True)
Layer = Callable[[], nn.Module]


def kinds(c: int = CHANNELS) -> dict[str, Layer]:
    """A layer from c to c channels that keeps the size, by the name of its kind."""
    return {
        "dense": lambda: cs.Conv2d(c, c, 3, padding=1),
        "grouped, 4 groups": lambda: cs.Conv2d(c, c, 3, padding=1, groups=4),
        "depthwise separable": lambda: cs.DepthwiseSeparableConv2d(c, c, 3, padding=1),
        "depthwise separable, multiplier 2": lambda: cs.DepthwiseSeparableConv2d(
            c, c, 3, padding=1, depth_multiplier=2
        ),
        "spatially separable": lambda: cs.SpatiallySeparableConv2d(c, c, 3, padding=1),
        "dilated by 2": lambda: cs.Conv2d(c, c, 3, padding=2, dilation=2),
        "involution": lambda: cs.Involution2d(c, 3, group_channels=8),
        "local self-attention": lambda: cs.LocalSelfAttention2d(c, 3, num_heads=4),
    }


class Classifier(nn.Module):
    """A dense stem, twice (pool, two layers of the kind), the mean over places, ten scores."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        parts: list[nn.Module] = [cs.Conv2d(1, CHANNELS, 3, padding=1), nn.ReLU()]
        for _ in range(2):
            parts.append(nn.MaxPool2d(2))
            for _ in range(2):
                parts += [layer(), nn.BatchNorm2d(CHANNELS), nn.ReLU()]
        self.features = nn.Sequential(*parts)
        self.scores = nn.Linear(CHANNELS, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, 28, 28) to (n, 10)."""
        return self.scores(self.features(x).mean((2, 3)))


def main() -> None:
    """Train, measure, write."""
    given = options(__doc__)
    torch.set_num_threads(1)
    contest = clothes(given, size=28, images=5000, recipe=RECIPE)
    rows = [
        contest.row(name, lambda layer=layer: Classifier(layer))[0]
        for name, layer in kinds().items()
    ]
    record(
        "kinds_of_convolution",
        given,
        title="The same classifier with its 3x3 layers of every kind",
        words=contest.words,
        columns=["kind", *COLUMNS],
        rows=[cells(row) for row in rows],
        data=rows,
        picture=bars([row["name"] for row in rows], panels(rows, start=60)),
    )


if __name__ == "__main__":
    main()

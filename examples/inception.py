# SPDX-License-Identifier: Apache-2.0
"""Inception modules with their 1x1 reductions and without: the same accuracy, at what cost?

    python examples/inception.py [--quick] [--data-root FOLDER]

A small classifier of three modules on Fashion-MNIST. Without the reductions, the 3x3 and 5x5
windows read all channels. About three minutes on two cores.
"""

from __future__ import annotations

import torch
from comparing import COLUMNS, cells, clothes, panels
from recording import bars, options, record
from torch import Tensor, nn

import convsmith as cs
from convsmith.training import Recipe

# Module 3b of the paper's table, divided by eight: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool
# projection.
ROW = (16, 16, 24, 4, 12, 8)
INPUTS, OUTPUTS = 32, ROW[0] + ROW[2] + ROW[4] + ROW[5]


class Classifier(nn.Module):
    """A dense stem, pool, two modules, pool, one module, the mean over places, ten scores."""

    def __init__(self, reduce: bool) -> None:
        super().__init__()
        stem = cs.Conv2d(1, INPUTS, 3, padding=1, bias=False)
        self.features = nn.Sequential(
            *(stem, nn.BatchNorm2d(INPUTS), nn.ReLU(), nn.MaxPool2d(2)),
            *_module(INPUTS, reduce),
            *_module(OUTPUTS, reduce),
            nn.MaxPool2d(2),
            *_module(OUTPUTS, reduce),
        )
        self.scores = nn.Linear(OUTPUTS, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, 28, 28) to (n, 10)."""
        return self.scores(self.features(x).mean((2, 3)))


def _module(inputs: int, reduce: bool) -> tuple[nn.Module, nn.Module]:
    # Without a norm between them, three modules learn too slowly for a few epochs.
    return cs.InceptionModule(inputs, *ROW, reduce=reduce), nn.BatchNorm2d(OUTPUTS)


def main() -> None:
    """Train, measure, write."""
    given = options(__doc__)
    torch.set_num_threads(1)
    contest = clothes(given, size=28, images=2000, recipe=Recipe(epochs=4, flip=True))
    rows = [
        contest.row(name, lambda reduce=reduce: Classifier(reduce))[0]
        for name, reduce in (("with 1x1 reductions", True), ("without", False))
    ]
    record(
        "inception",
        given,
        title="Inception modules with their reductions and without",
        words=contest.words,
        columns=["modules", *COLUMNS],
        rows=[cells(row) for row in rows],
        data=rows,
        picture=bars([row["name"] for row in rows], panels(rows, start=60)),
    )


if __name__ == "__main__":
    main()

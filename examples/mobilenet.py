# SPDX-License-Identifier: Apache-2.0
"""MobileNet v1, wider and with more windows a channel: accuracy against measured time.

    python examples/mobilenet.py [--quick] [--data-root FOLDER]

The published network at four sizes: channels times `width`, windows of each channel times
`depth_multiplier`. About ten minutes, on one of the cores.
"""

from __future__ import annotations

import torch
from comparing import COLUMNS, cells, clothes, panels
from recording import bars, options, record

from convsmith.models import Model, create
from convsmith.training import Recipe

SIZES = ((0.125, 1), (0.25, 1), (0.25, 2), (0.5, 1))  # width, depth multiplier
RECIPE = Recipe(epochs=5, batch_size=16, flip=True)


def network(width: float, multiplier: int) -> Model:
    """For ten classes of grey images."""
    options = {"width": width, "depth_multiplier": multiplier}
    return create("mobilenet_v1", num_classes=10, in_channels=1, **options)


def main() -> None:
    """Train, measure, write."""
    given = options(__doc__)
    torch.set_num_threads(1)
    contest = clothes(given, size=32, images=2500, recipe=RECIPE)
    rows = [
        contest.row(f"width {width}, multiplier {m}", lambda size=(width, m): network(*size))[0]
        for width, m in SIZES[: 2 if given.quick else None]
    ]
    record(
        "mobilenet",
        given,
        title="MobileNet, wider and with more windows a channel",
        words=contest.words,
        columns=["network", *COLUMNS],
        rows=[cells(row) for row in rows],
        data=rows,
        picture=bars([row["name"] for row in rows], panels(rows, start=20)),
    )


if __name__ == "__main__":
    main()

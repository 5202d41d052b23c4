# SPDX-License-Identifier: Apache-2.0
"""Dilations that leave holes against dilations that do not, on the membranes of a brain.

    python examples/gridding.py [--quick] [--data-root FOLDER]

Three dilated 3x3 layers give every pixel a class. (2, 2, 2) sees 7 of the 13 places of its span
along each axis, (1, 2, 3) all 13, (1, 2, 5) all of 17. The three networks have the same weights in
number and the same cost. Each is trained with three seeds. About six minutes on two cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean
from typing import Any

import numpy as np
import torch
from recording import Options, options, record, say, spread, tiles
from torch import Tensor, nn

import convsmith as cs
from convsmith.geometry import Axis, touched
from convsmith.models import Preprocess
from convsmith.training import TrainingData, train, training_data

DILATIONS = ((2, 2, 2), (1, 2, 3), (1, 2, 5))
CHANNELS = 16
_NEVER = (246, 227, 197)  # light brown
STEPS = Preprocess(colour="L", size=96, mean=(0.5,), std=(0.25,), scale=255.0)


def network(dilations: Sequence[int]) -> nn.Module:
    """Three dilated layers with batch-norm, then two scores a pixel."""
    layers: list[nn.Module] = []
    for channels, d in zip((1, CHANNELS, CHANNELS), dilations, strict=True):
        layer = cs.Conv2d(channels, CHANNELS, 3, padding=d, dilation=d, bias=False)
        layers += [layer, nn.BatchNorm2d(CHANNELS), nn.ReLU()]
    return nn.Sequential(*layers, cs.PointwiseConv2d(CHANNELS, 2))


def seen(dilations: Sequence[int]) -> tuple[int, ...]:
    """The places along one axis that an output depends on."""
    return touched([Axis(3, dilation=d) for d in dilations])


def probed(model: nn.Module) -> Tensor:
    """How much the score in the middle moves with each pixel: the gradient's size, (25, 25)."""
    x = torch.randn(32, 1, 25, 25, requires_grad=True)
    model(x)[:, 1, 12, 12].sum().backward()
    assert x.grad is not None
    return x.grad.abs().mean((0, 1))


def trained(dilations: Sequence[int], data: TrainingData, given: Options) -> dict[str, Any]:
    """Measures of every seed, and what the first network looks at."""
    runs, probe = [], Tensor()
    for seed in range(1 if given.quick else 3):
        torch.manual_seed(seed)
        model = network(dilations)
        recipe = replace(data.recipe, epochs=1 if given.quick else 40, lr=1e-2, seed=seed)
        runs.append(train(model, data, recipe).measures)
        probe = probed(model) if not seed else probe
    say(f"{dilations}: {mean(run['held_out_miou'] for run in runs):.4f}")
    places = seen(dilations)
    return {
        "dilations": list(dilations),
        "seen": len(places),
        "span": places[-1] - places[0] + 1,
        "runs": runs,
        "probe": [[round(value, 6) for value in row] for row in probe.tolist()],
    }


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table."""
    unions = [run["held_out_miou"] for run in row["runs"]]
    right = mean(run["held_out_pixel_accuracy"] for run in row["runs"])
    return [
        str(tuple(row["dilations"])),
        f"{row['seen']} of {row['span']}",
        spread(unions, ".4f"),
        f"{right:.2%}",
    ]


def picture(rows: Sequence[dict[str, Any]]) -> str:
    """What the trained networks look at: dark pixels move the score in the middle most."""
    maps = [np.array(row["probe"]) for row in rows]
    levels = [255 - 255 * np.sqrt(probe / probe.max()) for probe in maps]
    pictures = [level.astype(np.uint8)[..., None].repeat(3, 2) for level in levels]
    for pixels, probe in zip(pictures, maps, strict=True):
        pixels[probe == 0] = _NEVER
    return tiles([pictures], [""], [str(tuple(row["dilations"])) for row in rows])


def main() -> None:
    """Train, measure, write."""
    given = options(__doc__)
    torch.set_num_threads(1)
    data = training_data("membrane", STEPS, root=given.data_root)
    rows = [trained(dilations, data, given) for dilations in DILATIONS]
    record(
        "gridding",
        given,
        title="Dilations with holes and without",
        words="Membranes, 16 images to train on and 4 held out, three seeds. The picture shows how "
        "much each pixel moves the score in the middle of a trained network; light brown is not at "
        "all: a place that no path touches.",
        columns=["dilations", "places seen an axis", "held-out mIoU", "pixels right"],
        rows=[cells(row) for row in rows],
        data=rows,
        picture=picture(rows),
    )


if __name__ == "__main__":
    main()

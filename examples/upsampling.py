# SPDX-License-Identifier: Apache-2.0
"""Four ways to double an image in the same decoder, on the membranes of a brain.

    python examples/upsampling.py [--quick] [--data-root FOLDER]

Transposed convolution 2x2 and 4x4, unpooling by stored index with a 3x3 convolution, and bilinear
interpolation with a 3x3 convolution. The checkerboard is how much the scores depend on whether a
pixel's row and column are even or odd: the spread of the four means over the spread of all scores.
Each is trained with three seeds. About eight minutes on two cores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import mean
from typing import Any

import torch
import torch.nn.functional as F
from recording import Options, Panel, bars, options, record, say, spread
from torch import Tensor, nn

import convsmith as cs
from convsmith.models import Preprocess
from convsmith.rewrite.inputs import Inputs
from convsmith.rewrite.timing import interleaved
from convsmith.training import TrainingData, train, training_data

C = 16
STEPS = Preprocess(colour="L", size=96, mean=(0.5,), std=(0.25,), scale=255.0)


class Transposed(nn.Module):
    """A transposed convolution of stride 2."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.layer = cs.ConvTranspose2d(C, C, kernel, stride=2, padding=(kernel - 2) // 2)

    def forward(self, x: Tensor, indices: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, 2 h, 2 w)."""
        return self.layer(x)


class Unpooled(nn.Module):
    """Every value back to where its maximum was, then a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = cs.UnpoolConv2d(C, C, 3, padding=1)

    def forward(self, x: Tensor, indices: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, 2 h, 2 w)."""
        return self.layer(x, indices)


class Interpolated(nn.Module):
    """Bilinear, then a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = cs.Conv2d(C, C, 3, padding=1)

    def forward(self, x: Tensor, indices: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, 2 h, 2 w)."""
        return self.layer(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))


WAYS: dict[str, Callable[[], nn.Module]] = {
    "transposed 2x2": lambda: Transposed(2),
    "transposed 4x4": lambda: Transposed(4),
    "unpooling + 3x3": Unpooled,
    "bilinear + 3x3": Interpolated,
}


class Segmenter(nn.Module):
    """Two poolings down, two doublings up, no skips; channels are 16 throughout."""

    def __init__(self, way: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.down = nn.ModuleList([_block(1), _block(C)])
        self.bottom = _block(C)
        self.doubling = nn.ModuleList([way(), way()])
        self.up = nn.ModuleList([_block(C), _block(C)])
        self.head = cs.PointwiseConv2d(C, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, h, w) to (n, 2, h, w)."""
        indices = []
        for block in self.down:
            x, where = F.max_pool2d(block(x), 2, return_indices=True)
            indices.append(where)
        x = self.bottom(x)
        for double, block in zip(self.doubling, self.up, strict=True):
            x = block(double(x, indices.pop()))
        return self.head(x)


def _block(in_channels: int) -> nn.Module:
    layer = cs.Conv2d(in_channels, C, 3, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(C), nn.ReLU())


def checkerboard(model: nn.Module, images: Tensor) -> float:
    """The spread of the means of even and odd rows and columns, over that of all scores."""
    with torch.inference_mode():
        scores = model(images)
        scores = (scores[:, 1] - scores[:, 0])[:, 8:-8, 8:-8]
    phases = torch.stack([scores[:, i::2, j::2].mean() for i in range(2) for j in range(2)])
    return float(phases.std(correction=0) / scores.std())


def trained(name: str, data: TrainingData, given: Options) -> tuple[nn.Module, dict[str, Any]]:
    """The last network, and the measures of every seed."""
    runs = []
    x, _ = data.held_out.batch(range(len(data.held_out)))
    for seed in range(1 if given.quick else 3):
        torch.manual_seed(seed)
        model = Segmenter(WAYS[name])
        before = checkerboard(model.eval(), x)
        recipe = replace(data.recipe, epochs=1 if given.quick else 40, lr=1e-2, seed=seed)
        measures = dict(train(model, data, recipe).measures)
        measures |= {"checkerboard": checkerboard(model, x), "checkerboard_before": before}
        runs.append(measures)
    say(f"{name}: {mean(run['held_out_miou'] for run in runs):.4f}")
    parameters = sum(p.numel() for p in model.parameters())
    return model, {"way": name, "runs": runs, "parameters": parameters}


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table."""

    def found(key: str) -> list[float]:
        return [run[key] for run in row["runs"]]

    return [
        row["way"],
        f"{row['parameters']:,}",
        f"{row['macs']:,}",
        spread(found("held_out_miou"), ".3f"),
        f"{row['ms']:.1f}",
        spread(found("checkerboard_before"), ".3f"),
        spread(found("checkerboard"), ".4f"),
    ]


def main() -> None:
    """Train, measure, write."""
    given = options(__doc__)
    torch.set_num_threads(1)
    data = training_data("membrane", STEPS, root=given.data_root)
    found = [trained(name, data, given) for name in WAYS]
    inputs = Inputs((torch.randn(1, 1, 256, 256),), {})
    rows = []
    for model, row in found:
        times = interleaved(found[0][0], model, inputs, budget_s=0.2 if given.quick else 4.0)
        macs = cs.analyze(model, (1, 1, 256, 256)).total.macs.all
        rows.append({**row, "ms": times.after.median_ms, "macs": macs})
    unions = [[run["held_out_miou"] for run in row["runs"]] for row in rows]
    boards = [[100 * run["checkerboard"] for run in row["runs"]] for row in rows]
    record(
        "upsampling",
        given,
        title="Four ways to double an image",
        words="Membranes, 16 images to train on and 4 held out, three seeds; time of one image of "
        "256 x 256 pixels, eager, each in turns with the first. The checkerboard is measured "
        "before training, too.",
        columns=[
            "doubled by",
            "parameters",
            "MACs at 256²",
            "held-out mIoU",
            "ms",
            "checkerboard before",
            "checkerboard after",
        ],
        rows=[cells(row) for row in rows],
        data=rows,
        picture=bars(
            list(WAYS),
            [
                Panel(title="mIoU", spans=[(mean(u), min(u), max(u)) for u in unions], digits=3),
                Panel(title="ms", spans=[(row["ms"],) * 3 for row in rows], digits=1),
                Panel(title="checkerboard, %", spans=[(mean(b), min(b), max(b)) for b in boards]),
            ],
        ),
    )


if __name__ == "__main__":
    main()

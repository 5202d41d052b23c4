# SPDX-License-Identifier: Apache-2.0
"""A small scan that is planned by hand: runners need no planner."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from convsmith.scanning.plan import Plan
from convsmith.scanning.sources import SyntheticSource
from convsmith.scanning.tiling import AxisPlan

SHAPE = (2, 37, 53)


def network() -> nn.Module:
    """A padded convolution at stride 2 with whole numbers, whose sums are exact."""
    layer = nn.Conv2d(2, 3, 3, stride=2, padding=1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randint(-4, 5, parameter.shape, generator=generator))
    return layer.eval()


def plan(core: int = 6, **others: Any) -> Plan:
    axes = tuple(
        AxisPlan.fitted(
            size=size, outputs=(size + 1) // 2, stride=2, a=-1, b=1, period=2, core=core
        )
        for size in SHAPE[1:]
    )
    fields = {"in_channels": 2, "out_channels": 3, "batch": 3} | others
    return Plan(axes=axes, **fields)


def whole() -> np.ndarray:
    """What the network gives for the whole image."""
    image = SyntheticSource(SHAPE).read((slice(0, SHAPE[1]), slice(0, SHAPE[2])))
    with torch.no_grad():
        return network()(torch.from_numpy(image[None]).float())[0].numpy()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a result but the run's own."""
    files = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {n: path.read_bytes() for n, path in names.items() if not n.startswith("convsmith/")}

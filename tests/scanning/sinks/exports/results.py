# SPDX-License-Identifier: Apache-2.0
"""Results to export, written tile by tile."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from convsmith.scanning.plan import Plan
from convsmith.scanning.sinks import Store, reduced
from convsmith.scanning.tiling import AxisPlan


def finished(folder: Path, plan: Plan, scores: np.ndarray, **given: Any) -> Store:
    """A result whose scores are given whole, as (channels, *outputs)."""
    store = Store.create(folder, plan, **given)
    wholes = reduced(torch.from_numpy(scores)[None], plan)
    for number in range(len(plan)):
        tile = plan.tile(number)
        store.write(tile, [whole[0][(slice(None), *tile.write)] for whole in wholes])
    return store


def sliding_axis(size: int, *, core: int) -> AxisPlan:
    """A convolution of 5 taps, stride 2, padding 1: output j sees the inputs 2 j - 1 to 2 j + 3."""
    outputs = (size + 2 - 5) // 2 + 1
    return AxisPlan.fitted(size=size, outputs=outputs, stride=2, a=-1, b=3, period=2, core=core)


def planned(*sizes: int, core: int = 7, **given: Any) -> Plan:
    axes = tuple(sliding_axis(size, core=core) for size in sizes)
    return Plan(axes=axes, in_channels=1, **{"out_channels": 3, **given})


def random_scores(plan: Plan) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.integers(-50, 50, (plan.out_channels, *plan.outputs)).astype(np.float32)

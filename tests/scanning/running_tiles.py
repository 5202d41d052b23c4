# SPDX-License-Identifier: Apache-2.0
"""Running tiles in memory, one after the other, for tests."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from convsmith.scanning.plan import Plan, Tile
from convsmith.scanning.tiling import AxisPlan

EVERYTHING = (slice(None), slice(None))


def plan_of(axes: Sequence[AxisPlan], channels: int) -> Plan:
    return Plan(axes=tuple(axes), in_channels=channels, out_channels=channels)


def run_tiles(
    network: Callable[[Tensor], Tensor],
    plan: Plan,
    image: Tensor,
    tile_of: Callable[[int], Tile] | None = None,
) -> Tensor:
    """The whole result, put together from tiles; NaN where none wrote.

    `tile_of` gives other tiles than the plan's, to see what becomes of them.
    """
    result = None
    for number in range(len(plan)):
        tile = (tile_of or plan.tile)(number)
        kept = network(image[EVERYTHING + tile.read])[EVERYTHING + tile.keep]
        if result is None:
            result = kept.new_full((*kept.shape[:2], *plan.outputs), torch.nan)
        result[EVERYTHING + tile.write] = kept
    assert result is not None
    return result

# SPDX-License-Identifier: Apache-2.0
"""One pass over an image for the moments of a network's map.

Every position of the map is counted once, by the tile that would write it.
"""

from functools import reduce
from typing import Literal

import torch
from torch import nn

from convsmith.scanning.plan import Plan
from convsmith.scanning.running.tile import normalised
from convsmith.scanning.sources import Source, read_window
from convsmith.scanning.statistics.moments import Moments


def moments_of_image(
    network: nn.Module, plan: Plan, image: Source, *, nan: Literal["error", "allow"] = "error"
) -> Moments:
    """The moments of the map that a network gives on an image, tile by tile under a plan.

    Raises:
        FormatError: if a sample of the image is not a number, and `nan` is "error".
    """

    def part(number: int) -> Moments:
        tile = plan.tile(number)
        pixels = normalised(read_window(image, tile.read, nan=nan), plan.preprocess)
        found = network(torch.from_numpy(pixels)[None])
        return Moments.of(found[(0, slice(None), *tile.keep)])

    with torch.no_grad():
        return reduce(Moments.__add__, map(part, range(len(plan))))  # as `combined`, one at a time

# SPDX-License-Identifier: Apache-2.0
"""What a level of the pyramid is made of."""

import torch
from torch import nn

from convsmith.models.pyramid import FeaturePyramid


def test_a_level_is_its_map_and_all_that_is_above_it() -> None:
    pyramid = FeaturePyramid([1, 1, 1], 1)
    for layer in pyramid.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
            nn.init.dirac_(layer.weight)
    maps = [torch.full((1, 1, 5, 7), 1.0), torch.full((1, 1, 3, 4), 10.0), torch.ones(1, 1, 2, 2)]
    maps[2][..., 1, 1] = 100
    fine, middle, coarse = pyramid(maps)
    assert torch.equal(coarse, maps[2])
    # Nearest: of 3 rows two lie nearer to the upper of 2 rows, and so on.
    above = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 1], [1, 1, 100, 100]])
    assert torch.equal(middle[0, 0], 10 + above)
    assert fine.shape == (1, 1, 5, 7)
    assert (fine[0, 0, 0, 0], fine[0, 0, 4, 6]) == (1 + 11, 1 + 110)

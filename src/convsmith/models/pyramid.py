# SPDX-License-Identifier: Apache-2.0
"""The feature pyramid: every scale of a backbone, with what the coarser scales know.

    map 4 ─ 1x1 ────────────────┬─ 3x3 ─ level 4
                      enlarged ─┤
    map 3 ─ 1x1 ────────────────+─ 3x3 ─ level 3
                      enlarged ─┤
    map 2 ─ 1x1 ────────────────+─ 3x3 ─ level 2

Source: Lin et al., Feature Pyramid Networks for Object Detection, 2017, arXiv:1612.03144, figure 3.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.convs import Conv2d, PointwiseConv2d


class FeaturePyramid(nn.Module):
    """Maps of a backbone, finest first, to as many levels of `channels` channels and the same
    sizes.
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(PointwiseConv2d(inputs, channels) for inputs in in_channels)
        self.smooth = nn.ModuleList(Conv2d(channels, channels, 3, padding=1) for _ in in_channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Shapes (n, in_channels[i], h / 2^i, w / 2^i) to (n, channels, h / 2^i, w / 2^i)."""
        levels = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for i in range(len(levels) - 1, 0, -1):
            above = F.interpolate(levels[i], size=levels[i - 1].shape[2:], mode="nearest")
            levels[i - 1] = levels[i - 1] + above
        return [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]

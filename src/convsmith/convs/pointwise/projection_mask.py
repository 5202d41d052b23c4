# SPDX-License-Identifier: Apache-2.0
"""A learned mask over positions: all channels projected to one map between 0 and 1."""

from typing import Any

import torch
from torch import Tensor, nn

from convsmith.convs.pointwise.pointwise import PointwiseConv2d


class ProjectionMask(nn.Module):
    """How much each position matters, from a 1x1 convolution to one channel.

    mask[n, 0, p, q] = sigmoid(bias + sum_i weight[i] tanh(x[n, i, p, q]))

    Multiply features by the mask to attend to positions; it broadcasts over their channels.

    `map` is the last mask, detached, for viewing; None before the first call. It is no part of the
    state_dict, copies and pickles start without it, and an exported program does not keep it.

    Shapes: (n, c, h, w) to (n, 1, h, w), or without n.
    Cost: n c h w macs.
    Source: Chen and McDuff, DeepPhys, 2018, section 3.2.

    >>> mask = ProjectionMask(32)
    >>> features = torch.randn(1, 32, 36, 36)
    >>> (features * mask(features)).shape, mask.map.shape
    (torch.Size([1, 32, 36, 36]), torch.Size([1, 1, 36, 36]))
    """

    map: Tensor | None

    def __init__(
        self, in_channels: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.projection = PointwiseConv2d(in_channels, 1, bias=bias, device=device, dtype=dtype)
        self.map = None

    def forward(self, input: Tensor) -> Tensor:
        mask = self.projection(input.tanh()).sigmoid()
        # An exported program may not assign attributes.
        if not torch.compiler.is_exporting():
            self.map = mask.detach()
        return mask

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "map": None}

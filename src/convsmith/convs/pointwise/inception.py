# SPDX-License-Identifier: Apache-2.0
"""The Inception module of GoogLeNet: windows of several sizes side by side, made cheap by 1x1
reductions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convsmith.convs.pointwise.pointwise import PointwiseConv2d
from convsmith.convs.standard import Conv2d
from convsmith.geometry import Macs


class InceptionModule(nn.Module):
    """Four branches over the same input, joined along the channels; the size does not change.

        1x1
        1x1 reduce -> 3x3
        1x1 reduce -> 5x5
        3x3 max pool -> 1x1 projection

    Each convolution is followed by its activation. The first seven arguments are a row of the
    paper's table 1, in its order.

    Args:
        reduce: False leaves the two 1x1 reductions out: 3x3 and 5x5 then read all input channels
            (`reduce_3x3` and `reduce_5x5` are not used). The output has the same channels.
        activation: Makes the module that follows every convolution.

    Cost: `macs`.
    Source: Szegedy et al., Going Deeper with Convolutions, 2014, figure 2b and table 1.

    >>> inception_3a = InceptionModule(192, 64, 96, 128, 16, 32, 32)
    >>> inception_3a(torch.zeros(1, 192, 28, 28)).shape, inception_3a.macs((1, 192, 28, 28)).all
    (torch.Size([1, 256, 28, 28]), 128049152)
    """

    def __init__(
        self,
        in_channels: int,
        channels_1x1: int,
        reduce_3x3: int,
        channels_3x3: int,
        reduce_5x5: int,
        channels_5x5: int,
        channels_pool: int,
        reduce: bool = True,
        activation: Callable[[], nn.Module] = nn.ReLU,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        kind = {"device": device, "dtype": dtype}

        def mix(channels: int) -> list[nn.Module]:
            return [PointwiseConv2d(in_channels, channels, **kind), activation()]

        def window(size: int, reduced: int, channels: int) -> list[nn.Module]:
            reduction = mix(reduced) if reduce else []
            width = reduced if reduce else in_channels
            convolution = Conv2d(width, channels, size, padding=size // 2, **kind)
            return [*reduction, convolution, activation()]

        self.out_channels = channels_1x1 + channels_3x3 + channels_5x5 + channels_pool
        self.branch_1x1 = nn.Sequential(*mix(channels_1x1))
        self.branch_3x3 = nn.Sequential(*window(3, reduce_3x3, channels_3x3))
        self.branch_5x5 = nn.Sequential(*window(5, reduce_5x5, channels_5x5))
        self.branch_pool = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), *mix(channels_pool))

    def _branches(self) -> tuple[nn.Sequential, ...]:
        return self.branch_1x1, self.branch_3x3, self.branch_5x5, self.branch_pool

    def forward(self, input: Tensor) -> Tensor:
        return torch.cat([branch(input) for branch in self._branches()], -3)

    def macs(self, input_shape: Sequence[int]) -> Macs:
        """Multiply-accumulates of all convolutions, for an input (N, C, H, W) or (C, H, W).

        Raises:
            ShapeError: if the shape does not fit the module.
        """
        total = Macs(0, 0)
        for branch in self._branches():
            shape = tuple(input_shape)
            for layer in branch:
                if isinstance(layer, Conv2d):
                    total += layer.geometry.macs(shape)
                    shape = layer.geometry.output_shape(shape)
        return total

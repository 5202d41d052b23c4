# SPDX-License-Identifier: Apache-2.0
"""The mlpconv layer of Network In Network: a small multilayer perceptron slides over the image."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from convsmith.convs.pointwise.pointwise import PointwiseConv2d
from convsmith.convs.standard import Conv2d
from convsmith.geometry import Ints, Padding


class MLPConv2d(nn.Sequential):
    """A convolution followed by pointwise layers, each with its activation.

    y = act(W_n ... act(W_1 act(conv(x))))

    Each pointwise step pools across the channels with learned weights ("cascaded cross-channel
    parametric pooling"). Where a convolution is one linear filter of a window, this is a perceptron
    of it.

    Args:
        mlp_channels: Widths between; the convolution makes the first, the last pointwise layer
            makes `out_channels`. Default: (out_channels, out_channels), so that two pointwise
            layers follow, as in the paper.
        activation: Makes the module that follows every layer.

    The other arguments are the convolution's. state_dict: `conv.*`, `pointwise1.*`, `pointwise2.*`.

    Cost: that of the convolution to mlp_channels[0], and width before x width after macs per
        position for each pointwise layer.
    Source: Lin, Chen, Yan, Network In Network, 2013, section 3.1, equation 2.

    >>> layer = MLPConv2d(3, 96, 5, mlp_channels=(192, 160), padding=2)
    >>> layer(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 96, 32, 32])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        mlp_channels: Sequence[int] | None = None,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        activation: Callable[[], nn.Module] = nn.ReLU,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        between = (out_channels, out_channels) if mlp_channels is None else tuple(mlp_channels)
        first, *others = (*between, out_channels)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["conv"] = Conv2d(
            in_channels,
            first,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        layers["conv_activation"] = activation()
        width = first
        for step, channels in enumerate(others, start=1):
            layers[f"pointwise{step}"] = PointwiseConv2d(
                width, channels, bias=bias, device=device, dtype=dtype
            )
            layers[f"pointwise{step}_activation"] = activation()
            width = channels
        super().__init__(layers)

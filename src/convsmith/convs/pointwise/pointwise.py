# SPDX-License-Identifier: Apache-2.0
"""Pointwise convolution: a fully connected layer over the channels, the same at every position.

    y[n, o, p] = bias[o] + sum_i weight[o, i] x[n, i, p stride]

Source: Lin, Chen, Yan, Network In Network, 2013, section 3.1.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn

from convsmith.convs.pointwise import core
from convsmith.convs.standard import Conv1d, Conv2d, Conv3d
from convsmith.convs.standard.standard import convolve_as_made
from convsmith.errors import ShapeError
from convsmith.family import Family, Sample, register
from convsmith.geometry import Geometry, Ints, per_axis


def recognizes(geometry: Geometry) -> bool:
    """Whether one pixel makes one pixel, from all channels: a single tap, no padding, no groups."""
    nothing_added = geometry.padding == "same" or not any(map(any, geometry.padding))
    single_tap = all(k == 1 for k in geometry.kernel_size)
    return type(geometry) is Geometry and single_tap and nothing_added and geometry.groups == 1


def reference(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Ints = 1) -> Tensor:
    """Every input channel times its weight, summed, at each position that the stride keeps."""
    axes = weight.ndim - 2
    kept = tuple(slice(None, None, s) for s in per_axis("stride", stride, axes))
    x = x[(slice(None),) * (x.ndim - axes) + kept]
    y = (x.unsqueeze(-axes - 2) * weight).sum(-axes - 1)
    return y if bias is None else y + bias.reshape(-1, *(1,) * axes)


def _mix_channels(
    axes: int, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Ints
) -> Tensor:
    if any(k != 1 for k in weight.shape[2:]):
        raise ShapeError(
            f"pointwise_conv{axes}d: weight {tuple(weight.shape)} has a kernel of "
            f"{tuple(weight.shape[2:])}; every kernel axis must be 1: use conv{axes}d"
        )
    return _mix_as_made(axes, x, weight, bias, per_axis("stride", stride, axes))


def _mix_as_made(
    axes: int, x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...]
) -> Tensor:
    """The same for a layer, whose options were checked when it was made."""
    if core.serves(x, weight, bias, stride):
        return core.mix_channels(x, weight, bias, stride)
    return convolve_as_made(axes, x, weight, bias, stride, (0,) * axes, (1,) * axes, 1)


def pointwise_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Ints = 1
) -> Tensor:
    """`pointwise_conv2d` along one axis: x (n, c, l), weight (o, c, 1), result (n, o, l').

    >>> pointwise_conv1d(torch.tensor([[[1.0, 2], [3, 4]]]), torch.tensor([[[1.0], [10]]]))
    tensor([[[31., 42.]]])
    """
    return _mix_channels(1, x, weight, bias, stride)


def pointwise_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Ints = 1
) -> Tensor:
    """Mix the channels of each pixel; no pixel meets another.

    y[n, o, p, q] = bias[o] + sum_i weight[o, i, 0, 0] x[n, i, p*stride, q*stride]

    Args:
        x: Input, shape (n, c, h, w) or (c, h, w). Any floating dtype.
        weight: A matrix over the channels, shape (o, c, 1, 1).
        bias: One number per output channel, shape (o,).
        stride: Keep every stride-th pixel; an int or one per axis.

    Returns:
        Shape (n, o, ceil(h / stride), ceil(w / stride)).

    Raises:
        ShapeError: if the kernel is larger than one pixel, or the stride is below 1. Channels that
            do not fit raise torch's own RuntimeError.

    Cost: n o h' w' c macs.
    Source: Lin et al. 2013, section 3.1.

    >>> pointwise_conv2d(torch.zeros(1, 100, 50, 50), torch.zeros(20, 100, 1, 1)).shape
    torch.Size([1, 20, 50, 50])
    """
    return _mix_channels(2, x, weight, bias, stride)


def pointwise_conv3d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Ints = 1
) -> Tensor:
    """`pointwise_conv2d` along three axes.

    >>> pointwise_conv3d(torch.zeros(1, 2, 3, 4, 5), torch.zeros(8, 2, 1, 1, 1), stride=2).shape
    torch.Size([1, 8, 2, 2, 3])
    """
    return _mix_channels(3, x, weight, bias, stride)


class _Pointwise(nn.Module):
    """Standard convolution's layer with a kernel of one pixel."""

    axes: int
    stride: tuple[int, ...]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: Ints = 1,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, 1, stride, bias=bias, device=device, dtype=dtype
        )

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _mix_as_made(self.axes, input, weight, bias, self.stride)


class PointwiseConv1d(_Pointwise, Conv1d):
    """A 1x1 convolution along one axis; state_dict of `torch.nn.Conv1d`. See `pointwise_conv1d`.

    >>> PointwiseConv1d(4, 8)(torch.zeros(2, 4, 9)).shape
    torch.Size([2, 8, 9])
    """


class PointwiseConv2d(_Pointwise, Conv2d):
    """A 1x1 convolution: `torch.nn.Conv2d(in_channels, out_channels, 1)`. See `pointwise_conv2d`.

    >>> PointwiseConv2d(64, 128)(torch.zeros(2, 64, 32, 32)).shape
    torch.Size([2, 128, 32, 32])
    """


class PointwiseConv3d(_Pointwise, Conv3d):
    """A 1x1x1 convolution; state_dict of `torch.nn.Conv3d`. See `pointwise_conv3d`.

    >>> PointwiseConv3d(2, 3, stride=2)(torch.zeros(1, 2, 4, 5, 6)).shape
    torch.Size([1, 3, 2, 3, 3])
    """


def apply(function: Any, layer: Any, x: Tensor) -> Tensor:
    """The op or the reference, with a layer's weights and options."""
    return function(x, layer.weight, layer.bias, layer.stride)


def _samples() -> list[Sample]:
    return [
        Sample(
            name="3 to 4 channels",
            layer=partial(PointwiseConv2d, 3, 4),
            twin=partial(nn.Conv2d, 3, 4, 1),
            input_shape=(2, 3, 5, 7),
        ),
        Sample(
            name="stride (2, 3), no bias",
            layer=partial(PointwiseConv2d, 5, 2, stride=(2, 3), bias=False),
            twin=partial(nn.Conv2d, 5, 2, 1, stride=(2, 3), bias=False),
            input_shape=(1, 5, 6, 7),
        ),
        Sample(
            name="1-D",
            layer=partial(PointwiseConv1d, 4, 3, stride=2),
            twin=partial(nn.Conv1d, 4, 3, 1, stride=2),
            input_shape=(2, 4, 9),
        ),
        Sample(
            name="3-D",
            layer=partial(PointwiseConv3d, 2, 3),
            twin=partial(nn.Conv3d, 2, 3, 1),
            input_shape=(1, 2, 3, 4, 2),
        ),
    ]


register(
    Family(
        name="pointwise",
        layers={1: PointwiseConv1d, 2: PointwiseConv2d, 3: PointwiseConv3d},
        ops={1: pointwise_conv1d, 2: pointwise_conv2d, 3: pointwise_conv3d},
        reference=reference,
        apply=apply,
        recognizes=recognizes,
        samples=_samples,
        source="Lin, Chen, Yan, Network In Network, 2013, section 3.1",
    )
)

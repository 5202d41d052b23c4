# SPDX-License-Identifier: Apache-2.0
"""Involution's layers: generate a kernel for every place, then multiply and add."""

from collections.abc import Callable
from math import prod
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.convs.involution.functional import involution1d, involution2d, involution3d
from convsmith.convs.involution.geometry import BottleneckGeometry, InvolutionGeometry
from convsmith.convs.pointwise import PointwiseConv1d, PointwiseConv2d, PointwiseConv3d
from convsmith.errors import ShapeError
from convsmith.geometry import Ints, batch_of, per_axis

_POINTWISE: dict[int, type[nn.Module]] = {
    1: PointwiseConv1d,
    2: PointwiseConv2d,
    3: PointwiseConv3d,
}
_NORM: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_AVERAGE: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d}


class Bottleneck(nn.Module):
    """The paper's kernel generator: average pooling by the stride, reduce (1x1, BN, ReLU), span
    (1x1).

    The last pool of an odd size averages what is left of the input.

    >>> generator = Bottleneck(32, reduced=8, taps=9 * 2, stride=(2, 2))
    >>> generator(torch.zeros(1, 32, 5, 6)).shape
    torch.Size([1, 18, 3, 3])
    """

    def __init__(
        self,
        channels: int,
        reduced: int,
        taps: int,
        stride: tuple[int, ...],
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        axes = len(stride)
        placement = {"device": device, "dtype": dtype}
        self.geometry = BottleneckGeometry(
            channels=channels, reduced=reduced, taps=taps, stride=stride
        )
        self.reduce = _POINTWISE[axes](channels, reduced, bias=False, **placement)
        self.norm = _NORM[axes](reduced, **placement)
        self.span = _POINTWISE[axes](reduced, taps, **placement)

    def forward(self, x: Tensor) -> Tensor:
        if max(self.geometry.stride) > 1:
            x = _averaged(x, self.geometry.stride)
        return self.span(F.relu(self.norm(self.reduce(x))))


def _averaged(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """The mean of each window of stride x stride, as much of it as lies in the input."""
    if len(stride) < 3:
        return _AVERAGE[len(stride)](x, stride, stride, ceil_mode=True)
    # torch's 3-D pooling takes no half precision on the CPU, and no window larger than the input
    window = [min(s, n) for s, n in zip(stride, x.shape[2:], strict=True)]
    wide = x.float() if x.element_size() == 2 else x
    return F.avg_pool3d(wide, window, stride, ceil_mode=True).to(x.dtype)


class _Involution(nn.Module):
    """What the layers for 1, 2 and 3 axes share: a kernel generator and its geometry."""

    axes: ClassVar[int]
    function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        dilation: Ints = 1,
        group_channels: int = 16,
        reduction: int = 4,
        generator: nn.Module | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        per_axis(
            f"{name}: channels, group_channels and reduction",
            (channels, group_channels, reduction),
            3,
        )
        if channels % group_channels:
            raise ShapeError(
                f"{name}: {channels} channels must be divisible by group_channels "
                f"{group_channels}; give a divisor of {channels}, or {channels} for one kernel "
                "shared by all"
            )
        if generator is None and reduction > channels:
            raise ShapeError(
                f"{name}: reduction {reduction} leaves none of {channels} channels; give at most "
                f"{channels}"
            )
        self.channels, self.group_channels = channels, group_channels
        self.kernel_size = per_axis("kernel_size", kernel_size, self.axes)
        self.stride = per_axis("stride", stride, self.axes)
        self.dilation = per_axis("dilation", dilation, self.axes)
        self.generator = generator or Bottleneck(
            channels,
            channels // reduction,
            prod(self.kernel_size) * self.kernel_groups,
            self.stride,
            device,
            dtype,
        )

    @property
    def kernel_groups(self) -> int:
        """Kernels at each place."""
        return self.channels // self.group_channels

    @property
    def geometry(self) -> InvolutionGeometry:
        """The layer as plain integers."""
        return InvolutionGeometry(
            in_channels=self.channels,
            out_channels=self.channels,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding="same",
            dilation=self.dilation,
            kernel_groups=self.kernel_groups,
            generator=getattr(self.generator, "geometry", None),
        )

    def values(self, x: Tensor) -> Tensor:
        """What the kernels are applied to: the input itself."""
        return x

    def kernels(self, x: Tensor) -> Tensor:
        """The generated kernels of a batch, (n, groups, taps, ...)."""
        kernels = self.generator(x)
        if kernels.ndim > x.ndim:
            return kernels
        return kernels.unflatten(1, (self.kernel_groups, prod(self.kernel_size)))

    def by(self, function: Callable[..., Tensor], x: Tensor) -> Tensor:
        """The layer's result with `function` doing the multiply-add."""
        batch_of(x.shape, self.axes, self.channels)
        batch = x if x.ndim == self.axes + 2 else x[None]
        y = function(
            self.values(batch),
            self.kernels(batch),
            stride=self.stride,
            dilation=self.dilation,
            kernel_size=self.kernel_size,
        )
        return y if batch is x else y[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.by(type(self).function, x)

    def extra_repr(self) -> str:
        return (
            f"{self.channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"dilation={self.dilation}, group_channels={self.group_channels}"
        )


class Involution1d(_Involution):
    """`Involution2d` along one axis.

    >>> Involution1d(32, 7, stride=2)(torch.zeros(2, 32, 11)).shape
    torch.Size([2, 32, 6])
    """

    axes = 1
    function = staticmethod(involution1d)


class Involution2d(_Involution):
    """A kernel for every place, generated from the input there and shared by a group of channels.
    See `involution2d`.

    The output has ceil(size / stride) places along each axis. `generator` is built (1x1 to
    channels // reduction, BN, ReLU, 1x1; average pooling by the stride first) or given: any module
    that turns x (n, c, h, w) into (n, g*kh*kw, h', w') or (n, g, kh*kw, h', w'), g = channels //
    group_channels. A given one is counted, and its reach known, if it has a `geometry` with
    macs(input_shape) and cone(input_shape).

    >>> Involution2d(32, 7, stride=2)(torch.zeros(1, 32, 9, 14)).shape
    torch.Size([1, 32, 5, 7])
    """

    axes = 2
    function = staticmethod(involution2d)


class Involution3d(_Involution):
    """`Involution2d` along three axes.

    >>> Involution3d(16, 3)(torch.zeros(1, 16, 3, 4, 5)).shape
    torch.Size([1, 16, 3, 4, 5])
    """

    axes = 3
    function = staticmethod(involution3d)

# SPDX-License-Identifier: Apache-2.0
"""Depthwise separable convolution: each channel by its own filters, then the channels mixed.

    t[n, c m + j, p] = sum_r depthwise[c m + j, 0, r] x[n, c, p stride + r dilation - padding]
    y[n, o, p] = bias[o] + sum_k pointwise[o, k] t[n, k, p]

Source: Sifre, Rigid-Motion Scattering for Image Classification, PhD thesis, 2014, section 6.2;
Howard et al., MobileNets, 2017, section 3.1; Chollet, Xception, 2017.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from convsmith.convs.depthwise import (
    DepthwiseConv1d,
    DepthwiseConv2d,
    DepthwiseConv3d,
    depthwise_conv1d,
    depthwise_conv2d,
    depthwise_conv3d,
)
from convsmith.convs.depthwise.depthwise import reference as convolve_each
from convsmith.convs.depthwise_separable.separable_geometry import DepthwiseSeparableGeometry
from convsmith.convs.pointwise import (
    PointwiseConv1d,
    PointwiseConv2d,
    PointwiseConv3d,
    pointwise_conv1d,
    pointwise_conv2d,
    pointwise_conv3d,
)
from convsmith.convs.pointwise.pointwise import reference as mix_channels
from convsmith.family import Family, Sample, register
from convsmith.geometry import Geometry, Ints, Padding


def recognizes(geometry: Geometry) -> bool:
    """Whether it is a geometry of two steps."""
    return isinstance(geometry, DepthwiseSeparableGeometry)


def reference(
    x: Tensor,
    depthwise_weight: Tensor,
    pointwise_weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> Tensor:
    """The two references, one after the other."""
    between = convolve_each(x, depthwise_weight, None, stride, padding, dilation)
    return mix_channels(between, pointwise_weight, bias)


def depthwise_separable_conv1d(
    x: Tensor,
    depthwise_weight: Tensor,
    pointwise_weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> Tensor:
    """`depthwise_separable_conv2d` along one axis: weights (c*m, 1, k) and (o, c*m, 1).

    >>> x = torch.tensor([[[1.0, 2, 3], [4, 5, 6]]])
    >>> windows, mixing = torch.tensor([[[1.0, 1]], [[0, 10]]]), torch.tensor([[[1.0], [1]]])
    >>> depthwise_separable_conv1d(x, windows, mixing)
    tensor([[[53., 65.]]])
    """
    between = depthwise_conv1d(x, depthwise_weight, None, stride, padding, dilation)
    return pointwise_conv1d(between, pointwise_weight, bias)


def depthwise_separable_conv2d(
    x: Tensor,
    depthwise_weight: Tensor,
    pointwise_weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> Tensor:
    """Convolve each channel with its own filters, then mix the channels of each pixel.

    t[n, c*m + j, p, q] = sum_{r, s} depthwise_weight[c*m + j, 0, r, s] x[n, c, p*stride +
    r*dilation - padding, q*stride + ...]
    y[n, o, p, q] = bias[o] + sum_k pointwise_weight[o, k, 0, 0] t[n, k, p, q]

    Args:
        x: Input, shape (n, c, h, w) or (c, h, w). Any floating dtype.
        depthwise_weight: Shape (c*m, 1, kh, kw); m, the depth multiplier, is how many filters a
            channel has.
        pointwise_weight: Shape (o, c*m, 1, 1).
        bias: One number per output channel, shape (o,).
        stride: Input pixels from one output to the next; an int or one per axis.
        padding: As in `conv2d`: integers, (before, after) pairs, 'valid' or 'same'.
        dilation: Input pixels from one tap to the next.

    Returns:
        Shape (n, o, h', w'), h' as in `conv2d`.

    Raises:
        ShapeError: as `depthwise_conv2d` and `pointwise_conv2d`; channels that do not fit raise
            torch's own RuntimeError.

    Cost: n h' w' c*m (kh kw + o) macs, against n h' w' c kh kw o of a standard convolution.
    Source: Howard et al., MobileNets, 2017, section 3.1.

    >>> x, windows = torch.zeros(1, 3, 12, 12), torch.zeros(3, 1, 5, 5)
    >>> depthwise_separable_conv2d(x, windows, torch.zeros(256, 3, 1, 1)).shape
    torch.Size([1, 256, 8, 8])
    """
    between = depthwise_conv2d(x, depthwise_weight, None, stride, padding, dilation)
    return pointwise_conv2d(between, pointwise_weight, bias)


def depthwise_separable_conv3d(
    x: Tensor,
    depthwise_weight: Tensor,
    pointwise_weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> Tensor:
    """`depthwise_separable_conv2d` along three axes.

    >>> x, windows = torch.zeros(1, 2, 4, 5, 6), torch.zeros(2, 1, 3, 3, 3)
    >>> depthwise_separable_conv3d(x, windows, torch.zeros(7, 2, 1, 1, 1)).shape
    torch.Size([1, 7, 2, 3, 4])
    """
    between = depthwise_conv3d(x, depthwise_weight, None, stride, padding, dilation)
    return pointwise_conv3d(between, pointwise_weight, bias)


class _DepthwiseSeparable(nn.Sequential):
    """The two layers one after the other, each followed by its norm and activation if there are
    any.
    """

    _depthwise: ClassVar[Callable[..., nn.Module]]
    _pointwise: ClassVar[Callable[..., nn.Module]]
    depthwise: Any
    pointwise: Any

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        depth_multiplier: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        norm: Callable[[int], nn.Module] | None = None,
        activation: Callable[[], nn.Module] | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        kind = {"device": device, "dtype": dtype}
        steps: OrderedDict[str, nn.Module] = OrderedDict()

        def follow(step: str, channels: int) -> None:
            if norm is not None:
                steps[f"{step}_norm"] = norm(channels).to(**kind)
            if activation is not None:
                steps[f"{step}_activation"] = activation()

        depthwise = self._depthwise(
            in_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            depth_multiplier,
            bias=False,
            padding_mode=padding_mode,
            **kind,
        )
        channels = in_channels * depth_multiplier
        steps["depthwise"] = depthwise
        follow("depthwise", channels)
        steps["pointwise"] = self._pointwise(channels, out_channels, bias=bias, **kind)
        follow("pointwise", out_channels)
        super().__init__(steps)

    @property
    def geometry(self) -> DepthwiseSeparableGeometry:
        """The layer as plain integers."""
        depthwise = self.depthwise.geometry
        return DepthwiseSeparableGeometry(
            in_channels=depthwise.in_channels,
            out_channels=self.pointwise.out_channels,
            kernel_size=depthwise.kernel_size,
            stride=depthwise.stride,
            padding=depthwise.padding,
            dilation=depthwise.dilation,
            depth_multiplier=self.depthwise.depth_multiplier,
        )


class DepthwiseSeparableConv1d(_DepthwiseSeparable):
    """A depthwise, then a pointwise convolution along one axis. See `DepthwiseSeparableConv2d`.

    >>> DepthwiseSeparableConv1d(4, 6, 3, padding=1)(torch.zeros(1, 4, 9)).shape
    torch.Size([1, 6, 9])
    """

    _depthwise = DepthwiseConv1d
    _pointwise = PointwiseConv1d


class DepthwiseSeparableConv2d(_DepthwiseSeparable):
    """A depthwise convolution without bias, then a pointwise one with it; see
    `depthwise_separable_conv2d`.

    As in Keras' SeparableConv nothing stands between the two, unless it is asked for:

    Args:
        norm: Makes the norm for a number of channels; one follows each of the two steps, as in
            MobileNet (which has bias=False then).
        activation: Makes the activation that follows each of the two steps, after its norm.

    The other arguments are the depthwise layer's; `bias` is the pointwise layer's.
    state_dict: `depthwise.weight`, `pointwise.weight`, `pointwise.bias`; with a norm also
    `depthwise_norm.*` and `pointwise_norm.*`.

    >>> DepthwiseSeparableConv2d(16, 32, 3, padding=1)(torch.zeros(1, 16, 8, 8)).shape
    torch.Size([1, 32, 8, 8])
    >>> mobile = {"bias": False, "norm": nn.BatchNorm2d, "activation": nn.ReLU6}
    >>> [name for name, _ in DepthwiseSeparableConv2d(16, 32, 3, **mobile).named_children()][:3]
    ['depthwise', 'depthwise_norm', 'depthwise_activation']
    """

    _depthwise = DepthwiseConv2d
    _pointwise = PointwiseConv2d


class DepthwiseSeparableConv3d(_DepthwiseSeparable):
    """A depthwise, then a pointwise convolution along three axes. See `DepthwiseSeparableConv2d`.

    >>> DepthwiseSeparableConv3d(2, 3, 3, padding=1)(torch.zeros(1, 2, 4, 5, 6)).shape
    torch.Size([1, 3, 4, 5, 6])
    """

    _depthwise = DepthwiseConv3d
    _pointwise = PointwiseConv3d


def apply(function: Callable[..., Tensor], layer: Any, x: Tensor) -> Tensor:
    """The op or the reference, with the weights and options of a layer without norm and
    activation.
    """
    first, second = layer.depthwise, layer.pointwise
    return function(
        x, first.weight, second.weight, second.bias, first.stride, first.padding, first.dilation
    )


def _samples() -> list[Sample]:
    return [
        Sample(
            name="3x3, padding 1",
            layer=partial(DepthwiseSeparableConv2d, 3, 4, 3, padding=1),
            input_shape=(2, 3, 7, 5),
        ),
        Sample(
            name="3x5, multiplier 2, stride 2 'same', dilation (2, 1), no bias",
            layer=partial(
                DepthwiseSeparableConv2d,
                2,
                3,
                (3, 5),
                stride=2,
                padding="same",
                dilation=(2, 1),
                depth_multiplier=2,
                bias=False,
            ),
            input_shape=(1, 2, 8, 7),
        ),
        Sample(
            name="1-D",
            layer=partial(DepthwiseSeparableConv1d, 3, 2, 4, stride=3, padding=2),
            input_shape=(2, 3, 13),
        ),
        Sample(
            name="3-D",
            layer=partial(DepthwiseSeparableConv3d, 2, 3, (2, 3, 3), padding=(0, 1, 1)),
            input_shape=(1, 2, 3, 4, 3),
        ),
    ]


register(
    Family(
        name="depthwise separable",
        layers={
            1: DepthwiseSeparableConv1d,
            2: DepthwiseSeparableConv2d,
            3: DepthwiseSeparableConv3d,
        },
        ops={
            1: depthwise_separable_conv1d,
            2: depthwise_separable_conv2d,
            3: depthwise_separable_conv3d,
        },
        reference=reference,
        apply=apply,
        recognizes=recognizes,
        samples=_samples,
        source="Howard et al., MobileNets, 2017, section 3.1; Chollet, Xception, 2017",
    )
)

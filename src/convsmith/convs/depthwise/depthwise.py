# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolution: every channel is convolved by its own filters; channels never mix.

    y[n, c m + j, p] = bias[c m + j]
        + sum_r weight[c m + j, 0, r] x[n, c, p stride + r dilation - padding]

with j < m, the depth multiplier: filters per channel.

Source: Sifre, Rigid-Motion Scattering for Image Classification, PhD thesis, 2014, section 6.2;
Howard et al., MobileNets, 2017, equation 3.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from convsmith.convs.depthwise import core
from convsmith.convs.padding import resolve
from convsmith.convs.standard import Conv1d, Conv2d, Conv3d
from convsmith.convs.standard.standard import convolve as convolve_with_padding
from convsmith.convs.standard.standard import convolve_as_made
from convsmith.convs.standard.standard import reference as convolve
from convsmith.errors import ShapeError
from convsmith.family import Family, Sample, register
from convsmith.geometry import Axis, Geometry, Ints, Padding, per_axis


def recognizes(geometry: Geometry) -> bool:
    """Whether every one of several channels is a group of its own."""
    return type(geometry) is Geometry and geometry.groups == geometry.in_channels > 1


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> Tensor:
    """One filter at a time over its one channel; the results side by side."""
    channels = 1 - weight.ndim  # the axis of the channels, counted from the end
    multiplier = weight.shape[0] // x.shape[channels]
    planes = (
        convolve(x.narrow(channels, o // multiplier, 1), w, None, stride, padding, dilation)
        for o, w in enumerate(weight.split(1))
    )
    y = torch.cat(list(planes), channels)
    return y if bias is None else y + bias.reshape(-1, *(1,) * (weight.ndim - 2))


def _convolve_each(
    axes: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
) -> Tensor:
    if x.ndim not in (axes + 1, axes + 2):
        raise ShapeError(
            f"depthwise_conv{axes}d: x {tuple(x.shape)} has {x.ndim} dimensions; {axes} spatial "
            f"axes need {axes + 2} (batch, channels, ...) or {axes + 1} (channels, ...)"
        )
    return _convolve(axes, x, weight, bias, stride, padding, dilation, x.shape[-axes - 1])


def _windows(
    shape: torch.Size, kernel: torch.Size, stride: Ints, padding: Padding, dilation: Ints
) -> tuple[Axis, ...]:
    strides = per_axis("stride", stride, len(kernel))
    dilations = per_axis("dilation", dilation, len(kernel))
    pairs = resolve(padding, shape, kernel, strides, dilations)
    rows = zip(kernel, strides, pairs, dilations, strict=True)
    return tuple(Axis(k, s, *p, d) for k, s, p, d in rows)


_remembered_windows = lru_cache(maxsize=1024)(_windows)


def _windows_of_layer(*sizes: Any) -> tuple[Axis, ...]:
    """A layer's sizes were checked when it was made: the answer may be remembered."""
    try:
        return _remembered_windows(*sizes)
    except TypeError:  # a list, put there by hand
        return _windows(*sizes)


def _convolve(
    axes: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
    channels: int,
    windows: Callable[..., tuple[Axis, ...]] = _windows,
    otherwise: Callable[..., Tensor] = convolve_with_padding,
) -> Tensor:
    """By the core where it may be called directly, else by torch."""
    # What costs least is asked first: a small layer is done sooner than the rest.
    if core.may_be_faster(x, weight) and core.serves(x, weight, bias, channels):
        sizes = windows(x.shape, weight.shape[2:], stride, padding, dilation)
        y = core.convolve(x, weight, bias, sizes) if core.is_faster(x, weight, sizes) else None
        if y is not None:
            return y
    return otherwise(axes, x, weight, bias, stride, padding, dilation, channels)


_convolve_as_made = partial(_convolve, windows=_windows_of_layer, otherwise=convolve_as_made)


def depthwise_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> Tensor:
    """`depthwise_conv2d` along one axis: x (n, c, l), weight (c*m, 1, k), result (n, c*m, l').

    >>> x = torch.tensor([[[1.0, 2, 3], [4, 5, 6]]])
    >>> depthwise_conv1d(x, torch.tensor([[[1.0, 1]], [[0, 10]]]))
    tensor([[[ 3.,  5.],
             [50., 60.]]])
    """
    return _convolve_each(1, x, weight, bias, stride, padding, dilation)


def depthwise_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> Tensor:
    """Convolve each channel with its own filters; channels never mix.

    y[n, c*m + j, p, q] = bias[c*m + j] + sum_{r, s} weight[c*m + j, 0, r, s] x[n, c, p*stride +
    r*dilation - padding, q*stride + ...]

    Args:
        x: Input, shape (n, c, h, w) or (c, h, w). Any floating dtype.
        weight: Filters, shape (c*m, 1, kh, kw); m, the depth multiplier, is how many a channel has.
        bias: One number per filter, shape (c*m,).
        stride: Input pixels from one output to the next; an int or one per axis.
        padding: As in `conv2d`: integers, (before, after) pairs, 'valid' or 'same'.
        dilation: Input pixels from one tap to the next.

    Returns:
        Shape (n, c*m, h', w'), h' as in `conv2d`.

    Raises:
        ShapeError: if x has neither three nor four axes, or stride, padding or dilation is negative
            or of the wrong length. Filters that are no multiple of the channels raise torch's own
            RuntimeError.

    Cost: n c*m h' w' kh kw macs.
    Source: Howard et al., MobileNets, 2017, equation 3.

    >>> depthwise_conv2d(torch.ones(1, 3, 8, 8), torch.ones(6, 1, 3, 3), padding=1).shape
    torch.Size([1, 6, 8, 8])
    """
    return _convolve_each(2, x, weight, bias, stride, padding, dilation)


def depthwise_conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> Tensor:
    """`depthwise_conv2d` along three axes.

    >>> depthwise_conv3d(torch.ones(1, 2, 4, 5, 6), torch.ones(2, 1, 3, 3, 3)).shape
    torch.Size([1, 2, 2, 3, 4])
    """
    return _convolve_each(3, x, weight, bias, stride, padding, dilation)


class _Depthwise(nn.Module):
    """Standard convolution's layer with every channel a group of its own."""

    in_channels: int
    out_channels: int

    def __init__(
        self,
        in_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        depth_multiplier: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        (filters,) = per_axis("depth_multiplier", depth_multiplier, 1)
        super().__init__(
            in_channels,
            in_channels * filters,
            kernel_size,
            stride,
            padding,
            dilation,
            in_channels,
            bias,
            padding_mode,
            device,
            dtype,
        )

    @property
    def depth_multiplier(self) -> int:
        """Filters, and so output channels, per input channel."""
        return self.out_channels // self.in_channels


class DepthwiseConv1d(_Depthwise, Conv1d):
    """Each channel along one axis by its own filters. See `DepthwiseConv2d`, `depthwise_conv1d`.

    >>> DepthwiseConv1d(4, 3, depth_multiplier=2)(torch.zeros(1, 4, 9)).shape
    torch.Size([1, 8, 7])
    """

    function = staticmethod(partial(_convolve_as_made, 1))


class DepthwiseConv2d(_Depthwise, Conv2d):
    """Each channel by its own filters: `torch.nn.Conv2d` with groups=in_channels, the same
    state_dict. See `depthwise_conv2d`.

    There are `in_channels * depth_multiplier` output channels.

    >>> DepthwiseConv2d(32, 3, stride=2, padding="same")(torch.zeros(1, 32, 112, 112)).shape
    torch.Size([1, 32, 56, 56])
    """

    function = staticmethod(partial(_convolve_as_made, 2))


class DepthwiseConv3d(_Depthwise, Conv3d):
    """Each channel along three axes by its own filters. See `DepthwiseConv2d`, `depthwise_conv3d`.

    >>> DepthwiseConv3d(2, 3, padding=1)(torch.zeros(1, 2, 4, 5, 6)).shape
    torch.Size([1, 2, 4, 5, 6])
    """


def apply(function: Any, layer: Any, x: Tensor) -> Tensor:
    """The op or the reference, with a layer's weights and options."""
    return function(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation)


def _samples() -> list[Sample]:
    return [
        Sample(
            name="3x3, padding 1",
            layer=partial(DepthwiseConv2d, 3, 3, padding=1),
            twin=partial(nn.Conv2d, 3, 3, 3, padding=1, groups=3),
            input_shape=(2, 3, 7, 5),
        ),
        Sample(
            name="5x3, multiplier 2, stride 2 'same', dilation (1, 2), no bias",
            layer=partial(
                DepthwiseConv2d,
                2,
                (5, 3),
                stride=2,
                padding="same",
                dilation=(1, 2),
                depth_multiplier=2,
                bias=False,
            ),
            input_shape=(1, 2, 8, 7),
        ),
        Sample(
            name="1-D, multiplier 3",
            layer=partial(DepthwiseConv1d, 2, 4, stride=3, padding=2, depth_multiplier=3),
            twin=partial(nn.Conv1d, 2, 6, 4, stride=3, padding=2, groups=2),
            input_shape=(2, 2, 13),
        ),
        Sample(
            name="3-D",
            layer=partial(DepthwiseConv3d, 2, (2, 3, 3), padding=(0, 1, 1)),
            twin=partial(nn.Conv3d, 2, 2, (2, 3, 3), padding=(0, 1, 1), groups=2),
            input_shape=(1, 2, 3, 4, 3),
        ),
    ]


register(
    Family(
        name="depthwise",
        layers={1: DepthwiseConv1d, 2: DepthwiseConv2d, 3: DepthwiseConv3d},
        ops={1: depthwise_conv1d, 2: depthwise_conv2d, 3: depthwise_conv3d},
        reference=reference,
        apply=apply,
        recognizes=recognizes,
        samples=_samples,
        source="Howard et al., MobileNets: Efficient CNNs for Mobile Vision, 2017, equation 3",
    )
)

# SPDX-License-Identifier: Apache-2.0
"""Unpooling convolution: values go back where max pooling found them, then a convolution fills in.

    u[n, i, indices[n, i, p]] = x[n, i, p], zero elsewhere
    y[n, o, q] = bias[o] + sum_{i, r} weight[o, i, r] u[n, i, q stride + r dilation - padding]

(p, q and r run over 1, 2 or 3 axes; an index counts the places of one plane row by row)

Source: Badrinarayanan et al., SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
Segmentation, 2015, section 3.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.convs.standard import Conv1d, Conv2d, Conv3d, conv1d, conv2d, conv3d
from convsmith.convs.standard.standard import reference as standard_reference
from convsmith.convs.unpooling.geometry import UnpoolGeometry, pool_integers
from convsmith.convs.unpooling.placing import place
from convsmith.errors import ShapeError
from convsmith.family import Family, Sample, register
from convsmith.geometry import Ints, Padding


def _unpool_then(
    convolve: Callable[..., Tensor],
    x: Tensor,
    indices: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    pool: Ints = 2,
    pool_stride: Ints | None = None,
    pool_padding: Ints = 0,
    output_size: Sequence[int] | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    axes = weight.ndim - 2
    if axes not in (1, 2, 3):
        raise ShapeError(
            f"unpooling: weight {tuple(weight.shape)} has {weight.ndim} dimensions; it must be "
            "(out, in/groups, ...) with 1 to 3 spatial axes"
        )
    pool, pool_stride, pool_padding = pool_integers(axes, pool, pool_stride, pool_padding)
    geometry = UnpoolGeometry(
        in_channels=weight.shape[1] * groups,
        out_channels=weight.shape[0],
        kernel_size=tuple(weight.shape[2:]),
        groups=groups,
        pool=pool,
        pool_stride=pool_stride,
        pool_padding=pool_padding,
    )
    size = geometry.unpooled_size(x.shape, output_size)
    unpooled = place(x, indices, size, geometry.pool_axes())
    return convolve(unpooled, weight, bias, stride, padding, dilation, groups)


def reference(x: Tensor, indices: Tensor, weight: Tensor, *bias: Tensor, **options: Any) -> Tensor:
    """The values in their places, then the slow standard convolution."""
    return _unpool_then(standard_reference, x, indices, weight, *bias, **options)


def unpool_conv1d(
    x: Tensor, indices: Tensor, weight: Tensor, bias: Tensor | None = None, **options: Any
) -> Tensor:
    """`unpool_conv2d` along one axis, with the same options.

    >>> x, indices = torch.tensor([[[5.0, 7.0]]]), torch.tensor([[[1, 2]]])
    >>> unpool_conv1d(x, indices, torch.ones(1, 1, 1))
    tensor([[[0., 5., 7., 0.]]])
    """
    return _unpool_then(conv1d, x, indices, weight, bias, **options)


def unpool_conv2d(
    x: Tensor,
    indices: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    pool: Ints = 2,
    pool_stride: Ints | None = None,
    pool_padding: Ints = 0,
    output_size: Sequence[int] | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """Put each pooled value back where it came from, zeros elsewhere, and convolve the result.

    u[n, c, indices[n, c, p, q]] = x[n, c, p, q] in a plane counted row by row;
    y = conv2d(u, weight, bias, stride, padding, dilation, groups)

    Where overlapping pools name one place twice, one of their values is kept; after max pooling
    they are equal. The gradient then goes to every one of them.

    Args:
        x: Pooled values, shape (n, c, h, w) or (c, h, w).
        indices: Where each came from, of the same shape and int64, as `torch.nn.functional.
            max_pool2d(..., return_indices=True)` gives them.
        weight: Filters of the convolution, shape (o, c/groups, kh, kw).
        bias: One number per filter, shape (o,).
        pool, pool_stride, pool_padding: Kernel, stride (pool unless given) and padding of the
            pooling; pool is the span of a dilated one's window.
        output_size: Height and width before the pooling, where they are not (h - 1) pool_stride -
            2 pool_padding + pool; the number of axes x has is accepted too.
        stride, padding, dilation, groups: Those of the convolution, as in `conv2d`.

    Returns:
        Shape (n, o, h', w').

    Raises:
        ArgumentError: if indices are not int64.
        ShapeError: if indices and x differ in shape, an index is outside the plane or the window
            of its own pool (checked in eager mode; on a GPU this waits for the indices), or
            output_size is a pool_stride or more away from its default.

    Cost: that of `conv2d` on the unpooled plane; the zeros are multiplied too.
    Source: Badrinarayanan et al. 2015, section 3.

    >>> image = torch.tensor([[[[1.0, 2, 9, 4], [5, 6, 7, 8]]]])
    >>> x, indices = torch.nn.functional.max_pool2d(image, 2, return_indices=True)
    >>> unpool_conv2d(x, indices, torch.ones(1, 1, 1, 1))
    tensor([[[[0., 0., 9., 0.],
              [0., 6., 0., 0.]]]])
    """
    return _unpool_then(
        conv2d,
        x,
        indices,
        weight,
        bias,
        pool=pool,
        pool_stride=pool_stride,
        pool_padding=pool_padding,
        output_size=output_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


def unpool_conv3d(
    x: Tensor, indices: Tensor, weight: Tensor, bias: Tensor | None = None, **options: Any
) -> Tensor:
    """`unpool_conv2d` along three axes, with the same options.

    >>> x, indices = torch.ones(1, 1, 1, 1, 1), torch.full((1, 1, 1, 1, 1), 7)
    >>> unpool_conv3d(x, indices, torch.ones(1, 1, 1, 1, 1)).flatten().tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    """
    return _unpool_then(conv3d, x, indices, weight, bias, **options)


class _Unpool(nn.Module):
    """What the layers for 1, 2 and 3 axes share: the pool to undo, and the convolution."""

    axes: ClassVar[int]
    make_convolution: ClassVar[type[nn.Module]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        pool: Ints = 2,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        pool_stride: Ints | None = None,
        pool_padding: Ints = 0,
    ) -> None:
        super().__init__()
        self.pool, self.pool_stride, self.pool_padding = pool_integers(
            self.axes, pool, pool_stride, pool_padding
        )
        self.convolution = self.make_convolution(
            in_channels,
            out_channels,
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

    @property
    def geometry(self) -> UnpoolGeometry:
        """The layer as plain integers."""
        return UnpoolGeometry(
            **vars(self.convolution.geometry),
            pool=self.pool,
            pool_stride=self.pool_stride,
            pool_padding=self.pool_padding,
        )

    def forward(
        self, x: Tensor, indices: Tensor, output_size: Sequence[int] | None = None
    ) -> Tensor:
        geometry = self.geometry
        size = geometry.unpooled_size(x.shape, output_size)
        return self.convolution(place(x, indices, size, geometry.pool_axes()))

    def extra_repr(self) -> str:
        return f"pool={self.pool}, pool_stride={self.pool_stride}, pool_padding={self.pool_padding}"


class UnpoolConv1d(_Unpool):
    """`UnpoolConv2d` along one axis.

    >>> x, indices = torch.zeros(1, 4, 5), torch.arange(0, 10, 2).expand(1, 4, 5)
    >>> UnpoolConv1d(4, 8, 3, padding=1)(x, indices).shape
    torch.Size([1, 8, 10])
    """

    axes = 1
    make_convolution = Conv1d


class UnpoolConv2d(_Unpool):
    """Max unpooling by the indices of the pooling, then `Conv2d`: a decoder stage of SegNet. See
    `unpool_conv2d`.

    The convolution is the sub-module `convolution`. `forward(x, indices, output_size=None)`.

    >>> image = torch.zeros(1, 16, 8, 8)
    >>> x, indices = torch.nn.functional.max_pool2d(image, 2, return_indices=True)
    >>> UnpoolConv2d(16, 8, 3, padding=1)(x, indices).shape
    torch.Size([1, 8, 8, 8])
    """

    axes = 2
    make_convolution = Conv2d


class UnpoolConv3d(_Unpool):
    """`UnpoolConv2d` along three axes.

    >>> image = torch.zeros(1, 2, 4, 4, 4)
    >>> x, indices = torch.nn.functional.max_pool3d(image, 2, return_indices=True)
    >>> UnpoolConv3d(2, 3, 3, padding=1)(x, indices).shape
    torch.Size([1, 3, 4, 4, 4])
    """

    axes = 3
    make_convolution = Conv3d


LAYERS: dict[int, type[nn.Module]] = {1: UnpoolConv1d, 2: UnpoolConv2d, 3: UnpoolConv3d}
OPS: dict[int, Callable[..., Tensor]] = {1: unpool_conv1d, 2: unpool_conv2d, 3: unpool_conv3d}


def apply(function: Callable[..., Tensor], layer: Any, x: Tensor, indices: Tensor) -> Tensor:
    """The op or the reference, with a layer's weights and options."""
    convolution = layer.convolution
    return function(
        x,
        indices,
        convolution.weight,
        convolution.bias,
        pool=layer.pool,
        pool_stride=layer.pool_stride,
        pool_padding=layer.pool_padding,
        stride=convolution.stride,
        padding=convolution.padding,
        dilation=convolution.dilation,
        groups=convolution.groups,
    )


def _pooling_of_noise(layer: nn.Module, x: Tensor) -> tuple[Tensor]:
    """Indices as a pooling makes them, drawn anew each time."""
    geometry: Any = layer.geometry
    axes = geometry.spatial_axes
    pooling: Any = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[axes]
    noise = torch.rand(*x.shape[:-axes], *geometry.unpooled_size(x.shape), device=x.device)
    window = (geometry.pool, geometry.pool_stride, geometry.pool_padding)
    return (pooling(noise, *window, return_indices=True)[1],)


def _samples() -> list[Sample]:
    return [
        Sample(
            name="3x3, padding 1",
            layer=partial(UnpoolConv2d, 2, 3, 3, padding=1),
            input_shape=(2, 2, 2, 3),
            further_inputs=_pooling_of_noise,
        ),
        Sample(
            name="3x2, stride 2 'same', pools with padding, no bias",
            layer=partial(
                UnpoolConv2d,
                2,
                2,
                (3, 2),
                (2, 1),
                stride=2,
                padding="same",
                bias=False,
                pool_padding=(1, 0),
            ),
            input_shape=(1, 2, 4, 3),
            further_inputs=_pooling_of_noise,
        ),
        Sample(
            name="1-D, groups",
            layer=partial(UnpoolConv1d, 4, 2, 3, 3, dilation=2, groups=2),
            input_shape=(2, 4, 4),
            further_inputs=_pooling_of_noise,
        ),
        Sample(
            name="3-D",
            layer=partial(UnpoolConv3d, 1, 2, 2, (1, 2, 2), padding=1),
            input_shape=(1, 1, 2, 3, 2),
            further_inputs=_pooling_of_noise,
        ),
    ]


register(
    Family(
        name="unpooling",
        layers=LAYERS,
        ops=OPS,
        reference=reference,
        apply=apply,
        recognizes=lambda geometry: isinstance(geometry, UnpoolGeometry),
        samples=_samples,
        source="Badrinarayanan et al., SegNet, 2015, section 3",
    )
)

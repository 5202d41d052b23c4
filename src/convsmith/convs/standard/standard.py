# SPDX-License-Identifier: Apache-2.0
"""Standard convolution: every output channel reads every input channel of its group through a
window.

    y[n, o, p] = bias[o] + sum_{i, r} weight[o, i, r] x[n, i, p stride + r dilation - padding]

(cross-correlation: the kernel is not flipped; p and r run over 1, 2 or 3 axes)

Source: LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998, section II.A.
"""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.convs.padding import as_torch, pad, resolve, symmetric
from convsmith.family import Family, Sample, register
from convsmith.geometry import Geometry, Ints, Padding, padding_pairs, per_axis

_TORCH_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """The sum of the definition, one kernel tap at a time, for any number of axes."""
    kernel_size = weight.shape[2:]
    axes = len(kernel_size)
    stride, dilation = per_axis("stride", stride, axes), per_axis("dilation", dilation, axes)
    geometry = Geometry(
        in_channels=x.shape[-axes - 1],
        out_channels=weight.shape[0],
        kernel_size=tuple(kernel_size),
        stride=stride,
        padding=padding_pairs(padding, axes),
        dilation=dilation,
        groups=groups,
    )
    outputs = geometry.output_shape(x.shape)[-axes:]
    x = pad(x, resolve(padding, x.shape, kernel_size, stride, dilation)).unflatten(
        -axes - 1, (groups, 1, -1)
    )
    weight = weight.unflatten(0, (groups, -1))  # (g, o/g, i/g, *kernel)
    y = x.new_zeros(())
    for tap in product(*map(range, kernel_size)):
        first = [r * d for r, d in zip(tap, dilation, strict=True)]
        window = tuple(
            slice(f, f + (n - 1) * s + 1, s) for f, n, s in zip(first, outputs, stride, strict=True)
        )
        tap_weight = weight[(slice(None),) * 3 + tap].reshape(*weight.shape[:3], *(1,) * axes)
        y = y + (x[(slice(None),) * (x.ndim - axes) + window] * tap_weight).sum(-axes - 1)
    y = y.flatten(-axes - 2, -axes - 1)
    return y if bias is None else y + bias.reshape(-1, *(1,) * axes)


def convolve(
    axes: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
    groups: int,
) -> Tensor:
    stride, dilation = per_axis("stride", stride, axes), per_axis("dilation", dilation, axes)
    pairs = resolve(padding, x.shape, weight.shape[2:], stride, dilation)
    amounts = symmetric(pairs)
    if amounts is None:
        x, amounts = pad(x, pairs), (0,) * axes
    return _TORCH_CONV[axes](x, weight, bias, stride, amounts, dilation, groups)


def convolve_as_made(
    axes: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
    groups: int,
) -> Tensor:
    """The same for a layer, whose options were checked when it was made: where torch has them too,
    they go to torch as they are."""
    if type(padding) is tuple and all(type(amount) is int for amount in padding):
        return _TORCH_CONV[axes](x, weight, bias, stride, padding, dilation, groups)
    return convolve(axes, x, weight, bias, stride, padding, dilation, groups)


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """`conv2d` along one axis: x (n, c, l), weight (o, c/groups, k), result (n, o, l').

    >>> conv1d(torch.ones(1, 1, 5), torch.ones(1, 1, 3), padding="same", stride=2)
    tensor([[[2., 3., 2.]]])
    """
    return convolve(1, x, weight, bias, stride, padding, dilation, groups)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """Slide every filter over the image; each output is one weighted sum of a window through all
    channels of its group.

    y[n, o, p, q] = bias[o] + sum_{i, r, s} weight[o, i, r, s] x[n, i, p*stride + r*dilation -
    padding, q*stride + ...]

    Args:
        x: Input, shape (n, c, h, w) or (c, h, w). Any floating dtype.
        weight: Filters, shape (o, c/groups, kh, kw).
        bias: One number per filter, shape (o,).
        stride: Input pixels from one output to the next; an int or one per axis.
        padding: Zeros around the input, in pixels: an int, one int or one (before, after) pair per
            axis, 'valid' (none), or 'same' (output size ceil(input / stride), for any stride; an
            odd zero goes after).
        dilation: Input pixels from one tap to the next.
        groups: Parts the channels are split into; each part is convolved by its own filters.

    Returns:
        Shape (n, o, h', w'), h' = floor((h + padding before and after - dilation (kh - 1) - 1) /
        stride) + 1.

    Raises:
        ShapeError: if stride, padding or dilation is negative or of the wrong length. Shapes that
            do not fit raise torch's own RuntimeError.

    Cost: n o h' w' c/groups kh kw macs.
    Source: LeCun et al. 1998, section II.A; 'same' with a stride: TensorFlow's rule.

    >>> x = torch.tensor(
    ...     [[3, 3, 2, 1, 0], [0, 0, 1, 3, 1], [3, 1, 2, 2, 3], [2, 0, 0, 2, 2], [2, 0, 0, 0, 1]]
    ... ).float()
    >>> kernel = torch.tensor([[0.0, 1, 2], [2, 2, 0], [0, 1, 2]])
    >>> conv2d(x[None], kernel[None, None])[0].int().tolist()
    [[12, 12, 17], [10, 17, 19], [9, 6, 14]]
    """
    return convolve(2, x, weight, bias, stride, padding, dilation, groups)


def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """`conv2d` along three axes: a filter thinner than the input slides along depth too.

    >>> conv3d(torch.ones(1, 1, 4, 5, 6), torch.ones(8, 1, 3, 3, 3)).shape
    torch.Size([1, 8, 2, 3, 4])
    """
    return convolve(3, x, weight, bias, stride, padding, dilation, groups)


class _Convolution(nn.Module):
    """What Conv1d, Conv2d and Conv3d share: torch's layer with any padding, its functional twin
    and its geometry.
    """

    axes: ClassVar[int]
    function: ClassVar[Callable[..., Tensor]]
    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str | tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    padding_mode: Literal["zeros", "reflect", "replicate", "circular"]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        geometry = Geometry(
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=per_axis("kernel_size", kernel_size, self.axes),
            stride=per_axis("stride", stride, self.axes),
            padding=padding_pairs(padding, self.axes),
            dilation=per_axis("dilation", dilation, self.axes),
            groups=groups,
        )
        super().__init__(
            in_channels,
            out_channels,
            geometry.kernel_size,
            geometry.stride,
            0,  # torch knows fewer paddings than we do: ours is set below
            geometry.dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        self.padding = padding if isinstance(padding, str) else as_torch(geometry.padding)

    @property
    def geometry(self) -> Geometry:
        """The layer as plain integers."""
        return Geometry(
            in_channels=self.in_channels,
            out_channels=self.out_channels,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=padding_pairs(self.padding, self.axes),
            dilation=self.dilation,
            groups=self.groups,
        )

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding: Padding = self.padding
        if self.padding_mode != "zeros":
            pairs = resolve(padding, input.shape, self.kernel_size, self.stride, self.dilation)
            input, padding = pad(input, pairs, self.padding_mode), 0
        return type(self).function(
            input, weight, bias, self.stride, padding, self.dilation, self.groups
        )


class Conv1d(_Convolution, nn.Conv1d):
    """`torch.nn.Conv1d` with any padding for any stride. See `conv2d`.

    >>> Conv1d(4, 8, 3, stride=2, padding="same")(torch.zeros(1, 4, 9)).shape
    torch.Size([1, 8, 5])
    """

    axes = 1
    function = staticmethod(partial(convolve_as_made, 1))


class Conv2d(_Convolution, nn.Conv2d):
    """`torch.nn.Conv2d` with any padding for any stride; the same arguments, attributes and
    state_dict. See `conv2d`.

    `padding` may also be 'same' with a stride, or a (before, after) pair for an axis.

    >>> Conv2d(3, 32, 3, stride=2, padding="same")(torch.zeros(1, 3, 225, 224)).shape
    torch.Size([1, 32, 113, 112])
    """

    axes = 2
    function = staticmethod(partial(convolve_as_made, 2))


class Conv3d(_Convolution, nn.Conv3d):
    """`torch.nn.Conv3d` with any padding for any stride. See `conv3d`.

    >>> Conv3d(1, 2, 3, padding=((0, 1), 1, 1))(torch.zeros(1, 1, 4, 5, 6)).shape
    torch.Size([1, 2, 3, 5, 6])
    """

    axes = 3
    function = staticmethod(partial(convolve_as_made, 3))


LAYERS: dict[int, type[nn.Module]] = {1: Conv1d, 2: Conv2d, 3: Conv3d}
OPS: dict[int, Callable[..., Tensor]] = {1: conv1d, 2: conv2d, 3: conv3d}


def apply(function: Callable[..., Tensor], layer: Any, x: Tensor) -> Tensor:
    """The op or the reference, with a layer's weights and options."""
    return function(
        x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups
    )


def _samples() -> list[Sample]:
    return [
        Sample(
            name="3x3, padding 1, odd sizes",
            layer=partial(Conv2d, 3, 4, 3, padding=1),
            twin=partial(nn.Conv2d, 3, 4, 3, padding=1),
            input_shape=(2, 3, 7, 9),
        ),
        Sample(
            name="5x3, stride 2 'same'",
            layer=partial(Conv2d, 2, 3, (5, 3), stride=2, padding="same"),
            input_shape=(1, 2, 8, 11),
        ),
        Sample(
            name="4x4, asymmetric padding, no bias",
            layer=partial(Conv2d, 2, 3, 4, stride=(1, 3), padding=((0, 2), (3, 1)), bias=False),
            input_shape=(2, 2, 6, 7),
        ),
        Sample(
            name="1-D, stride 3",
            layer=partial(Conv1d, 3, 5, 4, stride=3, padding=2),
            twin=partial(nn.Conv1d, 3, 5, 4, stride=3, padding=2),
            input_shape=(2, 3, 17),
        ),
        Sample(
            name="3-D",
            layer=partial(Conv3d, 2, 3, (2, 3, 3), stride=(1, 2, 1), padding=(0, 1, 2)),
            twin=partial(nn.Conv3d, 2, 3, (2, 3, 3), stride=(1, 2, 1), padding=(0, 1, 2)),
            input_shape=(1, 2, 4, 5, 3),
        ),
    ]


register(
    Family(
        name="standard",
        layers=LAYERS,
        ops=OPS,
        reference=reference,
        apply=apply,
        recognizes=lambda geometry: type(geometry) is Geometry,
        samples=_samples,
        source="LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998, II.A",
    )
)

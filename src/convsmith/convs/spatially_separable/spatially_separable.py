# SPDX-License-Identifier: Apache-2.0
"""Spatially separable convolution: one thin pass per axis instead of one thick kernel.

    t[n, j, p, q] = sum_{i, r} vertical[j, i, r, 0] x[n, i, p stride + r dilation - padding, q]
    y[n, o, p, q] = bias[o] + sum_{j, s} horizontal[o, j, 0, s] t[n, j, p, q stride + s dilation - padding]

Source: Sironi et al., Learning Separable Filters, 2015; Szegedy et al., Rethinking the Inception
Architecture for Computer Vision, 2016, section 3.2.
"""  # noqa: E501 (one formula a line)

from collections.abc import Callable
from functools import partial
from math import sqrt
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from convsmith.convs.padding import as_torch, checked_mode
from convsmith.convs.spatially_separable.factors import factorize
from convsmith.convs.spatially_separable.passes import SpatiallySeparableGeometry, in_passes
from convsmith.convs.standard import conv2d, conv3d
from convsmith.convs.standard.standard import reference as standard_reference
from convsmith.errors import ShapeError
from convsmith.family import Family, Sample, register
from convsmith.geometry import Ints, Padding, padding_pairs, per_axis


def reference(
    x: Tensor,
    *weights: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """The passes of the definition, each by the slow standard convolution."""
    return in_passes(standard_reference, x, weights, bias, stride, padding, dilation, groups)


def spatially_separable_conv2d(
    x: Tensor,
    vertical_weight: Tensor,
    horizontal_weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve along the columns, then along the rows of what comes out.

    y = bias + horizontal_weight * (vertical_weight * x): the convolution with weight[o, i, r, s] =
    sum_j horizontal_weight[o, j, 0, s] vertical_weight[j, i, r, 0]

    The vertical pass strides, pads and dilates rows only, the horizontal one columns only.

    Args:
        x: Input, shape (n, c, h, w) or (c, h, w).
        vertical_weight: Shape (m, c/groups, kh, 1); m channels lie between the passes.
        horizontal_weight: Shape (o, m/groups, 1, kw).
        bias: One number per output channel, shape (o,).
        stride, padding, dilation, groups: As in `conv2d`.

    Returns:
        Shape (n, o, h', w'), as from `conv2d` with a kernel of (kh, kw).

    Raises:
        ShapeError: if a weight is longer than 1 on the other axis.

    Cost: n m h' w c/groups kh + n o h' w' m/groups kw macs.
    Source: Sironi et al. 2015; Szegedy et al. 2016, section 3.2.

    >>> smooth, difference = torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 0, -1])
    >>> ramp = torch.arange(4.0).expand(1, 1, 3, 4)
    >>> spatially_separable_conv2d(ramp, smooth.view(1, 1, 3, 1), difference.view(1, 1, 1, 3))
    tensor([[[[-8., -8.]]]])
    """
    weights = (vertical_weight, horizontal_weight)
    return in_passes(conv2d, x, weights, bias, stride, padding, dilation, groups)


def spatially_separable_conv3d(
    x: Tensor,
    depth_weight: Tensor,
    vertical_weight: Tensor,
    horizontal_weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """`spatially_separable_conv2d` with a pass along the depth before the others.

    Shapes (m, c/groups, kd, 1, 1), (m, m/groups, 1, kh, 1), (o, m/groups, 1, 1, kw).

    >>> weights = torch.ones(1, 1, 3, 1, 1), torch.ones(1, 1, 1, 3, 1), torch.ones(1, 1, 1, 1, 3)
    >>> spatially_separable_conv3d(torch.ones(1, 1, 3, 3, 3), *weights).item()
    27.0
    """
    weights = (depth_weight, vertical_weight, horizontal_weight)
    return in_passes(conv3d, x, weights, bias, stride, padding, dilation, groups)


class _SpatiallySeparable(nn.Module):
    """What the 2-D and the 3-D layer share: one thin weight per axis."""

    axes: ClassVar[int]
    convolve: ClassVar[Callable[..., Tensor]]
    weight_names: ClassVar[tuple[str, ...]]  # in the order of the axes
    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        groups: int = 1,
        rank: int | None = None,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = per_axis("kernel_size", kernel_size, self.axes)
        self.stride = per_axis("stride", stride, self.axes)
        self.padding = (
            padding if isinstance(padding, str) else as_torch(padding_pairs(padding, self.axes))
        )
        self.dilation = per_axis("dilation", dilation, self.axes)
        self.padding_mode = checked_mode(padding_mode)
        self.rank = max(1, out_channels // max(1, groups)) if rank is None else rank
        for name, one in zip(self.weight_names, self.geometry.passes(), strict=True):
            shape = (one.out_channels, one.in_channels // groups, *one.kernel_size)
            setattr(self, name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        if bias:
            self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Each pass as torch's convolutions start: uniform within 1/sqrt(inputs of an output)."""
        for weight in self.weights:
            bound = 1 / sqrt(weight[0].numel())
            nn.init.uniform_(weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """One weight per axis, the first pass first."""
        return tuple(getattr(self, name) for name in self.weight_names)

    @property
    def geometry(self) -> SpatiallySeparableGeometry:
        """The layer as plain integers."""
        return SpatiallySeparableGeometry(
            in_channels=self.in_channels,
            out_channels=self.out_channels,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=padding_pairs(self.padding, self.axes),
            dilation=self.dilation,
            groups=self.groups,
            rank=self.rank,
        )

    def forward(self, x: Tensor) -> Tensor:
        return in_passes(
            type(self).convolve,
            x,
            self.weights,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.padding_mode,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"groups={self.groups}, rank={self.rank}, bias={self.bias is not None}"
        )


class SpatiallySeparableConv2d(_SpatiallySeparable):
    """A (k, 1) convolution, then a (1, k) convolution. See `spatially_separable_conv2d`.

    `rank` channels lie between the passes in each group; out_channels/groups unless given. With
    groups = in_channels every channel has kernels of its own, of that rank; with groups = 1 the
    passes mix channels.

    >>> layer = SpatiallySeparableConv2d(3, 8, 5, padding="same", rank=2)
    >>> layer(torch.zeros(1, 3, 9, 9)).shape, layer.vertical_weight.shape
    (torch.Size([1, 8, 9, 9]), torch.Size([2, 3, 5, 1]))
    """

    axes = 2
    convolve = staticmethod(conv2d)
    weight_names = ("vertical_weight", "horizontal_weight")
    vertical_weight: nn.Parameter
    horizontal_weight: nn.Parameter
    relative_error: float | None = None  # of the kernel given to `from_kernel`

    @classmethod
    def from_kernel(
        cls,
        weight: Tensor,
        rank: int | None = None,
        *,
        bias: Tensor | None = None,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        groups: int | None = None,
        padding_mode: str = "zeros",
    ) -> Self:
        """The layer whose kernel is the given one, or the nearest of a given rank.

        `relative_error` of the result is ||weight - kernel||_F / ||weight||_F: exactly 0 for a
        column times a row (Sobel, a binomial Gaussian, a box), the least possible for the rank
        otherwise.

        Args:
            weight: Shape (kh, kw), (c, 1, kh, kw): one kernel a channel, or (o, i, kh, kw): dense.
            rank: Channels between the passes in each group; None: the fewest that reproduce the
                weight to rounding.
            groups: As in `conv2d`; unless given c for (c, 1, kh, kw), else 1.

        Raises:
            ShapeError: if weight has neither 2 nor 4 dimensions or the groups do not divide it.
            ArgumentError: if a weight is not finite, or rank is not an integer between 1 and
                min(i kh, o/groups kw).

        Source: Eckart and Young 1936.

        >>> sobel = torch.tensor([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
        >>> layer = SpatiallySeparableConv2d.from_kernel(sobel)
        >>> layer.vertical_weight.flatten().tolist(), layer.horizontal_weight.flatten().tolist()
        ([1.0, 2.0, 1.0], [1.0, 0.0, -1.0])
        """
        if weight.ndim not in (2, 4):
            raise ShapeError(
                f"from_kernel: weight {tuple(weight.shape)} has {weight.ndim} dimensions; it must "
                "be (kh, kw), (c, 1, kh, kw) or (o, i, kh, kw)"
            )
        kernel = weight.detach()
        kernel = kernel if kernel.is_floating_point() else kernel.to(torch.get_default_dtype())
        kernel = kernel[None, None] if kernel.ndim == 2 else kernel
        outputs, inputs, *kernel_size = kernel.shape
        if groups is None:
            groups = outputs if inputs == 1 else 1
        if groups < 1 or outputs % groups:
            raise ShapeError(f"from_kernel: {outputs} outputs must be divisible by groups {groups}")
        factors = factorize(kernel, groups, rank)
        layer = cls(
            inputs * groups,
            outputs,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            factors.horizontal.shape[1],
            bias is not None,
            padding_mode,
            device=kernel.device,
            dtype=kernel.dtype,
        )
        with torch.no_grad():
            layer.vertical_weight.copy_(factors.vertical)
            layer.horizontal_weight.copy_(factors.horizontal)
            if layer.bias is not None and bias is not None:
                layer.bias.copy_(bias)
        layer.relative_error = factors.relative_error
        return layer


class SpatiallySeparableConv3d(_SpatiallySeparable):
    """One thin convolution along each of three axes. See `spatially_separable_conv3d`.

    >>> layer = SpatiallySeparableConv3d(4, 4, 3, padding=1, groups=4)
    >>> layer(torch.zeros(1, 4, 5, 5, 5)).shape, sum(w.numel() for w in layer.weights)
    (torch.Size([1, 4, 5, 5, 5]), 36)
    """

    axes = 3
    convolve = staticmethod(conv3d)
    weight_names = ("depth_weight", "vertical_weight", "horizontal_weight")


LAYERS: dict[int, type[nn.Module]] = {2: SpatiallySeparableConv2d, 3: SpatiallySeparableConv3d}
OPS: dict[int, Callable[..., Tensor]] = {
    2: spatially_separable_conv2d,
    3: spatially_separable_conv3d,
}


def apply(function: Callable[..., Tensor], layer: Any, x: Tensor) -> Tensor:
    """The op or the reference, with a layer's weights and options."""
    return function(
        x,
        *layer.weights,
        bias=layer.bias,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
    )


def _samples() -> list[Sample]:
    return [
        Sample(
            name="5x3 per channel, padding 1",
            layer=partial(SpatiallySeparableConv2d, 3, 3, (5, 3), padding=1, groups=3),
            input_shape=(2, 3, 7, 9),
        ),
        Sample(
            name="3x3 dense of rank 2, stride 2 'same'",
            layer=partial(SpatiallySeparableConv2d, 3, 4, 3, stride=2, padding="same", rank=2),
            input_shape=(2, 3, 8, 7),
        ),
        Sample(
            name="3x2 grouped, dilation 2, asymmetric padding, no bias",
            layer=partial(
                SpatiallySeparableConv2d,
                4,
                2,
                (3, 2),
                stride=(1, 3),
                padding=((0, 2), (1, 0)),
                dilation=(2, 1),
                groups=2,
                bias=False,
            ),
            input_shape=(1, 4, 6, 7),
        ),
        Sample(
            name="3-D",
            layer=partial(SpatiallySeparableConv3d, 2, 3, (2, 3, 3), padding=(0, 1, 1), rank=2),
            input_shape=(1, 2, 4, 5, 3),
        ),
    ]


register(
    Family(
        name="spatially separable",
        layers=LAYERS,
        ops=OPS,
        reference=reference,
        apply=apply,
        recognizes=lambda geometry: isinstance(geometry, SpatiallySeparableGeometry),
        samples=_samples,
        source="Sironi et al., Learning Separable Filters, 2015; Szegedy et al. 2016, section 3.2",
    )
)

# SPDX-License-Identifier: Apache-2.0
"""The layers of transposed convolution, and its entry in the list of families."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from convsmith.convs.padding import as_torch
from convsmith.convs.transposed.transposed import (
    checked_method,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    crops,
    reference,
    transpose,
)
from convsmith.errors import ShapeError
from convsmith.family import Family, Sample, register
from convsmith.geometry import (
    Geometry,
    Ints,
    Padding,
    Pairs,
    TransposedGeometry,
    padding_pairs,
    per_axis,
    same_padding,
)


class _Transposed(nn.Module):
    """What ConvTranspose1d, 2d and 3d share: torch's layer with any crop, and its geometry."""

    axes: ClassVar[int]
    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str | tuple[int, ...]
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        output_padding: Ints = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Ints = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        method: str = "gather",
    ) -> None:
        geometry = TransposedGeometry(
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=per_axis("kernel_size", kernel_size, self.axes),
            stride=per_axis("stride", stride, self.axes),
            padding=padding_pairs(padding, self.axes),
            dilation=per_axis("dilation", dilation, self.axes),
            groups=groups,
            output_padding=per_axis("output_padding", output_padding, self.axes, least=0),
        )
        super().__init__(
            in_channels,
            out_channels,
            geometry.kernel_size,
            geometry.stride,
            0,  # torch knows fewer crops than we do: ours is set below
            geometry.output_padding,
            groups,
            bias,
            geometry.dilation,
            padding_mode,
            device,
            dtype,
        )
        self.padding = padding if isinstance(padding, str) else as_torch(geometry.padding)
        self.method = checked_method(method)

    @property
    def geometry(self) -> TransposedGeometry:
        """The layer as plain integers."""
        return TransposedGeometry(
            in_channels=self.in_channels,
            out_channels=self.out_channels,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=padding_pairs(self.padding, self.axes),
            dilation=self.dilation,
            groups=self.groups,
            output_padding=self.output_padding,
        )

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """The layer's output; `output_size`, as in torch, chooses one of the `stride` sizes per
        axis that a convolution would bring to this input's size.

        Raises:
            ShapeError: if `output_size` is not one of them.
        """
        pairs, added = self._crops() if output_size is None else self._crops_to(input, output_size)
        return transpose(
            input,
            self.weight,
            self.bias,
            self.stride,
            pairs,
            added,
            self.groups,
            self.dilation,
            self.method,
        )

    def extra_repr(self) -> str:
        shown = super().extra_repr()
        return shown if self.method == "gather" else f"{shown}, method={self.method}"

    def _crops(self) -> tuple[Pairs, tuple[int, ...]]:
        return crops(
            self.padding, self.output_padding, self.kernel_size, self.stride, self.dilation
        )

    def _crops_to(self, input: Tensor, output_size: Sequence[int]) -> tuple[Pairs, tuple[int, ...]]:
        """The crops and additions that make an output of this size: 'same' crops what the 'same'
        convolution of that size pads, otherwise only the addition moves.
        """
        wanted, sizes = list(output_size)[-self.axes :], list(input.shape[-self.axes :])
        if len(output_size) not in (self.axes, input.ndim):
            raise ShapeError(
                f"{type(self).__name__}: for {input.ndim}D input, output_size must have "
                f"{self.axes} or {input.ndim} elements (got {len(output_size)})"
            )
        rows = list(zip(self.kernel_size, self.stride, self.dilation, strict=True))
        full = [(n - 1) * s + d * (k - 1) + 1 for n, (k, s, d) in zip(sizes, rows, strict=True)]
        if self.padding == "same":
            least = [(n - 1) * s + 1 for n, s in zip(sizes, self.stride, strict=True)]
            pairs = tuple(same_padding(m, *row) for m, row in zip(wanted, rows, strict=True))
        else:
            pairs, _ = self._crops()
            least = [f - sum(pair) for f, pair in zip(full, pairs, strict=True)]
        most = [low + s - 1 for low, s in zip(least, self.stride, strict=True)]
        if any(not a <= m <= b for a, m, b in zip(least, wanted, most, strict=True)):
            raise ShapeError(
                f"{type(self).__name__}: requested an output size of {wanted}, but valid sizes "
                f"range from {least} to {most} (for an input of {sizes})"
            )
        return pairs, tuple(
            m - (f - sum(pair)) for m, f, pair in zip(wanted, full, pairs, strict=True)
        )


class ConvTranspose1d(_Transposed, nn.ConvTranspose1d):
    """`torch.nn.ConvTranspose1d` with any crop. See `ConvTranspose2d` and `conv_transpose1d`.

    >>> ConvTranspose1d(4, 2, 3, stride=2, padding="same")(torch.zeros(1, 4, 5)).shape
    torch.Size([1, 2, 10])
    """

    axes = 1


class ConvTranspose2d(_Transposed, nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` with any crop; the same arguments, attributes and state_dict. See
    `conv_transpose2d`.

    `padding` may also be 'valid', 'same' (output size input * stride), or a (before, after) pair
    for an axis. `method="stamp"` computes by adding up stamps, for teaching.

    >>> up = ConvTranspose2d(8, 4, 3, stride=2, padding="same")
    >>> up(torch.zeros(1, 8, 5, 6)).shape, up(torch.zeros(1, 8, 5, 6), output_size=(9, 12)).shape
    (torch.Size([1, 4, 10, 12]), torch.Size([1, 4, 9, 12]))
    """

    axes = 2


class ConvTranspose3d(_Transposed, nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` with any crop. See `ConvTranspose2d` and `conv_transpose3d`.

    >>> ConvTranspose3d(2, 1, 4, stride=2, padding=1)(torch.zeros(1, 2, 3, 4, 5)).shape
    torch.Size([1, 1, 6, 8, 10])
    """

    axes = 3


def recognizes(geometry: Geometry) -> bool:
    """Whether it stamps instead of reading windows."""
    return isinstance(geometry, TransposedGeometry)


def apply(function: Callable[..., Tensor], layer: Any, x: Tensor) -> Tensor:
    """The op or the reference, with a layer's weights and options."""
    return function(
        x,
        layer.weight,
        layer.bias,
        layer.stride,
        layer.padding,
        layer.output_padding,
        layer.groups,
        layer.dilation,
    )


def _samples() -> list[Sample]:
    return [
        Sample(
            name="4x4, stride 3",
            layer=partial(ConvTranspose2d, 2, 3, 4, stride=3),
            twin=partial(nn.ConvTranspose2d, 2, 3, 4, stride=3),
            input_shape=(2, 2, 2, 3),
        ),
        Sample(
            name="3x2, stride 2, padding 1, output padding, dilation 2, 2 groups",
            layer=partial(ConvTranspose2d, 4, 2, (3, 2), 2, 1, (1, 0), 2, dilation=(2, 1)),
            twin=partial(nn.ConvTranspose2d, 4, 2, (3, 2), 2, 1, (1, 0), 2, dilation=(2, 1)),
            input_shape=(1, 4, 3, 4),
        ),
        Sample(
            name="3x1, stride 2 'same', no bias",
            layer=partial(ConvTranspose2d, 2, 3, (3, 1), 2, "same", bias=False),
            input_shape=(2, 2, 4, 3),
        ),
        Sample(
            name="4x3, asymmetric crop, stamped",
            layer=partial(ConvTranspose2d, 2, 2, (4, 3), 2, ((0, 2), (2, 1)), method="stamp"),
            input_shape=(1, 2, 3, 4),
        ),
        Sample(
            name="1-D, stride 3",
            layer=partial(ConvTranspose1d, 3, 2, 4, stride=3, padding=2, output_padding=1),
            twin=partial(nn.ConvTranspose1d, 3, 2, 4, stride=3, padding=2, output_padding=1),
            input_shape=(2, 3, 5),
        ),
        Sample(
            name="3-D, stride 2",
            layer=partial(ConvTranspose3d, 2, 3, (2, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
            twin=partial(nn.ConvTranspose3d, 2, 3, (2, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
            input_shape=(1, 2, 2, 3, 2),
        ),
    ]


register(
    Family(
        name="transposed",
        layers={1: ConvTranspose1d, 2: ConvTranspose2d, 3: ConvTranspose3d},
        ops={1: conv_transpose1d, 2: conv_transpose2d, 3: conv_transpose3d},
        reference=reference,
        apply=apply,
        recognizes=recognizes,
        samples=_samples,
        source="Dumoulin and Visin, A Guide to Convolution Arithmetic for Deep Learning, 2016",
    )
)

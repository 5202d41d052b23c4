# SPDX-License-Identifier: Apache-2.0
"""Convolution by a connection table: only the listed pairs of input and output maps are joined.

    y[n, o, p] = bias[o]
        + sum_{t: table[t] = (i, o)} sum_r weight[t, r] x[n, i, p stride + r dilation - padding]

(p and r run over two axes)

Source: LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998, table I.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from convsmith.convs.connection_table.tables import (
    Table,
    checked_table,
    full_table,
    lenet5_table,
    one_to_one_table,
)
from convsmith.convs.padding import as_torch, checked_mode, pad, resolve
from convsmith.convs.standard import conv2d
from convsmith.convs.windows import windows
from convsmith.errors import ShapeError
from convsmith.family import Family, Picture, Sample, grouped_picture, register
from convsmith.geometry import Geometry, Ints, Macs, Padding, padding_pairs, per_axis


@dataclass(frozen=True, kw_only=True)
class TableGeometry(Geometry):
    """A convolution's integers and its (input, output) pairs.

    >>> g = TableGeometry(in_channels=2, out_channels=2, kernel_size=(3, 3), pairs=((0, 0), (1, 1)))
    >>> g.macs((1, 2, 3, 3)).all
    18
    """

    pairs: Table

    def macs(self, input_shape: Any) -> Macs:
        """N * pairs * product over the axes of (outputs x taps)."""
        dense = super().macs(input_shape)
        possible = self.in_channels * self.out_channels
        return Macs(
            dense.all // possible * len(self.pairs), dense.live // possible * len(self.pairs)
        )


def reference(
    x: Tensor,
    weight: Tensor,
    table: Iterable[Iterable[int]],
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    in_channels: int | None = None,
) -> Tensor:
    """The sum of the definition, one pair and one tap at a time."""
    table = checked_table(table)
    kernel_size = weight.shape[1:]
    stride, dilation = per_axis("stride", stride, 2), per_axis("dilation", dilation, 2)
    x = pad(x, resolve(padding, x.shape, kernel_size, stride, dilation))
    maps: dict[int, Tensor] = {}
    for t, (i, o) in enumerate(table):
        for tap, view in windows(x[..., i, :, :], kernel_size, stride, dilation):
            product = view * weight[(t, *tap)]
            maps[o] = maps[o] + product if o in maps else product
    y = torch.stack([maps[o] for o in sorted(maps)], -3)
    return y if bias is None else y + bias[:, None, None]


def table_conv2d(
    x: Tensor,
    weight: Tensor,
    table: Iterable[Iterable[int]],
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    in_channels: int | None = None,
) -> Tensor:
    """Convolve each listed pair of maps with its own kernel and add up what meets in one output.

    y[n, o, p, q] = bias[o] + sum_{t: table[t] = (i, o)} sum_{r,s} weight[t, r, s] x[n, i, p*stride
    + r*dilation - padding, q*stride + ...]

    Computed as the standard convolution whose other weights are zero.

    Args:
        x: Input, shape (n, c, h, w) or (c, h, w).
        weight: One kernel a pair, shape (pairs, kh, kw).
        table: (input channel, output channel) pairs, counted from 0, no pair twice.
        bias: One number per output, shape (o,).
        stride, padding, dilation: As in `conv2d`.
        in_channels: c, where it is more than the table's greatest input + 1.

    Returns:
        Shape (n, o, h', w'); o is the table's greatest output + 1.

    Raises:
        ArgumentError: if the table is empty, an entry is not a pair of integers of at least 0, a
            pair stands twice, or no input feeds an output.
        ShapeError: if there is not one kernel for each pair, or in_channels is too small.

    Cost: n pairs h' w' kh kw macs by its definition; done as n c o h' w' kh kw.
    Source: LeCun et al. 1998, table I.

    >>> x = torch.tensor([1.0, 10.0, 100.0]).reshape(1, 3, 1, 1)
    >>> table_conv2d(x, torch.ones(3, 1, 1), [(0, 0), (2, 0), (1, 1)]).flatten()
    tensor([101.,  10.])
    """
    dense = _dense_weight(weight, checked_table(table), in_channels)
    return conv2d(x, dense, bias, stride, padding, dilation)


def _dense_weight(weight: Tensor, table: Table, in_channels: int | None) -> Tensor:
    """(pairs, kh, kw) scattered into (o, i, kh, kw), zero elsewhere."""
    if weight.ndim != 3 or weight.shape[0] != len(table):
        raise ShapeError(
            f"table_conv2d: weight {tuple(weight.shape)} does not fit a table of {len(table)} "
            f"pairs; it must be ({len(table)}, kh, kw)"
        )
    inputs, outputs = _channels(table, in_channels)
    i, o = torch.tensor(table, device=weight.device).unbind(1)
    return weight.new_zeros(outputs, inputs, *weight.shape[1:]).index_put((o, i), weight)


def _channels(table: Table, in_channels: int | None) -> tuple[int, int]:
    read = max(i for i, _ in table) + 1
    if in_channels is not None and in_channels < read:
        raise ShapeError(
            f"table: input {read - 1} is read, but in_channels is {in_channels}; it must be at "
            f"least {read}"
        )
    return in_channels or read, max(o for _, o in table) + 1


class TableConv2d(nn.Module):
    """A convolution that joins only the listed (input, output) pairs. See `table_conv2d`.

    `out_channels` is the table's greatest output + 1, `in_channels` its greatest input + 1 unless
    given. Weight (pairs, kh, kw), in the order of the table.

    >>> c3 = TableConv2d(lenet5_table(), 5)
    >>> c3(torch.zeros(1, 6, 14, 14)).shape, sum(p.numel() for p in c3.parameters())
    (torch.Size([1, 16, 10, 10]), 1516)
    """

    def __init__(
        self,
        table: Iterable[Iterable[int]],
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        in_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.table = checked_table(table)
        self.in_channels, self.out_channels = _channels(self.table, in_channels)
        self.kernel_size = per_axis("kernel_size", kernel_size, 2)
        self.stride = per_axis("stride", stride, 2)
        self.padding = padding if isinstance(padding, str) else as_torch(padding_pairs(padding, 2))
        self.dilation = per_axis("dilation", dilation, 2)
        self.padding_mode = checked_mode(padding_mode)
        shape = (len(self.table), *self.geometry.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = (
            nn.Parameter(torch.empty(self.out_channels, device=device, dtype=dtype))
            if bias
            else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform within 1/sqrt(taps that the output reads), as torch's convolutions start."""
        outputs = [o for _, o in self.table]
        taps = self.weight[0].numel()
        bounds = [1 / sqrt(outputs.count(o) * taps) for o in range(self.out_channels)]
        with torch.no_grad():
            self.weight.uniform_(-1, 1).mul_(
                self.weight.new_tensor([bounds[o] for o in outputs])[:, None, None]
            )
            if self.bias is not None:
                self.bias.uniform_(-1, 1).mul_(self.bias.new_tensor(bounds))

    @property
    def geometry(self) -> TableGeometry:
        """The layer as plain integers."""
        return TableGeometry(
            in_channels=self.in_channels,
            out_channels=self.out_channels,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=padding_pairs(self.padding, 2),
            dilation=self.dilation,
            pairs=self.table,
        )

    def forward(self, x: Tensor) -> Tensor:
        padding: Padding = self.padding
        if self.padding_mode != "zeros":
            pairs = resolve(padding, x.shape, self.kernel_size, self.stride, self.dilation)
            x, padding = pad(x, pairs, self.padding_mode), 0
        weight = _dense_weight(self.weight, self.table, self.in_channels)
        return conv2d(x, weight, self.bias, self.stride, padding, self.dilation)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, pairs={len(self.table)}, "
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, bias={self.bias is not None}"
        )


LAYERS: dict[int, type[nn.Module]] = {2: TableConv2d}
OPS: dict[int, Callable[..., Tensor]] = {2: table_conv2d}


def apply(function: Callable[..., Tensor], layer: Any, x: Tensor) -> Tensor:
    """The op or the reference, with a layer's weights and options."""
    return function(
        x,
        layer.weight,
        layer.table,
        layer.bias,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.in_channels,
    )


def _picture(geometry: TableGeometry) -> Picture:
    channels = tuple(
        tuple(sorted(i for i, to in geometry.pairs if to == o))
        for o in range(geometry.out_channels)
    )
    return replace(grouped_picture(geometry), channels=channels)


def _samples() -> list[Sample]:
    return [
        Sample(
            name="LeNet-5's C3, 3x3",
            layer=partial(TableConv2d, lenet5_table(), 3, padding=1),
            input_shape=(2, 6, 5, 7),
        ),
        Sample(
            name="full, stride 2 'same'",
            layer=partial(TableConv2d, full_table(2, 3), (3, 5), stride=2, padding="same"),
            input_shape=(1, 2, 8, 7),
        ),
        Sample(
            name="one to one, dilation 2, no bias",
            layer=partial(
                TableConv2d,
                one_to_one_table(3),
                3,
                padding=((0, 2), (3, 1)),
                dilation=2,
                bias=False,
            ),
            input_shape=(2, 3, 7, 6),
        ),
        Sample(
            name="any order, a last input nobody reads",
            layer=partial(TableConv2d, [(2, 1), (0, 0), (1, 1)], 2, in_channels=4),
            input_shape=(1, 4, 4, 5),
        ),
    ]


register(
    Family(
        name="connection table",
        layers=LAYERS,
        ops=OPS,
        reference=reference,
        apply=apply,
        recognizes=lambda geometry: isinstance(geometry, TableGeometry),
        picture=_picture,
        samples=_samples,
        source="LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998, II.B",
    )
)

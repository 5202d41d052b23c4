# SPDX-License-Identifier: Apache-2.0
"""Locally connected layer: a convolution whose places do not share their filters.

    y[n, o, p] = bias[p, o] + sum_{i, r} weight[p, o, i, r] x[n, i, p stride + r dilation - padding]

(p and r run over two axes; the first index of weight and bias counts the places row by row)

Source: Taigman et al., DeepFace: Closing the Gap to Human-Level Performance in Face Verification,
2014, section 3.1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod, sqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.convs.padding import as_torch, pad, resolve
from convsmith.convs.windows import windows
from convsmith.errors import ShapeError
from convsmith.family import Family, Sample, register
from convsmith.geometry import Geometry, Ints, Macs, Padding, padding_pairs, per_axis


@dataclass(frozen=True, kw_only=True)
class LocalGeometry(Geometry):
    """A convolution's integers and the one input size it has filters for.

    >>> g = LocalGeometry(in_channels=3, out_channels=4, kernel_size=(3, 3), input_size=(5, 6))
    >>> g.places, g.output_shape((1, 3, 5, 6))
    (12, (1, 4, 3, 4))
    """

    input_size: tuple[int, ...]

    @property
    def places(self) -> int:
        """Outputs of one channel, each with its own filter."""
        return prod(self.output_shape((self.in_channels, *self.input_size))[1:])

    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        self._check_size(input_shape)
        return super().output_shape(input_shape)

    def macs(self, input_shape: Sequence[int]) -> Macs:
        self._check_size(input_shape)
        return super().macs(input_shape)

    def _check_size(self, input_shape: Sequence[int]) -> None:
        size = tuple(input_shape[-self.spatial_axes :])
        if size != self.input_size:
            raise ShapeError(
                f"locally connected: input size {size}, but the filters were made for "
                f"{self.input_size}, one at each place; resize the input or make the layer with "
                f"input_size={size}"
            )


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> Tensor:
    """The sum of the definition, one kernel tap at a time."""
    kernel_size = weight.shape[3:]
    stride, dilation = per_axis("stride", stride, 2), per_axis("dilation", dilation, 2)
    x = pad(x, resolve(padding, x.shape, kernel_size, stride, dilation))
    y = x.new_zeros(())
    for t, (_, view) in enumerate(windows(x, kernel_size, stride, dilation)):
        places = view.shape[-2:]
        filters = weight.flatten(3)[..., t].movedim(0, -1).unflatten(-1, places)  # (o, i, h', w')
        y = y + (view.unsqueeze(-4) * filters).sum(-3)
    return y if bias is None else y + bias.movedim(0, -1).unflatten(-1, places)


def local_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> Tensor:
    """Convolve with another set of filters at every place.

    y[n, o, p, q] = bias[p*w' + q, o] + sum_{i,r,s} weight[p*w' + q, o, i, r, s] x[n, i, p*stride +
    r*dilation - padding, q*stride + ...]

    Args:
        x: Input, shape (n, c, h, w) or (c, h, w).
        weight: Filters, shape (h'*w', o, c, kh, kw), the places row by row.
        bias: One number for each place and output, shape (h'*w', o).
        stride, padding, dilation: As in `conv2d`.

    Returns:
        Shape (n, o, h', w').

    Raises:
        ShapeError: if the weight has not 5 dimensions or not one filter set for each place, or the
            channels differ.

    Cost: n o h' w' c kh kw macs; h' w' o c kh kw weights, each used once an image.
    Source: Taigman et al. 2014, section 3.1.

    >>> x, weight = torch.ones(1, 1, 2, 3), torch.arange(6.0).reshape(6, 1, 1, 1, 1)
    >>> local_conv2d(x, weight)
    tensor([[[[0., 1., 2.],
              [3., 4., 5.]]]])
    """
    stride, dilation = per_axis("stride", stride, 2), per_axis("dilation", dilation, 2)
    if weight.ndim != 5:
        raise ShapeError(
            f"local_conv2d: weight {tuple(weight.shape)} has {weight.ndim} dimensions; it must be "
            "(places, out, in, kh, kw)"
        )
    places, outputs, inputs, kh, kw = weight.shape
    pairs = resolve(padding, x.shape, (kh, kw), stride, dilation)
    geometry = Geometry(
        in_channels=inputs,
        out_channels=outputs,
        kernel_size=(kh, kw),
        stride=stride,
        padding=pairs,
        dilation=dilation,
    )
    size = geometry.output_shape(x.shape)[-2:]
    if prod(size) != places:
        raise ShapeError(
            f"local_conv2d: weight {tuple(weight.shape)} has filters for {places} places, but an "
            f"input of {tuple(x.shape)} has {size[0]} x {size[1]} = {prod(size)} outputs"
        )
    columns = F.unfold(pad(x, pairs), (kh, kw), dilation, 0, stride)  # (n, c*kh*kw, places)
    y = weight.flatten(2) @ columns.reshape(-1, *columns.shape[-2:]).movedim(-1, 0).mT
    y = y if bias is None else y + bias[..., None]  # (places, o, n)
    return y.movedim(0, -1).movedim(1, 0).reshape(*x.shape[:-3], outputs, *size)


class LocalConv2d(nn.Module):
    """A convolution of one input size whose places do not share their filters. See `local_conv2d`.

    Weight (h'*w', out, in, kh, kw) and bias (h'*w', out), the places row by row.

    >>> layer = LocalConv2d(3, 8, 3, input_size=(6, 7), stride=2)
    >>> layer(torch.zeros(1, 3, 6, 7)).shape, layer.weight.shape
    (torch.Size([1, 8, 2, 3]), torch.Size([6, 8, 3, 3, 3]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        input_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = per_axis("kernel_size", kernel_size, 2)
        self.input_size = per_axis("input_size", input_size, 2)
        self.stride = per_axis("stride", stride, 2)
        self.padding = padding if isinstance(padding, str) else as_torch(padding_pairs(padding, 2))
        self.dilation = per_axis("dilation", dilation, 2)
        filters = (self.geometry.places, out_channels)
        self.weight = nn.Parameter(
            torch.empty(*filters, in_channels, *self.kernel_size, device=device, dtype=dtype)
        )
        self.bias = nn.Parameter(torch.empty(filters, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform within 1/sqrt(taps of one filter), as torch's convolutions start."""
        bound = 1 / sqrt(self.in_channels * prod(self.kernel_size))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    @property
    def geometry(self) -> LocalGeometry:
        """The layer as plain integers."""
        return LocalGeometry(
            in_channels=self.in_channels,
            out_channels=self.out_channels,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=padding_pairs(self.padding, 2),
            dilation=self.dilation,
            input_size=self.input_size,
        )

    def forward(self, x: Tensor) -> Tensor:
        self.geometry.output_shape(x.shape)  # refuses another size that has as many places
        return local_conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LocalConv2d":
        # `.to(memory_format=torch.channels_last)` gives every tensor of 4 or 5 axes that format,
        # which a weight of 5 cannot take: torch is shown it flat.
        return super()._apply(lambda t: fn(t.flatten()).view(t.shape), recurse)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"input_size={self.input_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, bias={self.bias is not None}"
        )


LAYERS: dict[int, type[nn.Module]] = {2: LocalConv2d}
OPS: dict[int, Callable[..., Tensor]] = {2: local_conv2d}


def apply(function: Callable[..., Tensor], layer: Any, x: Tensor) -> Tensor:
    """The op or the reference, with a layer's weights and options."""
    return function(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation)


def _samples() -> list[Sample]:
    return [
        Sample(
            name="3x3, padding 1",
            layer=partial(LocalConv2d, 2, 3, 3, (4, 5), padding=1),
            input_shape=(3, 2, 4, 5),
        ),
        Sample(
            name="3x5, stride 2 'same'",
            layer=partial(LocalConv2d, 3, 2, (3, 5), (7, 8), stride=2, padding="same"),
            input_shape=(2, 3, 7, 8),
        ),
        Sample(
            name="2x3, dilation 2, asymmetric padding, no bias",
            layer=partial(
                LocalConv2d, 2, 2, (2, 3), (5, 6), padding=((0, 1), 1), dilation=2, bias=False
            ),
            input_shape=(1, 2, 5, 6),
        ),
    ]


register(
    Family(
        name="locally connected",
        layers=LAYERS,
        ops=OPS,
        reference=reference,
        apply=apply,
        recognizes=lambda geometry: isinstance(geometry, LocalGeometry),
        kernels_at_places="stored",
        samples=_samples,
        source="Taigman et al., DeepFace, 2014, section 3.1",
    )
)

# SPDX-License-Identifier: Apache-2.0
"""Local self-attention: an involution whose kernels come from comparing a place with its
neighbours.

    y_p = sum_t softmax_t(q_p . (k_{p+t} + r_t)) v_{p+t}

Source: Ramachandran et al., Stand-Alone Self-Attention in Vision Models, 2019, equations 2 and 3.
"""

from typing import Any

import torch
from torch import Tensor, nn

from convsmith.convs.involution.geometry import AttentionGeometry, InvolutionGeometry
from convsmith.convs.involution.layers import Involution2d
from convsmith.convs.padding import pad, resolve
from convsmith.convs.pointwise import PointwiseConv2d
from convsmith.convs.windows import windows
from convsmith.errors import ShapeError
from convsmith.geometry import Ints, per_axis


class NeighbourComparison(nn.Module):
    """The kernels of local self-attention, (n, heads, kh*kw, h', w').

    softmax over the neighbours t of q_p . (k_{p+t} + r_t); a neighbour outside the image gets 0.
    r_t is a row vector beside a column vector, half of a head's channels each.

    >>> comparison = NeighbourComparison(8, (3, 3), num_heads=2)
    >>> kernels = comparison(torch.randn(1, 8, 4, 5))
    >>> kernels.shape, torch.allclose(kernels.sum(2), torch.ones(()))
    (torch.Size([1, 2, 9, 4, 5]), True)
    """

    def __init__(
        self,
        channels: int,
        kernel_size: tuple[int, ...],
        num_heads: int,
        stride: tuple[int, ...] = (1, 1),
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        placement = {"device": device, "dtype": dtype}
        self.num_heads, self.kernel_size, self.stride = num_heads, kernel_size, stride
        self.queries = PointwiseConv2d(channels, channels, bias=False, **placement)
        self.keys = PointwiseConv2d(channels, channels, bias=False, **placement)
        half = channels // num_heads // 2
        rows, columns = kernel_size
        self.relative_rows = nn.Parameter(torch.empty(num_heads, half, rows, **placement))
        self.relative_columns = nn.Parameter(torch.empty(num_heads, half, columns, **placement))
        nn.init.normal_(self.relative_rows)
        nn.init.normal_(self.relative_columns)

    @property
    def geometry(self) -> AttentionGeometry:
        """The comparison, and the projections around it, as plain integers."""
        channels = self.queries.in_channels
        return AttentionGeometry(
            neighbourhood=InvolutionGeometry(
                in_channels=channels,
                out_channels=channels,
                kernel_size=self.kernel_size,
                stride=self.stride,
                padding="same",
                kernel_groups=self.num_heads,
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        pairs = resolve("same", x.shape, self.kernel_size, self.stride, (1, 1))
        heads = (self.num_heads, -1)
        queries = self.queries(self._centres(x, pairs)).unflatten(1, heads)
        keys = pad(self.keys(x), pairs).unflatten(1, heads)
        inside = pad(torch.ones_like(x[:1, :1, None]), pairs) > 0
        scores = [
            self._compare(queries, key, here, tap)
            for (tap, key), (_, here) in zip(
                windows(keys, self.kernel_size, self.stride, (1, 1)),
                windows(inside, self.kernel_size, self.stride, (1, 1)),
                strict=True,
            )
        ]
        return torch.stack(scores, 2).softmax(2)

    def _centres(self, x: Tensor, pairs: tuple[tuple[int, int], ...]) -> Tensor:
        """The input at the centre of each window."""
        view = []
        for n, k, s, (before, _) in zip(
            x.shape[2:], self.kernel_size, self.stride, pairs, strict=True
        ):
            first = (k - 1) // 2 - before
            view.append(slice(first, first + (-(-n // s) - 1) * s + 1, s))
        rows, columns = view
        return x[..., rows, columns]

    def _compare(
        self, queries: Tensor, key: Tensor, inside: Tensor, tap: tuple[int, ...]
    ) -> Tensor:
        """q . (k + r) at every place for one tap; minus infinity outside the image."""
        row, column = tap
        position = torch.cat([self.relative_rows[..., row], self.relative_columns[..., column]], 1)
        neighbour = torch.where(inside, key + position[..., None, None], 0)
        score = (queries * neighbour).sum(2)
        return score.masked_fill(~inside[:, :, 0], float("-inf"))


class LocalSelfAttention2d(Involution2d):
    """Self-attention over a k x k neighbourhood: an involution that compares the centre with its
    neighbours.

    y_p = sum_t softmax_t(q_p . (k_{p+t} + r_t)) v_{p+t}; queries q, keys k and values v are 1x1
    convolutions of x, r_t are learnt relative positions (a row beside a column), and neighbours
    outside the image take no part. With a stride the query is the one at the window's centre. One
    kernel a head.

    Args:
        channels: Of input and output.
        kernel_size: The neighbourhood, an int or one per axis.
        num_heads: Parts the channels are split into; each attends by itself.
        stride: Input pixels from one output to the next.

    Raises:
        ShapeError: if channels are not divisible by 2 num_heads.

    Cost: 2 c kh kw + c c macs an output place and 2 c c an input place.
    Source: Ramachandran et al. 2019, equations 2 and 3.

    >>> LocalSelfAttention2d(16, 7, num_heads=4, stride=2)(torch.zeros(1, 16, 9, 8)).shape
    torch.Size([1, 16, 5, 4])
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Ints,
        num_heads: int = 8,
        stride: Ints = 1,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        per_axis("LocalSelfAttention2d: channels and num_heads", (channels, num_heads), 2)
        if channels % (2 * num_heads):
            raise ShapeError(
                f"LocalSelfAttention2d: {channels} channels must be divisible by 2 x {num_heads}: "
                "an even number for each head, half for rows and half for columns"
            )
        sizes = per_axis("kernel_size", kernel_size, 2)
        strides = per_axis("stride", stride, 2)
        comparison = NeighbourComparison(channels, sizes, num_heads, strides, device, dtype)
        super().__init__(
            channels,
            sizes,
            strides,
            group_channels=channels // num_heads,
            generator=comparison,
        )
        self.value_projection = PointwiseConv2d(
            channels, channels, bias=False, device=device, dtype=dtype
        )

    def values(self, x: Tensor) -> Tensor:
        """The value projection of the input."""
        return self.value_projection(x)

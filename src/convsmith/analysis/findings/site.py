# SPDX-License-Identifier: Apache-2.0
"""A layer with a weight to look into."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor
from torch.fx import Node

from convsmith.analysis.operators import named, plain_name, sizes
from convsmith.analysis.result import Finding, Layer
from convsmith.analysis.windows import convolution_at
from convsmith.capture import Traced
from convsmith.geometry import Geometry, TransposedGeometry

_MOST_NUMBERS = 2**27


@dataclass(frozen=True, eq=False)
class Site:
    """A convolution or linear layer, its row, and the tensor of the model that is its weight."""

    node: Node
    layer: Layer
    stored: Tensor | None
    bias: Tensor | None

    @cached_property
    def weight(self) -> Tensor | None:
        """The numbers in float32; None where there are none to look at, or too many."""
        stored = self.stored
        if stored is None or stored.is_meta or not stored.is_floating_point():
            return None
        return stored.detach().float().cpu() if 0 < stored.numel() <= _MOST_NUMBERS else None

    @cached_property
    def geometry(self) -> Geometry | None:
        """Its integers, if it is a convolution."""
        found = convolution_at(self.node)
        return found.geometry if found else None

    @property
    def is_transposed(self) -> bool:
        return isinstance(self.geometry, TransposedGeometry)

    @cached_property
    def kernels(self) -> Tensor | None:
        """The weight as (groups, outputs, inputs, taps), outputs and inputs of a group."""
        weight = self.weight
        if weight is None:
            return None
        if self.geometry is None:
            return weight.reshape(1, *weight.shape, 1)
        groups = self.geometry.groups
        flat = weight.reshape(weight.shape[0], weight.shape[1], -1)
        if self.is_transposed:
            return flat.reshape(groups, -1, *flat.shape[1:]).transpose(1, 2)
        return flat.reshape(groups, -1, *flat.shape[1:])

    @cached_property
    def joined(self) -> Tensor | None:
        """(groups, outputs, inputs): whether an output reads an input through any tap."""
        return None if self.kernels is None else self.kernels.ne(0).any(3)

    def finding(
        self, what: str, rewrite: str, share: float, parameters: int | None = None
    ) -> Finding:
        """A finding here that saves a share of the layer's work."""
        numbers = self.stored.numel() if self.stored is not None else 0
        return Finding(
            layer=self.layer.name,
            what=what,
            saves_macs=round(self.layer.all_macs * share),
            saves_parameters=round(numbers * share) if parameters is None else parameters,
            rewrite=rewrite,
        )


def sites(traced: Traced, layers: Sequence[tuple[object, Layer]]) -> Iterator[Site]:
    """Every convolution and linear layer whose weight is stored."""
    for node, layer in layers:
        assert isinstance(node, Node)
        is_linear = plain_name(node) == "linear"
        if is_linear or convolution_at(node) is not None:
            given = named(node)
            stored = traced.stored(given["weight"])
            if stored is not None and prod(sizes(given["weight"])) == stored.numel():
                yield Site(node, layer, stored, traced.stored(given.get("bias")))


def rank_of(matrix: Tensor, most: int) -> int | None:
    """The rank of a matrix of float32 numbers if it is below `most`, else None.

    A random projection to a few rows and columns more keeps every rank below it, and keeps the
    singular values apart from 0. What is below 2^-19 of the greatest is taken for the rounding of
    the numbers themselves (2^-24 each).
    """
    generator = torch.Generator().manual_seed(0)
    size = most + 16
    rows = torch.randn(size, matrix.shape[0], generator=generator)
    columns = torch.randn(matrix.shape[1], size, generator=generator)
    sketch = rows.double() @ matrix.double() @ columns.double()
    diagonal = torch.linalg.qr(sketch, mode="r").R.diagonal()[:most].abs()
    if diagonal.min() > sketch.norm() * 2**-15:
        return None  # most weights: shown without the singular values, at a tenth of their cost
    squares = torch.linalg.eigvalsh(sketch @ sketch.mT)  # of the singular values
    rank = int((squares > squares[-1] * 2**-38).sum())
    return rank if rank < most else None

# SPDX-License-Identifier: Apache-2.0
"""How many pixels of the image lie between neighbours, for every axis of every value of a network.

Found from shapes alone: an image that grows by n pixels makes an axis of stride S grow by n / S.
Each axis of the image is grown by itself, so that an axis is known by the one it follows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd
from typing import Any

from torch import Tensor
from torch.fx import Node
from torch.utils._pytree import tree_leaves

from convsmith.capture import Captured
from convsmith.capture.shapes import compute_shapes

_FAR = 40320  # 8!: a multiple of every product of small strides


@dataclass(frozen=True)
class Step:
    """One step along an axis: `stride` pixels along axis `image_axis` of the image."""

    image_axis: int
    stride: Fraction


Steps = tuple[Step | None, ...]  # of each axis; None where it does not grow with the image


def image_axes(captured: Captured) -> list[int]:
    """The axes of the inputs whose sizes are free: height and width of an image are 2 and 3."""
    inputs = captured.contract.inputs
    return sorted({a for item in inputs for a, free in enumerate(item.free) if free and a >= 2})


def steps_of(captured: Captured) -> dict[Node, Steps]:
    """The steps of every value; of a node that gives several, those of the first.

    An axis that mixes two axes of the image (a map whose positions stand in one row) has no step.
    """
    native = shapes_at(captured, {})
    found: dict[Node, list[Step | None]] = {n: [None] * len(shape) for n, shape in native.items()}
    mixed: set[tuple[Node, int]] = set()
    for axis in image_axes(captured):
        for node, shape in shapes_at(captured, {axis: _FAR}).items():
            for k, (old, new) in enumerate(zip(native[node], shape, strict=True)):
                if new > old:
                    if found[node][k] is not None:
                        mixed.add((node, k))
                    found[node][k] = Step(axis, Fraction(_FAR, new - old))
    for node, k in mixed:
        found[node][k] = None
    return {node: tuple(steps) for node, steps in found.items()}


def shapes_at(captured: Captured, grow: dict[int, int]) -> dict[Node, tuple[int, ...]]:
    """The shape of every tensor where axes of the inputs are longer than at capture by `grow`.

    Raises:
        Exception: whatever torch raises if the graph cannot run on such sizes.
    """
    leaves = tree_leaves((captured.example, captured.kwargs))
    larger = [
        replace(
            item,
            sizes=tuple(n + grow.get(a, 0) for a, n in enumerate(item.sizes)),
            # A twin in float64 keeps the contract of the network it was made of.
            dtype=leaf.dtype if isinstance(leaf, Tensor) else item.dtype,
        )
        for item, leaf in zip(captured.contract.inputs, leaves, strict=True)
    ]
    return {n: shape_of(value) for n, value in compute_shapes(captured.module, larger).items()}


def common(a: Fraction, b: Fraction) -> Fraction:
    """The greatest number of which both are whole multiples.

    >>> common(Fraction(6), Fraction(4)), common(Fraction(1, 2), Fraction(3))
    (Fraction(2, 1), Fraction(1, 2))
    """
    p, q = a.numerator * b.denominator, b.numerator * a.denominator
    return Fraction(gcd(p, q), a.denominator * b.denominator)


def density(steps: Steps, output_stride: Mapping[int, int]) -> tuple[int, ...]:
    """How many times finer each axis becomes: S / gcd(S, output stride); 1 where none is wanted.

    It depends on S alone, so that branches of one stride meet on one grid.
    """
    return tuple(
        1
        if step is None
        else int(step.stride / common(step.stride, Fraction(output_stride[step.image_axis])))
        for step in steps
    )


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of a value, or of the first of several; empty if it is no tensor."""
    first = value[0] if isinstance(value, tuple | list) and value else value
    return tuple(first.shape) if isinstance(first, Tensor) else ()

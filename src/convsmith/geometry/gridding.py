# SPDX-License-Identifier: Apache-2.0
"""Gridding: the positions inside a cone that no path touches."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from convsmith.errors import ArgumentError
from convsmith.geometry.axis import Axis, TransposedAxis
from convsmith.geometry.integers import listable, per_axis

_MOST_SEARCHED = 8  # layers; more have so many dilations that none is a proposal


def touched(layers: Sequence[Axis | TransposedAxis], output: int = 0) -> tuple[int, ...]:
    """The exact input positions that one output of a chain of layers depends on, in order; first
    layer first, sizes without end on both sides.

    Without transposed layers every output touches the same pattern, moved by its stride.

    Raises:
        ShapeError: if a layer would take more than 2^24 steps.

    Cost: at most the cone's size times the kernel, a layer.

    >>> d222 = touched([Axis(3, dilation=2)] * 3)
    >>> len(d222), d222[-1] - d222[0] + 1
    (7, 13)
    """
    positions = {output}
    for axis in reversed(layers):
        listable(len(positions) * axis.kernel, "touched: steps through one layer")
        positions = {read for position in positions for read in axis.reads(position)}
    return tuple(sorted(positions))


@dataclass(frozen=True)
class HybridDilation:
    """The HDC rule of thumb for a chain of dilated layers; `touched` has the verdict."""

    max_distances: tuple[int, ...]  # M_1 ... M_n
    within_kernel: bool  # M_2 <= kernel
    starts_at_one: bool
    common_factor: int

    @property
    def passes(self) -> bool:
        return self.within_kernel and self.starts_at_one and self.common_factor == 1


def hybrid_dilation(kernel: int, dilations: Sequence[int]) -> HybridDilation:
    """M_i = max(M_{i+1} - 2 r_i, 2 r_i - M_{i+1}, r_i), M_n = r_n: the rule wants M_2 <= kernel.

    It also wants a first rate of 1 and no factor common to all rates.

    Raises:
        ArgumentError: if there are no dilations, or an entry is not an integer.
        ShapeError: if the kernel or a dilation is below 1.

    Source: Wang et al., Understanding Convolution for Semantic Segmentation, 2018, section 3.2.

    >>> hybrid_dilation(3, (1, 2, 5)).passes, hybrid_dilation(3, (2, 2, 2)).max_distances[1]
    (True, 2)
    """
    if not dilations:
        raise ArgumentError(
            f"hybrid_dilation: dilations {dilations!r} must be one or more integers"
        )
    (kernel,) = per_axis("hybrid_dilation: kernel", kernel, 1)
    rates = per_axis("hybrid_dilation: dilations", tuple(dilations), len(dilations))
    distances = [rates[-1]]
    for rate in reversed(rates[:-1]):
        following = distances[0]
        distances.insert(0, max(following - 2 * rate, 2 * rate - following, rate))
    second = distances[min(1, len(distances) - 1)]
    return HybridDilation(tuple(distances), second <= kernel, rates[0] == 1, gcd(*rates))


def closing_dilations(
    kernels: Sequence[int], total: int, *, width: int = 1, stride: int = 1
) -> tuple[int, ...] | None:
    """Dilations that leave no hole and whose sum is `total`, or as near below as can be; rising.

    Layer i leaves none if dilation_i * stride <= what the layers before it cover without holes,
    which grows by dilation_i (kernel_i - 1) stride.

    Args:
        kernels: Taps of each layer, each at least 2.
        total: The sum of the dilations that are to be replaced: it decides how far all reach.
        width: Inputs that one input of the first layer covers already.
        stride: Inputs from one input of the first layer to the next.

    Returns:
        One dilation a layer; None if even dilations of 1 leave holes.

    >>> closing_dilations((3, 3, 3), 6), closing_dilations((3, 3, 3), 14)
    ((1, 2, 3), (1, 3, 9))
    """
    best: tuple[int, ...] | None = None

    def search(chosen: tuple[int, ...], covered: int) -> None:
        nonlocal best
        left = total - sum(chosen)
        if len(chosen) == len(kernels):
            if best is None or sum(best) < sum(chosen) <= total:
                best = chosen
            return
        least = chosen[-1] if chosen else 1
        most = min(covered // stride, left - least * (len(kernels) - len(chosen) - 1))
        for dilation in range(most, least - 1, -1):
            if best is not None and sum(best) == total:
                return
            kernel = kernels[len(chosen)]
            search((*chosen, dilation), covered + dilation * (kernel - 1) * stride)

    if len(kernels) <= _MOST_SEARCHED and total <= _MOST_SEARCHED**2:
        search((), width)
    return best

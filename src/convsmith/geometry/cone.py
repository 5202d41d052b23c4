# SPDX-License-Identifier: Apache-2.0
"""The cone: the inputs one output depends on, along one axis, through any number of layers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

from convsmith.errors import ShapeError
from convsmith.geometry.integers import listable

Interval = tuple[int, int]


@dataclass(frozen=True)
class Cone:
    """Output j reads the inputs [stride j + a, stride j + b].

    After up-sampling the stride is a fraction and whole inputs do not move evenly, so the exact
    form is kept: `reads[j]` is the closed interval of inputs of output j for the first `len(reads)`
    outputs (None: that output reads nothing), and each further round of outputs reads `advance`
    inputs further on. The interval is the hull: it may have holes (gridding).

    Composed hulls stay exact while the outputs of the earlier layers read in order, none nothing.
    Where they do not (a transposed convolution that is dilated or whose stride exceeds its kernel),
    holes of the later layer may make the interval wider than what is read, never narrower.

    Raises:
        ShapeError: if there is no output, or a composition has a round of more than 2^24 outputs.

    >>> three_by_three = Cone(1, ((-1, 1),))
    >>> pool = Cone(2, ((0, 1),))
    >>> both = pool.through(three_by_three)  # first the convolution, then the pool
    >>> both.stride, both.a, both.b, both.size
    (Fraction(2, 1), Fraction(-1, 1), Fraction(2, 1), 4)
    """

    advance: int
    reads: tuple[Interval | None, ...]

    def __post_init__(self) -> None:
        if not self.reads:
            raise ShapeError(f"cone: reads {self.reads} must hold at least one output")
        advance, reads = _shortest_round(self.advance, self.reads)
        object.__setattr__(self, "advance", advance)
        object.__setattr__(self, "reads", reads)

    @property
    def stride(self) -> Fraction:
        """Inputs from one output to the next."""
        return Fraction(self.advance, len(self.reads))

    @property
    def a(self) -> Fraction:
        """The least `first input - stride j` over all outputs j (0 if nothing is read)."""
        least = min(self._from_grid(0), default=0)
        return Fraction(least, len(self.reads))

    @property
    def b(self) -> Fraction:
        """The greatest `last input - stride j` over all outputs j (-1 if nothing is read)."""
        greatest = max(self._from_grid(1), default=-len(self.reads))
        return Fraction(greatest, len(self.reads))

    @property
    def size(self) -> int:
        """The receptive field: inputs from the first to the last, both counted, of the output
        that sees most.
        """
        return max((last - first + 1 for _, (first, last) in self._intervals()), default=0)

    def inputs(self, output: int) -> Interval | None:
        """First and last input of output `output`, counted without regard to where the input
        ends.
        """
        rounds, j = divmod(output, len(self.reads))
        interval = self.reads[j]
        return interval and (
            interval[0] + rounds * self.advance,
            interval[1] + rounds * self.advance,
        )

    def through(self, earlier: "Cone") -> "Cone":
        """This layer's cone in the inputs of the layer before it."""
        rounds = len(earlier.reads) // gcd(self.advance, len(earlier.reads))
        outputs = listable(len(self.reads) * rounds, "cone: outputs in one round")
        advance = self.advance * rounds * earlier.advance // len(earlier.reads)
        return Cone(advance, tuple(earlier._hull_of(self.inputs(j)) for j in range(outputs)))

    def union(self, other: "Cone") -> "Cone":
        """The hull of two branches that meet.

        Raises:
            ShapeError: if the branches have different strides: their outputs do not lie on one
                grid.
        """
        if self.stride != other.stride:
            raise ShapeError(
                f"cone: branches of stride {self.stride} and {other.stride} meet; they must have "
                "the same stride"
            )
        outputs = listable(lcm(len(self.reads), len(other.reads)), "cone: outputs in one round")
        advance = self.advance * (outputs // len(self.reads))
        return Cone(
            advance, tuple(_hull([self.inputs(j), other.inputs(j)]) for j in range(outputs))
        )

    def _intervals(self) -> list[tuple[int, Interval]]:
        return [(j, interval) for j, interval in enumerate(self.reads) if interval is not None]

    def _from_grid(self, end: int) -> Iterator[int]:
        """How far the first (0) or last (1) input of each output is from `stride j`, in parts."""
        for j, interval in self._intervals():
            yield interval[end] * len(self.reads) - self.advance * j

    def _hull_of(self, outputs: Interval | None) -> Interval | None:
        """The hull of all that the outputs of an interval read. One round at each end decides
        it.
        """
        if outputs is None:
            return None
        first, last = outputs
        ends = {*range(first, min(last, first + len(self.reads) - 1) + 1)}
        ends |= {*range(max(first, last - len(self.reads) + 1), last + 1)}
        return _hull(self.inputs(j) for j in ends)


def _hull(intervals: Iterable[Interval | None]) -> Interval | None:
    present = [interval for interval in intervals if interval is not None]
    if not present:
        return None
    return min(first for first, _ in present), max(last for _, last in present)


def _shortest_round(
    advance: int, reads: tuple[Interval | None, ...]
) -> tuple[int, tuple[Interval | None, ...]]:
    """The same cone with the fewest outputs a round, so that equal cones compare equal."""
    outputs = len(reads)
    for shorter in range(1, outputs):
        if outputs % shorter or advance * shorter % outputs:
            continue
        shift = advance * shorter // outputs
        moved = (r and (r[0] + shift, r[1] + shift) for r in reads)
        if all(r == reads[j + shorter] for j, r in enumerate(moved) if j + shorter < outputs):
            return shift, reads[:shorter]
    return advance, reads

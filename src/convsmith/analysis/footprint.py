# SPDX-License-Identifier: Apache-2.0
"""Footprint: exactly which inputs each output reads along one axis, and over how many paths."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

import numpy as np

from convsmith.errors import ShapeError
from convsmith.geometry import Cone

_MOST = 2**22  # positions held of one footprint
_MOST_OUTPUTS = 2**10  # until it repeats


@dataclass(frozen=True, eq=False)
class Reads:
    """The positions `first + k` that one output reads: those where `touched[k]`.

    `paths[k]` is the number of paths that lead there, up to a factor common to the footprint.
    """

    first: int
    touched: np.ndarray
    paths: np.ndarray

    @property
    def last(self) -> int:
        """The last position read; below `first` if there is none."""
        return self.first + len(self.touched) - 1

    def positions(self) -> np.ndarray:
        """Every position read, in order."""
        return np.flatnonzero(self.touched) + self.first

    def moved(self, by: int) -> "Reads":
        """The same pattern `by` positions on."""
        return Reads(self.first + by, self.touched, self.paths) if by else self

    def same(self, other: "Reads", by: int) -> bool:
        """Whether `other` is this pattern `by` positions on, read over as many paths."""
        return (
            other.first == self.first + by
            and np.array_equal(self.touched, other.touched)
            and np.allclose(self.paths, other.paths, rtol=1e-9, atol=0)
        )


_NOTHING = Reads(0, np.zeros(0, bool), np.zeros(0))


@dataclass(frozen=True, eq=False)
class Footprint:
    """Output j reads `reads[j % len(reads)]`, moved by `advance` for every full round of outputs.

    Where `Cone` keeps the hull, a footprint keeps every position; counted without regard to where
    the input ends. `log2_scale`: paths are to be multiplied by 2 to this power.

    Raises:
        ShapeError: if it would hold more than 2^22 positions, or more than 2^10 outputs differ.

    >>> dilated = Footprint.identity().window([0, 2, 4]).window([0, 2, 4])
    >>> dilated.cone().size, dilated.reads[0].positions().tolist(), dilated.reads[0].paths.tolist()
    (9, [0, 2, 4, 6, 8], [1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 2.0, 0.0, 1.0])
    """

    advance: int
    reads: tuple[Reads, ...]
    log2_scale: float = 0.0

    @staticmethod
    def identity() -> "Footprint":
        """Output j reads input j."""
        return Footprint(1, (Reads(0, np.ones(1, bool), np.ones(1)),))

    @property
    def stride(self) -> Fraction:
        """Inputs from one output to the next."""
        return Fraction(self.advance, len(self.reads))

    def at(self, output: int) -> Reads:
        """What output `output` reads."""
        rounds, phase = divmod(output, len(self.reads))
        return self.reads[phase].moved(rounds * self.advance)

    def window(self, offsets: Iterable[int]) -> "Footprint":
        """Output j reads what outputs j + offset of this footprint read."""
        return self.gather(1, [list(offsets)])

    def repeated(self, step: int, count: int) -> "Footprint":
        """Output j reads what outputs j, j + step, ..., j + (count - 1) step of this footprint
        read; half of them is the other half moved, so that only log(count) windows are slid.
        """
        if count == 1:
            return self
        half = self.repeated(step, count // 2)
        even = half.window([0, count // 2 * step])
        return even if count % 2 == 0 else even.union(self.window([(count - 1) * step]))

    def gather(self, step: int, taps: Sequence[Sequence[int]]) -> "Footprint":
        """Output j < len(taps) reads what the outputs `taps[j]` of this footprint read; each
        further round of outputs lies `step` of them further on.
        """
        rounds = len(self.reads) // gcd(step, len(self.reads))
        _check_round(rounds * len(taps))
        outputs = [
            _sum(self.at(tap + turn * step) for tap in of_output)
            for turn in range(rounds)
            for of_output in taps
        ]
        if sum(len(reads.touched) for reads in outputs) > _MOST:
            raise ShapeError(
                f"footprint: {len(outputs)} outputs read {len(outputs[0].touched)} positions each; "
                f"at most {_MOST} are listed"
            )
        advance = step * rounds * self.advance // len(self.reads)
        return _scaled(*_shortest(advance, tuple(outputs)), self.log2_scale)

    def union(self, other: "Footprint") -> "Footprint":
        """Two branches that meet. Only those of equal stride lie on one grid."""
        outputs = lcm(len(self.reads), len(other.reads))
        _check_round(outputs)
        advance = self.advance * (outputs // len(self.reads))
        top = max(self.log2_scale, other.log2_scale)
        parts = [(f, 2.0 ** (f.log2_scale - top)) for f in (self, other)]
        reads = [
            _sum(
                Reads(r.first, r.touched, r.paths * factor)
                for r, factor in ((f.at(j), factor) for f, factor in parts)
            )
            for j in range(outputs)
        ]
        return _scaled(*_shortest(advance, tuple(reads)), top)

    def cone(self) -> Cone:
        """The hull."""
        return Cone(
            self.advance,
            tuple((r.first, r.last) if len(r.touched) else None for r in self.reads),
        )

    def same(self, other: "Footprint") -> bool:
        """Whether both read the same, whatever the number of paths."""
        return (
            self.advance == other.advance
            and len(self.reads) == len(other.reads)
            and all(
                a.first == b.first and np.array_equal(a.touched, b.touched)
                for a, b in zip(self.reads, other.reads, strict=True)
            )
        )


def _check_round(outputs: int) -> None:
    if outputs > _MOST_OUTPUTS:
        raise ShapeError(
            f"footprint: {outputs} outputs read differently before it repeats; at most "
            f"{_MOST_OUTPUTS} are listed"
        )


def _sum(parts: Iterable[Reads]) -> Reads:
    """All that the parts read, their paths added up."""
    found = [part for part in parts if len(part.touched)]
    if len(found) < 2:
        return found[0] if found else _NOTHING
    first, last = min(p.first for p in found), max(p.last for p in found)
    if last - first >= _MOST:
        raise ShapeError(f"footprint: one output reads {last - first + 1} positions, over {_MOST}")
    touched, paths = np.zeros(last - first + 1, bool), np.zeros(last - first + 1)
    for part in found:
        place = slice(part.first - first, part.last - first + 1)
        touched[place] |= part.touched
        paths[place] += part.paths
    return Reads(first, touched, paths)


def _scaled(advance: int, reads: tuple[Reads, ...], log2_scale: float) -> Footprint:
    """Keep the greatest number of paths near 1: a thousand layers have 3^1000."""
    top = max((float(r.paths.max()) for r in reads if len(r.paths)), default=1.0)
    if top < 2.0**200:
        return Footprint(advance, reads, log2_scale)
    lighter = tuple(Reads(r.first, r.touched, r.paths * 2.0**-200) for r in reads)
    return Footprint(advance, lighter, log2_scale + 200)


def _shortest(advance: int, reads: tuple[Reads, ...]) -> tuple[int, tuple[Reads, ...]]:
    """The same footprint with the fewest outputs a round."""
    for outputs in _divisors(len(reads)):
        shift, rest = divmod(advance * outputs, len(reads))
        if rest == 0 and all(
            reads[j].same(reads[j + outputs], shift) for j in range(len(reads) - outputs)
        ):
            return shift, reads[:outputs]
    return advance, reads


def _divisors(number: int) -> Iterator[int]:
    """From the smallest, without the number itself."""
    return (d for d in range(1, number // 2 + 1) if number % d == 0)

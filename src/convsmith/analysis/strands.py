# SPDX-License-Identifier: Apache-2.0
"""Strand: one way in which the elements of a tensor depend on one axis of the input."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from convsmith.analysis.footprint import Footprint

_MOST_STRANDS = 6
_MOST_PHASES = 256


class Irregular(Exception):
    """What cannot be said by strands; the words say why."""


@dataclass(frozen=True, eq=False)
class Strand:
    """One way in which elements depend on one axis of the input."""

    footprint: Footprint
    const: int
    coefs: tuple[int, ...]  # one for each digit of the tensor, 0 where it does not matter

    def on_one_digit(self, places: range, sizes: Sequence[int]) -> "Strand":
        """Digits that stand side by side on one axis, as one: the inner ones become phases."""
        own = [self.coefs[p] for p in places]
        outside = (*self.coefs[: places.start], *self.coefs[places.stop :])
        if not any(own):
            return replace(self, coefs=(*outside[: places.start], 0, *outside[places.start :]))
        if any(outside) or prod(sizes[1:]) > _MOST_PHASES or min(own) < 0:
            raise Irregular("works along an axis made of several")
        taps = [self.const]
        for coef, size in zip(own[1:], sizes[1:], strict=True):
            taps = [tap + coef * i for tap in taps for i in range(size)]
        footprint = self.footprint.gather(own[0], [[tap] for tap in taps])
        zeros = tuple(0 for _ in outside)
        return Strand(footprint, 0, (*zeros[: places.start], 1, *zeros[places.start :]))

    def on_grid(self) -> Footprint | None:
        """The footprint of the outputs along the one digit that matters, if it is one alone."""
        moving = [coef for coef in self.coefs if coef]
        if len(moving) > 1 or any(coef < 0 for coef in moving):
            return None
        if not moving:
            return replace(self.footprint.gather(len(self.footprint.reads), [[self.const]]))
        if moving == [1] and self.const == 0:
            return self.footprint
        return self.footprint.gather(moving[0], [[self.const]])


def united(strands: Sequence[Strand]) -> tuple[Strand, ...]:
    """Strands that move alike become one."""
    found: list[Strand] = []
    for strand in strands:
        for place, other in enumerate(found):
            both = _one(other, strand)
            if both is not None:
                found[place] = both
                break
        else:
            found.append(strand)
    if len(found) > _MOST_STRANDS:
        raise Irregular(f"depends on the input in {len(found)} different ways")
    return tuple(found)


def _one(left: Strand, right: Strand) -> Strand | None:
    """The two as one strand; None if they do not move alike."""
    if left.coefs == right.coefs and left.footprint.stride == right.footprint.stride:
        shifted = right.footprint
        if left.const != right.const:
            shifted = shifted.window([right.const - left.const])
        return replace(left, footprint=left.footprint.union(shifted))
    moving = [tuple(bool(c) for c in s.coefs) for s in (left, right)]
    if moving[0] != moving[1] or sum(moving[0]) != 1:
        return None
    grids = [s.on_grid() for s in (left, right)]
    if grids[0] is None or grids[1] is None or grids[0].stride != grids[1].stride:
        return None
    return Strand(grids[0].union(grids[1]), 0, tuple(map(int, moving[0])))

# SPDX-License-Identifier: Apache-2.0
"""Reach: how the elements of one tensor depend on places of the input, whatever was done to its
shape.

A tensor's axis is a row of digits, outer first: an axis of 12 that came from splitting 12 columns
into 3 windows of 4 has the digits 3, 4. A strand gives each digit a coefficient: the element at
digits d reads what output `const + sum(coefs * d)` of its footprint reads. So views split, merge
and permute digits, and nothing is lost:

    (N, C, 12) -> (N, C, 3, 4) -> (N, 3, C, 4): digits 3 and 4 have the coefficients 4 and 1
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod

from convsmith.analysis.footprint import Footprint
from convsmith.analysis.result import WholeMap
from convsmith.analysis.strands import Irregular, Strand, united

Digits = tuple[tuple[int, ...], ...]  # of each axis, the sizes of its digits, outer first


@dataclass(frozen=True, eq=False)
class Seen:
    """One axis of the input, as a tensor sees it: through windows, and as a whole."""

    strands: tuple[Strand, ...]
    whole: WholeMap | None = None


@dataclass(frozen=True, eq=False)
class Reach:
    """A tensor's dependence on the input, axis by axis of the input."""

    digits: Digits
    seen: Mapping[int, Seen]

    @staticmethod
    def of_input(shape: Sequence[int], axes: Iterable[int]) -> "Reach":
        """An input that depends on itself, place by place along `axes`."""
        digits = tuple((size,) for size in shape)

        def along(axis: int) -> Seen:
            coefs = tuple(int(k == axis) for k in range(len(shape)))
            return Seen((Strand(Footprint.identity(), 0, coefs),))

        return Reach(digits, {axis: along(axis) for axis in axes})

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(prod(sizes) for sizes in self.digits)

    @property
    def rank(self) -> int:
        return len(self.digits)

    def axis(self, axis: int) -> int:
        """An axis counted from the front."""
        return axis % self.rank if self.rank else 0

    def places(self, axis: int) -> range:
        """Where the digits of an axis stand among all digits."""
        before = sum(len(sizes) for sizes in self.digits[:axis])
        return range(before, before + len(self.digits[axis]))

    def matters(self, axis: int) -> bool:
        """Whether any strand moves along an axis."""
        places = self.places(self.axis(axis))
        return any(strand.coefs[p] for strand in self.strands() for p in places)

    def strands(self) -> list[Strand]:
        return [strand for seen in self.seen.values() for strand in seen.strands]

    def mapped(self, digits: Digits, change: Callable[[Strand], Strand]) -> "Reach":
        """Every strand changed alike."""
        seen = {axis: Seen(tuple(map(change, s.strands)), s.whole) for axis, s in self.seen.items()}
        return Reach(digits, seen)

    def permuted(self, order: Sequence[int]) -> "Reach":
        """The axes in another order."""
        places = [p for axis in order for p in self.places(axis)]
        return self.mapped(
            tuple(self.digits[axis] for axis in order),
            lambda s: replace(s, coefs=tuple(s.coefs[p] for p in places)),
        )

    def reshaped(self, shape: Sequence[int]) -> "Reach":
        """The same elements in rows of other lengths."""
        if tuple(shape) == self.shape:
            return self
        try:
            pieces = _pieces([size for sizes in self.digits for size in sizes], shape)
        except Irregular:
            if all(len(sizes) == 1 for sizes in self.digits):
                raise
            return self.flat().reshaped(shape)
        digits = tuple(tuple(size for _, size, _ in row) for row in pieces)
        places = [(p, inner) for row in pieces for p, _, inner in row]
        return self.mapped(
            digits,
            lambda s: replace(s, coefs=tuple(s.coefs[p] * inner for p, inner in places)),
        ).merged()

    def merged(self) -> "Reach":
        """With as few digits as say the same."""
        strands = self.strands()
        digits: list[tuple[int, ...]] = []
        kept: list[int] = []
        place = 0
        for sizes in self.digits:
            row: list[int] = []
            for size in sizes:
                if row and (size == 1 or row == [1]):  # one element says nothing beside others
                    if size > 1:
                        row[-1], kept[-1] = size, place
                    place += 1
                    continue
                fits = bool(row) and all(
                    s.coefs[kept[-1]] == s.coefs[place] * size for s in strands
                )
                if fits:
                    row[-1], kept[-1] = row[-1] * size, place
                else:
                    row.append(size)
                    kept.append(place)
                place += 1
            digits.append(tuple(row))
        return self.mapped(
            tuple(digits), lambda s: replace(s, coefs=tuple(s.coefs[p] for p in kept))
        )

    def with_axis(self, axis: int, size: int) -> "Reach":
        """A new axis along which nothing changes."""
        digits = (*self.digits[:axis], (size,), *self.digits[axis:])
        at = sum(len(sizes) for sizes in self.digits[:axis])
        return self.mapped(digits, lambda s: replace(s, coefs=(*s.coefs[:at], 0, *s.coefs[at:])))

    def without_axis(self, axis: int) -> "Reach":
        """Drop an axis that does not matter, or of which one element is left."""
        places = self.places(axis)
        return self.mapped(
            (*self.digits[:axis], *self.digits[axis + 1 :]),
            lambda s: replace(s, coefs=(*s.coefs[: places.start], *s.coefs[places.stop :])),
        )

    def resized(self, axis: int, size: int) -> "Reach":
        """An axis that does not matter, with another length."""
        return self.without_axis(axis).with_axis(axis, size)

    def reduced(self, axes: Iterable[int], by: WholeMap) -> "Reach":
        """One element for all along these axes: of length 1 from now on."""
        found = self
        for axis in {self.axis(axis) for axis in axes}:
            found = found._reduced(axis, by)
        return found

    def _reduced(self, axis: int, by: WholeMap) -> "Reach":
        places = self.places(axis)
        sizes = self.digits[axis]
        seen = {}
        for of_input, old in self.seen.items():
            strands, whole = [], old.whole
            for strand in old.strands:
                read = [(strand.coefs[p], n) for p, n in zip(places, sizes, strict=True)]
                coefs = (*strand.coefs[: places.start], *strand.coefs[places.stop :])
                if any(c and n > 1 for c, n in read) and not any(coefs):
                    whole = whole or by
                    continue
                footprint = strand.footprint
                for coef, size in read:
                    if coef and size > 1:
                        footprint = footprint.repeated(coef, size)
                strands.append(replace(strand, footprint=footprint, coefs=coefs))
            seen[of_input] = Seen(tuple(strands), whole)
        digits = (*self.digits[:axis], *self.digits[axis + 1 :])
        return Reach(digits, seen).with_axis(axis, 1)

    def sliced(self, axis: int, start: int, step: int, length: int) -> "Reach":
        """Elements start, start + step, ... of an axis; a start below 0 lies in padding."""
        axis = self.axis(axis)
        if not self.matters(axis):
            return self.resized(axis, length)
        if (start, step, (length,)) == (0, 1, (prod(self.digits[axis]),)):
            return self
        whole, place = self.single(axis)
        moved = whole.mapped(
            whole.digits,
            lambda s: replace(
                s,
                const=s.const + start * s.coefs[place],
                coefs=(*s.coefs[:place], s.coefs[place] * step, *s.coefs[place + 1 :]),
            ),
        )
        return replace(moved, digits=_with(moved.digits, axis, (length,)))

    def selected(self, axis: int, index: int) -> "Reach":
        """The one element `index` of an axis."""
        axis = self.axis(axis)
        places, rest = self.places(axis), index % max(1, prod(self.digits[axis]))
        values: list[int] = []
        for size in reversed(self.digits[axis]):
            rest, value = divmod(rest, size)
            values.insert(0, value)

        def moved(s: Strand) -> Strand:
            more = sum(s.coefs[p] * v for p, v in zip(places, values, strict=True))
            return replace(s, const=s.const + more)

        return self.mapped(self.digits, moved).without_axis(axis)

    def windowed(self, axis: int, offsets: Sequence[int], stride: int, length: int) -> "Reach":
        """Element j of an axis reads the elements j stride + offset."""
        axis = self.axis(axis)
        if not self.matters(axis):
            return self.resized(axis, length)
        whole, place = self.single(axis)

        def slid(s: Strand) -> Strand:
            coef = s.coefs[place]
            if not coef:
                return s
            return replace(
                s,
                footprint=s.footprint.window(coef * offset for offset in offsets),
                coefs=(*s.coefs[:place], coef * stride, *s.coefs[place + 1 :]),
            )

        return whole.mapped(_with(whole.digits, axis, (length,)), slid)

    def gathered(self, axis: int, step: int, taps: Sequence[Sequence[int]], length: int) -> "Reach":
        """Element j < len(taps) of an axis reads the elements taps[j]; each further round lies
        `step` further on.
        """
        axis = self.axis(axis)
        if not self.matters(axis):
            return self.resized(axis, length)
        whole, place = self.single(axis)

        def drawn(s: Strand) -> Strand:
            if not s.coefs[place]:
                return s
            grid = s.on_grid()
            if grid is None:
                raise Irregular("resizes an axis that was taken apart")
            coefs = tuple(int(p == place) for p in range(len(s.coefs)))
            return Strand(grid.gather(step, taps), 0, coefs)

        return whole.mapped(_with(whole.digits, axis, (length,)), drawn)

    def single(self, axis: int) -> tuple["Reach", int]:
        """The same with an axis of one digit, and its place."""
        axis = self.axis(axis)
        places, sizes = self.places(axis), self.digits[axis]
        if len(sizes) == 1:
            return self, places.start
        found = self.mapped(
            _with(self.digits, axis, (prod(sizes),)), lambda s: s.on_one_digit(places, sizes)
        )
        return found, places.start

    def flat(self) -> "Reach":
        """The same with every axis of one digit."""
        found = self
        for axis in range(self.rank):
            found, _ = found.single(axis)
        return found

    def apart(self) -> "Reach":
        """Where axes of the input lie behind each other on one axis, as rows of tokens do, an axis
        for each.
        """
        rows: list[tuple[int, ...]] = []
        for axis, sizes in enumerate(self.digits):
            row: list[int] = []
            last: set[int] = set()
            for place, size in zip(self.places(axis), sizes, strict=True):
                movers = {a for a, s in self.seen.items() if any(t.coefs[place] for t in s.strands)}
                if row and last and movers and movers != last:
                    rows.append(tuple(row))
                    row = []
                row.append(size)
                last = movers or last
            rows.append(tuple(row))
        return Reach(tuple(rows), self.seen)

    def joined(self, other: "Reach", shape: Sequence[int]) -> "Reach":
        """What two tensors that are broadcast to `shape` depend on together."""
        left, right = _matched(self.broadcast(shape), other.broadcast(shape))
        seen = dict(left.seen)
        for axis, theirs in right.seen.items():
            mine = seen.get(axis, Seen(()))
            strands = united([*mine.strands, *theirs.strands])
            seen[axis] = Seen(strands, mine.whole or theirs.whole)
        return Reach(left.digits, seen).merged()

    def broadcast(self, shape: Sequence[int]) -> "Reach":
        """Repeated along new axes in front and along axes of length 1."""
        found = self
        for _ in range(len(shape) - self.rank):
            found = found.with_axis(0, 1)
        for axis, size in enumerate(shape):
            if size != 1 and found.shape[axis] == 1:
                found = found.resized(axis, size)
        return found


def _with(digits: Digits, axis: int, sizes: tuple[int, ...]) -> Digits:
    return (*digits[:axis], sizes, *digits[axis + 1 :])


def _pieces(flat: Sequence[int], shape: Sequence[int]) -> list[list[tuple[int, int, int]]]:
    """For each axis of `shape` its digits: (place in `flat`, size, size of what is inside)."""
    rows: list[list[tuple[int, int, int]]] = []
    queue = [(place, size, 1) for place, size in enumerate(flat)]
    for number, wanted in enumerate(shape):
        row: list[tuple[int, int, int]] = []
        while queue and (wanted > 1 or not row or number == len(shape) - 1):
            place, size, inner = queue[0]
            if wanted == 1 and size > 1:
                break
            queue.pop(0)
            if wanted % max(size, 1) == 0:
                row.append((place, size, inner))
                wanted //= max(size, 1)
            elif size % wanted == 0:
                row.append((place, wanted, inner * (size // wanted)))
                queue.insert(0, (place, size // wanted, inner))
                wanted = 1
                break
            else:
                raise Irregular(f"splits an axis of {size} across rows of {wanted}")
        rows.append(row or [(0, 1, 0)])
    if queue and any(size > 1 for _, size, _ in queue):
        raise Irregular("changes the number of elements")
    return rows


def _matched(left: Reach, right: Reach) -> tuple[Reach, Reach]:
    """Both with the same digits."""
    if left.digits == right.digits:
        return left, right
    try:
        rows = [_refined(a, b) for a, b in zip(left.digits, right.digits, strict=True)]
    except Irregular:
        return left.flat(), right.flat()
    flat = [size for row in rows for size in row]
    found = [_split(reach, flat, tuple(rows)) for reach in (left, right)]
    return found[0], found[1]


def _refined(mine: Sequence[int], theirs: Sequence[int]) -> tuple[int, ...]:
    """Digits of which both rows are made."""
    ends = {prod(row[k:]) for row in (mine, theirs) for k in range(len(row) + 1)}
    inner_first = sorted(ends)
    sizes: list[int] = []
    for small, large in pairwise(inner_first):
        if large % small:
            raise Irregular("joins axes that were taken apart differently")
        sizes.insert(0, large // small)
    return tuple(sizes) or (1,)


def _split(reach: Reach, flat: Sequence[int], rows: Digits) -> Reach:
    pieces = _pieces([size for sizes in reach.digits for size in sizes], flat)
    places = [[(p, inner) for p, size, inner in row if size > 1 or len(row) == 1] for row in pieces]
    if any(len(row) != 1 for row in places):
        raise Irregular("joins axes that were taken apart differently")
    flattened = [row[0] for row in places]
    return reach.mapped(
        rows, lambda s: replace(s, coefs=tuple(s.coefs[p] * inner for p, inner in flattened))
    )

# SPDX-License-Identifier: Apache-2.0
"""What every operator's result reads of the image, in the order they run.

A window of the image gives an operator's output where two things hold: all that the output depends
on lies in the window, and the window's own run of the operator gets as far as that output. The
second follows from the first unless a layer cuts its map (a slice, a negative padding, a cropping
transposed convolution). There the edges of the window are taken among the things that the output
depends on, so that whatever follows depends on them too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from math import ceil, floor, lcm, prod

import numpy as np
from torch.fx import Node

from convsmith.analysis.cones import along, spread
from convsmith.analysis.footprint import Footprint, Reads
from convsmith.analysis.operators import named, plain_name, sizes
from convsmith.analysis.reach import Reach, Seen
from convsmith.analysis.spreading import Step
from convsmith.analysis.spreading.step import Answer
from convsmith.analysis.strands import Irregular, Strand, united
from convsmith.geometry import Cone
from convsmith.scanning.sliding.refusing import check_operator, check_whole
from convsmith.scanning.sliding.watching import Watched, refusal

_MIRRORS = {"reflect", "replicate", "reflection", "replication"}


@dataclass(frozen=True, eq=False)
class Row:
    """One axis of the image as a node sees it.

    Attributes:
        axis: Of the node's result, the one that moves with the image.
        cone: What each of its elements depends on.
        count: How many there are.
        inner: How many numbers of the axis each of them is.
        advance: Inputs after which the same reads come round again.
    """

    axis: int
    cone: Cone
    count: int
    inner: int
    advance: int


@dataclass(eq=False)
class Reading:
    """The reaches of a network's nodes on an image, and what they demand of a window.

    Attributes:
        period: Of each axis of the input, where a window may start.
        least: Of each axis, the inputs that a window must hold for layers that mirror an edge.
    """

    watched: Watched
    found: dict[Node, Answer] = field(default_factory=dict)
    rows: dict[Node, dict[int, Row]] = field(default_factory=dict)
    period: dict[int, int] = field(default_factory=dict)
    least: dict[int, int] = field(default_factory=dict)

    def run(self) -> None:
        """Follow the image to the result.

        Raises:
            UnsupportedError: naming the first operator that keeps the network from sliding.
        """
        shape = sizes(self.watched.source)
        start = Reach.of_input(shape, range(2, len(shape)))
        self.found[self.watched.source] = self._settled(self.watched.source, start)
        for node in self.watched.needed:
            if node in self.watched.moved and node.op == "call_function":
                self._follow(node)

    def _follow(self, node: Node) -> None:
        step = Step(node, self.found, "")
        before = next((r for r in map(step.of, node.all_input_nodes) if r is not None), None)
        if before is not None:
            check_operator(node, before)
        answer = spread(step)
        if isinstance(answer, Reach):
            answer = self._settled(node, answer)
            self._note_mirrors(node)
        elif isinstance(answer, list):
            for seen in (s for reach in answer if reach for s in reach.seen.values()):
                check_whole(node, seen.whole)
        self.found[node] = answer

    def _settled(self, node: Node, reach: Reach) -> Reach:
        """The reach with the edges of a window in it, where they matter; its rows are noted."""
        self.rows[node] = {}
        found = {}
        for of_input, one in reach.seen.items():
            check_whole(node, one.whole)
            if one.strands:
                found[of_input] = self._row(node, reach, of_input)
        if len({row.axis for row, _ in found.values()}) < len(found):
            return reach  # a flattened map: its axes cannot be told apart, and nothing is cut here
        seen = dict(reach.seen)
        for of_input, (row, edges) in found.items():
            self.period[of_input] = lcm(self.period.get(of_input, 1), row.advance)
            if edges is not None:
                seen[of_input] = Seen(united([*seen[of_input].strands, edges]))
                row = replace(row, cone=row.cone.union(along(edges, reach).cone()))
            self.rows[node][of_input] = row
        return Reach(reach.digits, seen)

    def _row(self, node: Node, reach: Reach, of_input: int) -> tuple[Row, Strand | None]:
        strands = reach.seen[of_input].strands
        if any(min(strand.coefs) < 0 or not any(strand.coefs) for strand in strands):
            raise refusal(node, "reads fixed places of the image", "let it do the same everywhere")
        try:
            footprints = [along(strand, reach) for strand in strands]
        except Irregular as reason:
            raise refusal(
                node, str(reason), "only what does the same at every place slides"
            ) from None
        cones = [footprint.cone() for footprint in footprints]
        if len({cone.stride for cone in cones}) > 1:
            strides = " and ".join(sorted(str(cone.stride) for cone in cones))
            raise refusal(node, f"joins maps of strides {strides}", "join maps of one stride")
        axis, coefs = _outermost(reach, strands)
        count = prod(size for size, coef in zip(_flat(reach), coefs, strict=True) if coef)
        cone = reduce(Cone.union, cones)
        advance = lcm(*(footprint.advance for footprint in footprints))
        row = Row(axis, cone, count, reach.shape[axis] // max(1, count), advance)
        size = sizes(self.watched.source)[of_input]
        return row, _edges(row, size, coefs) if _is_cut(row, size) else None

    def _note_mirrors(self, node: Node) -> None:
        """A pad that mirrors or repeats an edge reads inwards from it."""
        given = named(node)
        mode = given.get("mode", plain_name(node).split("_")[0])
        if "pad" not in plain_name(node) or mode not in _MIRRORS:
            return
        amounts = given.get("pad") or given["padding"]
        source = node.all_input_nodes[0]
        rank = len(sizes(source))
        for of_input, row in self.rows[source].items():
            pairs = amounts[2 * (rank - 1 - row.axis) :][:2]
            if not any(pairs):
                continue
            deep = [max(0, amount) if mode.startswith("reflect") else 0 for amount in pairs]
            stride, size = row.cone.stride, sizes(self.watched.source)[of_input]
            from_start = floor(stride * deep[0] + row.cone.b) + 1
            from_end = size - floor(stride * (row.count - 1 - deep[1]) + row.cone.a)
            least = self.least.get(of_input, 1)
            self.least[of_input] = max(least, from_start, from_end)


def _flat(reach: Reach) -> list[int]:
    return [size for row in reach.digits for size in row]


def _outermost(reach: Reach, strands: Sequence[Strand]) -> tuple[int, tuple[int, ...]]:
    """The axis that grows with the image, and an index of its growing elements as coefficients.

    As `along` does it: all digits of an axis where strands move on no other, else the digit with
    the largest coefficient.
    """
    axes = [
        axis
        for axis in range(reach.rank)
        if any(s.coefs[p] for s in strands for p in reach.places(axis))
    ]
    coefs = [0] * len(strands[0].coefs)
    if len(axes) == 1:
        inner = 1
        for place in reversed(reach.places(axes[0])):
            coefs[place] = inner
            inner *= _flat(reach)[place]
        return axes[0], tuple(coefs)
    outer = max(range(len(coefs)), key=lambda place: max(s.coefs[place] for s in strands))
    coefs[outer] = 1
    return next(axis for axis in axes if outer in reach.places(axis)), tuple(coefs)


def _is_cut(row: Row, size: int) -> bool:
    """Whether a window may hold all that an output depends on and yet not have that output.

    The whole image is as good a window as any: it misses the outputs before 0 and from `count` on.
    """
    one_round = range(len(row.cone.reads))
    before = [row.cone.inputs(-1 - j) for j in one_round]
    after = [row.cone.inputs(row.count + j) for j in one_round]
    return any(read is None or read[0] >= 0 for read in before) or any(
        read is None or read[1] < size for read in after
    )


def _edges(row: Row, size: int, coefs: tuple[int, ...]) -> Strand:
    """The inputs at which a window must begin and end for an output to be in it."""
    stride = row.cone.stride
    beyond = size - stride * row.count  # inputs after the share of the last output
    reads = []
    for output in range(stride.denominator):
        first = floor(stride * output)
        last = max(first, ceil(stride * (output + 1) + beyond) - 1)
        touched = np.zeros(last - first + 1, bool)
        touched[[0, -1]] = True
        reads.append(Reads(first, touched, touched.astype(float)))
    return Strand(Footprint(stride.numerator, tuple(reads)), 0, coefs)

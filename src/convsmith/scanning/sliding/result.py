# SPDX-License-Identifier: Apache-2.0
"""How a network slides over one axis: plain numbers."""

from dataclasses import dataclass
from fractions import Fraction

from convsmith.geometry import Cone
from convsmith.scanning.tiling import AxisPlan


@dataclass(frozen=True, kw_only=True)
class AxisSliding:
    """One axis of a network that slides.

    Attributes:
        cone: What each output depends on; where a layer cuts its map, also how far a window must go
            for the output to be there.
        period: Where a window may start: at its multiples every layer is in step. Its length must
            differ from the image's by a multiple of it, too.
        least: Inputs that a window must hold for layers that mirror or repeat the map's edge.
    """

    cone: Cone
    period: int
    least: int

    @property
    def stride(self) -> Fraction:
        """Inputs from one output to the next."""
        return self.cone.stride

    def cut(self, size: int, outputs: int, core: int) -> AxisPlan:
        """An axis of the image, and of the network's outputs along it, in tiles of `core` outputs
        at most.
        """
        return AxisPlan.fitted(
            size=size,
            outputs=outputs,
            stride=self.stride,
            a=self.cone.a,
            b=self.cone.b,
            period=self.period,
            core=min(core, outputs),
            least=self.least,
        )

    def is_padded(self, size: int, outputs: int) -> bool:
        """Whether any output of an image of this size depends on what lies beyond its edges."""
        one_round = len(self.cone.reads)
        first = range(min(one_round, outputs))
        last = range(max(0, outputs - one_round), outputs)
        reads = [read for j in {*first, *last} if (read := self.cone.inputs(j)) is not None]
        return any(start < 0 or stop >= size for start, stop in reads)

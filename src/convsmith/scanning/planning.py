# SPDX-License-Identifier: Apache-2.0
"""`plan_scan`: tiles that fit the memory, and what they will cost, before any work begins."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from convsmith.errors import ArgumentError, ShapeError
from convsmith.scanning.plan import Plan
from convsmith.scanning.sliding import AxisSliding
from convsmith.scanning.tiling import AxisPlan

_SIDES = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
_HALO = 1.1  # once a tile reads only so much more than its share, a larger one wins little
_MUCH = 1.5  # and from here on the reader is told what a larger one would take
_LEAST_PIXELS = (
    512 * 512
)  # below it, opening, syncing and writing a tile cost more than they should
_BATCH_PIXELS = 256 * 256  # smaller tiles go to the network together
_MOST_TOGETHER = 16

# An upper bound of resident memory; tests/scanning/running/test_memory.py holds it against runs.
_PROCESS = 448 << 20  # Python, torch and the libraries, before any work: 360 to 400 MiB measured
_KERNELS = 2  # what kernels take over the activations alive: inputs and outputs in their own layout
_READS = 6  # batches read ahead or being stacked, as they came and in float32
_WRITES = 7  # results computed, waiting, and being filled up, packed and written


@dataclass(frozen=True)
class UncutAxis:
    """An axis of the image before it is cut, and the network's outputs along the whole of it."""

    size: int
    outputs: int
    slides: AxisSliding

    def cut(self, side: int) -> AxisPlan:
        """Tiles whose reads are about `side` inputs long, no shorter than they must be, and even:
        the last one reads as much as all others.
        """
        stride, period, cone = self.slides.stride, self.slides.period, self.slides.cone
        step = max(1, int(period / stride))
        fitting = int((side - (cone.b - cone.a) - 2 * period) / stride)
        core = max(step, fitting // step * step)
        even = -(-self.outputs // -(-self.outputs // core))
        return self.with_core(-(-even // step) * step)

    def with_core(self, core: int) -> AxisPlan:
        """Tiles that write so many outputs."""
        return self.slides.cut(self.size, self.outputs, core)


@dataclass(frozen=True, kw_only=True)
class Larger:
    """Tiles that the memory has no room for: what they would take, and what their halos cost."""

    memory_bytes: int
    halo: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a plan will cost.

    Attributes:
        tiles: How many there are.
        read: The shape of a tile's read, the channels first.
        halo: Pixels read over pixels of the image: 1 if none is read twice.
        memory_bytes, budget_bytes: The most memory at once, by a count that is meant to be no less
            than what is taken, and what is allowed.
        larger: Where halos cost much and a larger tile would save: the least that does.
    """

    tiles: int
    read: tuple[int, ...]
    halo: float
    memory_bytes: int
    budget_bytes: int
    larger: Larger | None = None


def plan_scan(
    uncut: Sequence[UncutAxis],
    *,
    live_bytes: Callable[[Sequence[int], int], int],
    weight_bytes: int,
    memory: int,
    held_bytes: int = 0,
    core: Sequence[int] | None = None,
    batch: int | None = None,
    **facts: Any,
) -> tuple[Plan, Estimate]:
    """The plan of a scan, and what it will cost.

    Args:
        uncut: What the network needs, axis by axis.
        live_bytes: Of the lengths of a read and a number of tiles, the bytes of activations alive
            at once.
        weight_bytes: Of the network's numbers.
        memory: Bytes that all of it may take.
        held_bytes: Of the image, kept decoded by its source.
        core, batch: Outputs of a tile and tiles at once; chosen to fit if nothing is given.
        facts: The other fields of `Plan`.

    Raises:
        ArgumentError: if not even the smallest tile fits, or the given one does not.
        ShapeError: if the image gives no output.

    Cost: a call of `live_bytes` for each size that is tried; no tile is listed.
    """
    if min(axis.outputs for axis in uncut) < 1:
        raise ShapeError(
            f"scan: an image of {[axis.size for axis in uncut]} is smaller than what one "
            "output looks at; give a larger image"
        )

    def needed(axes: Sequence[AxisPlan], count: int) -> int:
        lengths = [axis.read for axis in axes]
        alive = (1 + _KERNELS) * live_bytes(lengths, count)
        waiting = _READS * count * facts["in_channels"] * prod(lengths) * 4
        kept, passing = _bytes_of_output(facts)
        waiting += (_WRITES * count * kept + passing) * prod(axis.core for axis in axes)
        return _PROCESS + held_bytes + 2 * weight_bytes + alive + waiting

    chosen: tuple[Plan, Estimate] | None = None
    larger: Larger | None = None
    least = 0
    for axes in _candidates(uncut, core):
        count = batch or _together(axes)
        while count > 1 and needed(axes, count) > memory and batch is None:
            count -= 1
        taken = needed(axes, count)
        least = min(least or taken, taken)
        if taken > memory:
            if chosen is None or chosen[1].halo <= _MUCH:
                break
            larger = Larger(memory_bytes=taken, halo=_halo(axes))
            if larger.halo <= _MUCH:
                break
            continue
        chosen = _planned(axes, count, taken, memory, facts)
        is_large = prod(axis.read for axis in axes) >= _LEAST_PIXELS
        if chosen[1].halo <= _HALO and is_large:
            break
    if chosen is None:
        raise ArgumentError(
            f"scan: the least that it takes is {least / 2**20:.0f} MiB, and memory is "
            f"{memory / 2**20:.0f} MiB; allow more, or give a smaller core or batch"
        )
    plan, estimate = chosen
    return plan, replace(estimate, larger=larger)


def _candidates(
    uncut: Sequence[UncutAxis], core: Sequence[int] | None
) -> Iterator[tuple[AxisPlan, ...]]:
    """Tiles from small to large."""
    if core is not None:
        yield tuple(axis.with_core(size) for axis, size in zip(uncut, core, strict=True))
        return
    alone = [axis.slides.cone.size == axis.slides.period == 1 for axis in uncut]
    before = None
    for side in _SIDES:
        # An axis that nothing reads along, such as that of frames, needs no length to save halos.
        axes = tuple(
            axis.with_core(1) if one and not all(alone) else axis.cut(side)
            for axis, one in zip(uncut, alone, strict=True)
        )
        if axes != before:
            yield axes
        before = axes


def _bytes_of_output(facts: Mapping[str, Any]) -> tuple[int, int]:
    """Bytes of an output that are kept, and that pass while it is reduced to them."""
    channels, k = facts["out_channels"], facts.get("k", 1)
    return {
        "scores": (4 * channels, 0),
        "probabilities": (4 * channels, 4 * channels),
        "labels": (4, 8),
        "topk": (8 * k, 12 * channels),
    }[facts.get("output", "scores")]


def _together(axes: Sequence[AxisPlan]) -> int:
    pixels = prod(axis.read for axis in axes)
    tiles = prod(axis.tiles() for axis in axes)
    return max(1, min(_MOST_TOGETHER, tiles, _BATCH_PIXELS // pixels))


def _halo(axes: Sequence[AxisPlan]) -> float:
    return prod(axis.inputs_read / axis.size for axis in axes)


def _planned(
    axes: tuple[AxisPlan, ...], batch: int, taken: int, memory: int, facts: Mapping[str, Any]
) -> tuple[Plan, Estimate]:
    plan = Plan(axes=axes, batch=batch, **facts)
    estimate = Estimate(
        tiles=len(plan),
        read=(plan.in_channels, *(axis.read for axis in axes)),
        halo=_halo(axes),
        memory_bytes=taken,
        budget_bytes=memory,
    )
    return plan, estimate

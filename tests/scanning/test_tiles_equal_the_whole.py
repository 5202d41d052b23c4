# SPDX-License-Identifier: Apache-2.0
"""Tiles of random networks on small integers: the whole, bit for bit. Faults are found out."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from convsmith.scanning.plan import Plan, Tile
from convsmith.scanning.sliding import Sliding, sliding
from convsmith.scanning.tiling import AxisPlan, AxisTile, needed

from .random_integer_networks import CHANNELS, RandomIntegerNetwork, small_integers
from .running_tiles import EVERYTHING, plan_of, run_tiles

_LARGEST = {1: 160, 2: 56, 3: 20}  # pixels a side
_MOST_TILES = 150
_MOST_GROWN = 600
_CUTS = 4  # of each image


@dataclass(frozen=True)
class Case:
    network: RandomIntegerNetwork
    slides: Sliding
    image: Tensor
    whole: Tensor
    plan: Plan

    def words(self) -> str:
        return f"{self.network.words} on {tuple(self.image.shape)}: {self.plan.axes}"


def cases(seed: int, images: int) -> list[Case]:
    """A random network on images of random sizes, each cut in several ways; those that run."""
    chance = random.Random(seed)
    axes = chance.choice([1, 1, 1, 2, 2, 3])
    network = RandomIntegerNetwork(seed, axes, chance.randint(1, 5))
    if network.grown > _MOST_GROWN:
        return []  # two of a thousand, which would take longer than all others
    largest = _LARGEST[axes]
    choices = [1, *(chance.randint(1, largest) for _ in range(2)), largest, largest - 1]
    found = []
    for _ in range(images):
        sizes = [chance.choice(choices) for _ in range(axes)]
        slides = sliding(network, CHANNELS, sizes)
        # Cuts of one image: the same remainders by the period, so the same geometry.
        for _ in range(_CUTS):
            case = _case(network, slides, sizes, chance)
            if case is not None:
                found.append(case)
    return found


def _case(
    network: RandomIntegerNetwork, slides: Sliding, sizes: list[int], chance: random.Random
) -> Case | None:
    image = small_integers(torch.randint(0, 1000, (1, CHANNELS, *sizes)).float())
    try:
        whole = network(image)
    except (RuntimeError, ValueError):
        return None  # the image is smaller than a kernel
    if whole.numel() == 0:
        return None
    plans = []
    for size, outputs, axis in zip(sizes, whole.shape[2:], slides.axes, strict=True):
        core = chance.choice([chance.randint(1, max(1, outputs // 2)), chance.randint(1, outputs)])
        plans.append(axis.cut(size, outputs, core))
    if prod(plan.tiles() for plan in plans) > _MOST_TILES:
        return None
    return Case(network, slides, image, whole, plan_of(plans, CHANNELS))


def check(seed: int, images: int) -> int:
    """Every case of a seed; how many had more than one tile."""
    found = cases(seed, images)
    for number, case in enumerate(found):
        if number % _CUTS == 0:  # it costs two traces
            case.slides.check(case.plan.axes)
        tiled = run_tiles(case.network, case.plan, case.image)
        assert torch.equal(tiled, case.whole), case.words()
    return sum(len(case.plan) > 1 for case in found)


@pytest.mark.parametrize("seed", range(18))
def test_tiles_equal_the_whole(seed: int) -> None:
    check(seed, images=3)


def test_most_cases_have_several_tiles() -> None:
    assert sum(len(case.plan) > 1 for seed in range(3) for case in cases(seed, 3)) > 15


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("block", range(20))
def test_thousands_of_tiles_equal_the_whole(block: int) -> None:
    assert sum(check(seed, images=4) for seed in range(1000 + 20 * block, 1020 + 20 * block)) > 150


Fault = Callable[[Case], Tensor]


def short_halo(case: Case) -> Tensor:
    """The last input that a core depends on is left out."""
    axes = [
        AxisPlan.fitted(
            size=axis.size,
            outputs=axis.outputs,
            stride=axis.stride,
            a=axis.a + axis.period,
            b=axis.b - axis.period,
            period=axis.period,
            core=axis.core,
        )
        for axis in case.plan.axes
    ]
    return run_tiles(case.network, plan_of(axes, CHANNELS), case.image)


def origin_plus_one(case: Case) -> Tensor:
    """Reads start one pixel after where they should, inside the image."""

    def moved(axis: AxisPlan, number: int) -> AxisTile:
        tile = axis.tile(number)
        first, stop = tile.read.start, tile.read.stop
        return (
            replace(tile, read=slice(first + 1, stop + 1)) if 0 < first < stop < axis.size else tile
        )

    return with_tiles(case, moved)


def short_last_read(case: Case) -> Tensor:
    """The last read is as long as a core needs, and starts wherever that puts it."""

    def shifted(axis: AxisPlan, number: int) -> AxisTile:
        tile = axis.tile(number)
        least = needed(axis.stride, axis.a, axis.b, axis.period, axis.core)
        first = max(0, axis.size - least)
        if tile.read.stop < axis.size or first % axis.period == 0:
            return tile
        shift = int(first / axis.stride)
        keep = slice(tile.write.start - shift, tile.write.stop - shift)
        return replace(tile, read=slice(first, axis.size), keep=keep)

    return with_tiles(case, shifted)


def mirror_for_edge(case: Case) -> Tensor:
    """The image is continued by its mirror image, and the edges cut off afterwards."""
    margin = [min(axis.size - 1, 24) // axis.period * axis.period for axis in case.plan.axes]
    if not all(margin):
        return case.whole
    longer = F.pad(case.image, [m for m in reversed(margin) for _ in (0, 1)], mode="reflect")
    result = case.network(longer)
    first = [int(m / axis.stride) for m, axis in zip(margin, case.plan.axes, strict=True)]
    kept = tuple(
        slice(start, start + axis.outputs)
        for start, axis in zip(first, case.plan.axes, strict=True)
    )
    return result[EVERYTHING + kept]


def with_tiles(case: Case, tile_of: Callable[[AxisPlan, int], AxisTile]) -> Tensor:
    def wrong(number: int) -> Tile:
        right = case.plan.tile(number)
        tiles = [tile_of(axis, k) for axis, k in zip(case.plan.axes, right.index, strict=True)]
        return replace(right, read=tuple(t.read for t in tiles), keep=tuple(t.keep for t in tiles))

    return run_tiles(case.network, case.plan, case.image, wrong)


def found_out(fault: Fault, case: Case) -> bool:
    """Whether a fault shows: another result, or none at all."""
    try:
        return not torch.equal(fault(case), case.whole)
    except RuntimeError:
        return True


@pytest.fixture(scope="module")
def several_tiles() -> list[Case]:
    torch.manual_seed(0)
    return [case for seed in range(10) for case in cases(seed, 2) if len(case.plan) > 1]


@pytest.mark.parametrize(
    ("fault", "share"),
    [(short_halo, 0.7), (origin_plus_one, 0.4), (mirror_for_edge, 0.5), (short_last_read, 0.1)],
)
def test_a_planted_fault_is_found_out(
    several_tiles: list[Case], fault: Fault, share: float
) -> None:
    """In most networks that have a period, padding or sizes to get wrong; not all have."""
    found = sum(found_out(fault, case) for case in several_tiles)
    assert found > share * len(several_tiles)

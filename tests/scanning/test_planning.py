# SPDX-License-Identifier: Apache-2.0
"""Tiles are chosen to fit the memory: never over it, and read less twice the more there is."""

from collections.abc import Sequence
from math import prod
from typing import Any

import pytest

from convsmith.errors import ArgumentError, ShapeError
from convsmith.geometry import Cone
from convsmith.scanning.plan import Plan
from convsmith.scanning.planning import Estimate, UncutAxis, plan_scan
from convsmith.scanning.sliding import AxisSliding

MIB = 1 << 20
FACTS: dict[str, Any] = {"in_channels": 3, "out_channels": 5}


def uncut_axis(size: int, rf: int = 101, period: int = 8) -> UncutAxis:
    """A network that keeps the size, with so wide a receptive field."""
    cone = Cone(1, ((-(rf // 2), rf // 2),))
    return UncutAxis(size, size, AxisSliding(cone=cone, period=period, least=1))


def alive(lengths: Sequence[int], tiles: int) -> int:
    """Sixty-four maps in float32."""
    return 4 * 64 * tiles * prod(lengths)


def planned(memory: int, size: int = 50_000, **wishes: Any) -> tuple[Plan, Estimate]:
    return plan_scan(
        (uncut_axis(size), uncut_axis(size)),
        live_bytes=alive,
        weight_bytes=10 * MIB,
        memory=memory,
        **FACTS,
        **wishes,
    )


def test_more_memory_reads_less_twice() -> None:
    found = [planned(mib * MIB)[1] for mib in (700, 1000, 2000, 8000)]
    assert all(one.memory_bytes <= one.budget_bytes for one in found)
    halos = [one.halo for one in found]
    assert halos == sorted(halos, reverse=True)
    assert halos[0] > halos[-1]


def test_where_halos_cost_much_it_says_what_larger_tiles_would_take() -> None:
    far = (uncut_axis(50_000, rf=401),) * 2
    plenty: dict[str, Any] = {"live_bytes": alive, "weight_bytes": 0, **FACTS}
    _, cramped = plan_scan(far, memory=700 * MIB, **plenty)
    assert cramped.halo > 1.5
    assert cramped.larger is not None
    _, roomy = plan_scan(far, memory=cramped.larger.memory_bytes, **plenty)
    assert roomy.halo == cramped.larger.halo <= 1.5
    assert roomy.larger is None
    assert plan_scan(far, memory=700 * MIB, core=(64, 64), **plenty)[1].larger is None


def test_the_estimate_says_what_the_plan_does() -> None:
    plan, estimate = planned(2000 * MIB)
    tile = plan.tile(len(plan) // 2)
    assert estimate.tiles == len(plan)
    assert estimate.read == (3, *tile.shape)
    assert estimate.halo == pytest.approx(len(plan) * prod(tile.shape) / 50_000**2)
    assert alive(tile.shape, plan.batch) < estimate.memory_bytes


def test_a_core_and_a_batch_that_are_asked_for_are_taken() -> None:
    plan, _ = planned(2000 * MIB, core=(40, 56), batch=3)
    assert (plan.cores, plan.batch) == ((40, 56), 3)


def test_small_tiles_run_together() -> None:
    plan, _ = planned(4000 * MIB, core=(16, 16))
    assert plan.batch > 1
    assert planned(4000 * MIB, size=100)[0].batch == 1


def test_tiles_are_even() -> None:
    """Sixty outputs in tiles of at most 56 are two of 32, and not one of 56 and a rest."""
    axis = uncut_axis(60, rf=9).cut(80)
    assert (axis.core, axis.tiles()) == (32, 2)


def test_an_axis_that_nothing_reads_along_is_cut_one_by_one() -> None:
    frames = UncutAxis(500, 500, AxisSliding(cone=Cone(1, ((0, 0),)), period=1, least=1))
    axes = (frames, uncut_axis(400), uncut_axis(400))
    plan, _ = plan_scan(
        axes, live_bytes=alive, weight_bytes=0, memory=2000 * MIB, core=None, batch=None, **FACTS
    )
    assert plan.cores[0] == 1
    assert plan.cores[1] > 1


def test_a_small_image_is_one_tile() -> None:
    plan, estimate = planned(2000 * MIB, size=50)
    assert len(plan) == 1
    assert estimate.halo == 1


def test_what_does_not_fit_is_refused_with_what_it_would_take() -> None:
    for wishes in ({}, {"core": (512, 512)}, {"batch": 64}):
        with pytest.raises(ArgumentError, match=r"the least that it takes is \d+ MiB, and memory"):
            planned(460 * MIB, **wishes)


def test_an_image_smaller_than_one_output_is_refused() -> None:
    small = UncutAxis(20, 0, AxisSliding(cone=Cone(4, ((0, 31),)), period=4, least=1))
    with pytest.raises(ShapeError, match="is smaller than what one output looks at"):
        plan_scan((small,), live_bytes=alive, weight_bytes=0, memory=1000 * MIB, **FACTS)

# SPDX-License-Identifier: Apache-2.0
"""Batches hold every tile once, neighbours of one shape, wherever a run begins."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsmith.scanning.plan import Plan
from convsmith.scanning.running.batches import Batches
from convsmith.scanning.tiling import AxisPlan


def axis(size: int, core: int, reach: int, stride: int) -> AxisPlan:
    outputs = -(-size // stride)
    return AxisPlan.fitted(
        size=size, outputs=outputs, stride=stride, a=-reach, b=reach, period=stride, core=core
    )


AXES = st.builds(axis, st.integers(1, 30), st.integers(3, 9), st.integers(0, 6), st.integers(1, 4))


@given(st.lists(AXES, min_size=1, max_size=3), st.integers(1, 7))
def test_every_tile_is_in_one_batch_of_one_shape(axes: list[AxisPlan], size: int) -> None:
    plan = Plan(axes=tuple(axes), in_channels=1, out_channels=1, batch=size)
    batches = list(Batches(plan))
    assert len(batches) == len(Batches(plan))
    assert sorted(tile for batch in batches for tile in batch) == list(range(len(plan)))
    for batch in batches:
        assert len({plan.tile(tile).shape for tile in batch}) == 1
        assert list(batch) == sorted(batch)
        assert len(batch) <= size
    # At most one batch of each of the 2^axes shapes is not full.
    assert sum(len(batch) < size for batch in batches) <= 2 ** len(axes)


def test_a_batch_is_missing_while_one_of_its_tiles_is() -> None:
    plan = Plan(axes=(axis(64, 4, 1, 1),) * 2, in_channels=1, out_channels=1, batch=3)
    batches = Batches(plan)
    done = np.ones(len(plan), bool)
    assert list(batches.missing(done)) == []
    for number, place in product((0, 40, len(batches) - 1), (0, -1)):
        done[batches[number][place]] = False
        assert list(batches.missing(done)) == [number]
        done[:] = True
    assert list(batches.missing(~done)) == list(range(len(batches)))
    with pytest.raises(IndexError):
        batches[len(batches)]

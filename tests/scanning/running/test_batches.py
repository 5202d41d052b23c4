# SPDX-License-Identifier: Apache-2.0
"""Batches hold every tile once, neighbours of one shape, wherever a run begins."""

from itertools import product

import numpy as np
import pytest

from convsmith.scanning.running.batches import Batches

from .small_scan import plan


@pytest.mark.parametrize("size", [1, 3, 7, 20, 100])
def test_every_tile_is_in_one_batch_of_one_shape(size: int) -> None:
    made = plan(core=4, batch=size)
    batches = list(Batches(made))
    assert len(batches) == len(Batches(made))
    assert [tile for batch in batches for tile in batch] == list(range(len(made)))
    assert {len(batch) for batch in batches[:-1]} <= {size}
    assert len({made.tile(tile).shape for batch in batches for tile in batch}) == 1


def test_a_batch_is_missing_while_one_of_its_tiles_is() -> None:
    made = plan(core=4, batch=3)
    batches = Batches(made)
    done = np.ones(len(made), bool)
    assert list(batches.missing(done)) == []
    for number, place in product((0, 7, len(batches) - 1), (0, -1)):
        done[batches[number][place]] = False
        assert list(batches.missing(done)) == [number]
        done[:] = True
    assert list(batches.missing(~done)) == list(range(len(batches)))
    with pytest.raises(IndexError):
        batches[len(batches)]

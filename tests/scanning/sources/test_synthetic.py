# SPDX-License-Identifier: Apache-2.0
"""The synthetic image is the same from whichever window it is read, at any size."""

import numpy as np
import pytest

from convsmith.errors import ArgumentError
from convsmith.scanning.sources import SyntheticSource


def test_neighbours_and_channels_differ() -> None:
    x = SyntheticSource((2, 128, 128)).read((slice(0, 128), slice(0, 128))).astype(np.float64)
    # Independent samples correlate by 1/sqrt(n), n = 128 * 127; six times that never happens.
    bound = 6 / np.sqrt(128 * 127)
    pairs = [(x[0, 1:], x[0, :-1]), (x[0, :, 1:], x[0, :, :-1]), (x[0], x[1])]
    assert all(abs(np.corrcoef(p.ravel(), q.ravel())[0, 1]) < bound for p, q in pairs)
    assert not np.array_equal(x, SyntheticSource((2, 128, 128), seed=1).read((slice(0, 128),) * 2))


def test_a_far_corner_costs_only_itself() -> None:
    huge = SyntheticSource((3, 2**40, 2**40))
    corner = huge.read((slice(2**40 - 5, 2**40), slice(2**40 - 4, 2**40)))
    assert corner.shape == (3, 5, 4)
    assert np.array_equal(
        corner[:, 2:, 1:], huge.read((slice(2**40 - 3, 2**40), slice(2**40 - 3, 2**40)))
    )


@pytest.mark.parametrize("shape", [(3,), (1, 2, 3, 4, 5), (1, 0, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match="one to three axes of space, none of them empty"):
        SyntheticSource(shape)

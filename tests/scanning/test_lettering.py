# SPDX-License-Identifier: Apache-2.0
"""Letters order axes, there and back."""

from itertools import permutations

import numpy as np
import pytest

from convsmith.errors import ArgumentError
from convsmith.scanning.lettering import Lettering


@pytest.mark.parametrize("letters", ["".join(p) for p in permutations("CZYX")] + ["HW", "WH", "L"])
def test_inside_and_outside_undo_each_other(letters: str) -> None:
    sizes = {"C": 2, "Z": 3, "Y": 4, "X": 5, "H": 4, "W": 5, "L": 6}
    array = np.arange(np.prod([sizes[letter] for letter in letters])).reshape(
        [sizes[letter] for letter in letters]
    )
    inside = Lettering(letters).inside(array)
    space = [sizes[letter] for letter in "ZYXHWL" if letter in letters]
    assert inside.shape == (2 if "C" in letters else 1, *space)
    assert np.array_equal(Lettering(letters).outside(inside), array)


def test_the_usual_order_moves_nothing() -> None:
    for num_space in (1, 2, 3):
        assert Lettering.usual(num_space).order == tuple(range(num_space + 1))
        assert Lettering.usual(num_space).num_space == num_space


@pytest.mark.parametrize("letters", ["", "C", "CC", "HH", "HY", "CQX", "TZ", "CTZYX", "chw"])
def test_unclear_letters_are_refused(letters: str) -> None:
    with pytest.raises(ArgumentError, match="one letter an axis, each once: C for the channels"):
        Lettering(letters)


def test_an_array_of_other_axes_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"axes 'CHW': an array of shape \(4, 4\) has 2 axes"):
        Lettering("CHW").inside(np.zeros((4, 4)))

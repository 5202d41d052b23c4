# SPDX-License-Identifier: Apache-2.0
"""A window is checked before it is read, and its samples after."""

import numpy as np
import pytest

from convsmith.errors import ArgumentError, FormatError, ShapeError
from convsmith.scanning.sources import Source, SyntheticSource, read_window
from convsmith.scanning.sources.protocol import Window


class Drawn:
    """A user's own source: four attributes and `read`, nothing inherited."""

    place = None

    def __init__(self, image: np.ndarray, *, promised: tuple[int, ...] | None = None) -> None:
        self.image = image
        self.shape = promised or image.shape
        self.dtype = image.dtype
        self.identity = {"kind": "drawn"}

    def read(self, window: Window) -> np.ndarray:
        return self.image[(slice(None), *window)]


def test_a_source_inherits_from_nothing() -> None:
    assert isinstance(Drawn(np.zeros((1, 4))), Source)
    assert not isinstance(np.zeros((1, 4)), Source)


@pytest.mark.parametrize(
    "window",
    [
        (slice(0, 9), slice(0, 4)),
        (slice(-1, 4), slice(0, 4)),
        (slice(3, 2), slice(0, 4)),
        (slice(0, 4, 2), slice(0, 4)),
        (slice(None), slice(0, 4)),
        (slice(0, 4),),
    ],
)
def test_a_window_that_leaves_the_image_is_refused(window: Window) -> None:
    source = SyntheticSource((1, 8, 8))
    with pytest.raises(ShapeError, match=r"leaves an image of \(8, 8\): one slice an axis"):
        read_window(source, window)


def test_a_source_that_breaks_its_promise_is_named() -> None:
    liar = Drawn(np.zeros((1, 6, 6)), promised=(2, 6, 6))
    with pytest.raises(FormatError, match=r"drawn gave \(1, 2, 3\) float64 for \[0:2, 0:3\]"):
        read_window(liar, (slice(0, 2), slice(0, 3)))


def test_nan_is_named_by_its_pixel_unless_it_is_let_through() -> None:
    image = np.zeros((2, 6, 6), np.float32)
    image[1, 4, 3] = np.nan
    source, window = Drawn(image), (slice(2, 6), slice(1, 5))
    with pytest.raises(FormatError, match=r"holds NaN at channel 1, pixel \(4, 3\), one of 1"):
        read_window(source, window)
    assert np.isnan(read_window(source, window, nan="allow")).sum() == 1
    with pytest.raises(ArgumentError, match='nan is \'ignore\'; it is "error" or "allow"'):
        read_window(source, window, nan="ignore")  # type: ignore[arg-type]

# SPDX-License-Identifier: Apache-2.0
"""What convolution and pooling share: input shapes and the integers of a window."""

import re
from typing import Any

import pytest

from convsmith.errors import ArgumentError, ShapeError
from convsmith.geometry import Cone, Window, batch_of


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [((5, 3, 9), 1, 5), ((3, 9), 1, 1), ((0, 3, 9, 9), 2, 0), ((3, 4, 5, 6), 3, 1)],
)
def test_batch_of(shape: tuple[int, ...], axes: int, expected: int) -> None:
    assert batch_of(shape, axes) == batch_of(shape, axes, 3) == expected


@pytest.mark.parametrize(
    ("shape", "axes", "error", "message"),
    [
        (
            (9,),
            1,
            ShapeError,
            "input shape (9,) has 1 dimensions; 1 spatial axes need 3 (batch, channels, ...) or "
            "2 (channels, ...)",
        ),
        ((1, 1, 3, 9), 1, ShapeError, "(1, 1, 3, 9) has 4 dimensions"),
        ((1, 4, 9), 1, ShapeError, "input shape (1, 4, 9) has 4 channels, expected 3"),
        ((-1, 3, 9), 1, ShapeError, "input shape (-1, 3, 9) has a negative size"),
        ((1, 3, 9.0), 1, ArgumentError, "input shape (1, 3, 9.0) must hold integers"),
        ((1, 3, float("nan")), 1, ArgumentError, "input shape (1, 3, nan) must hold integers"),
        ((True, 3, 9), 1, ArgumentError, "input shape (True, 3, 9) must hold integers"),
        ((None, 3, 9), 1, ArgumentError, "input shape (None, 3, 9) must hold integers"),
        ((2**31, 3, 2**31), 1, ShapeError, f"(2147483648, 3, 2147483648): {3 * 2**62} does not"),
    ],
)
def test_batch_of_refuses(
    shape: tuple[Any, ...], axes: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        batch_of(shape, axes, 3)


def test_a_window_fills_in_its_defaults() -> None:
    window = Window(kernel_size=(3, 5))
    assert window == Window(kernel_size=[3, 5], stride=1, padding="valid", dilation=(1, 1))
    assert window.spatial_axes == 2
    assert window.cone((1, 8, 9)) == (Cone(1, ((0, 2),)), Cone(1, ((0, 4),)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": ()}, "kernel_size () must hold 1 to 3 integers, one per axis"),
        ({"kernel_size": (1, 1, 1, 1)}, "kernel_size (1, 1, 1, 1) must hold 1 to 3 integers"),
        ({"kernel_size": (3,), "stride": 0}, "stride: 0 must be at least 1"),
        ({"kernel_size": (3,), "dilation": 0}, "dilation: 0 must be at least 1"),
        ({"kernel_size": (3,), "padding": -1}, "padding: -1 must be at least 0"),
        ({"kernel_size": (3,), "padding": ""}, "padding: '' must be 'same', 'valid', integers"),
        ({"kernel_size": (3, 3), "stride": (1, 2, 3)}, "stride: (1, 2, 3) has 3 entries; 2 axes"),
        (
            {"kernel_size": (3,), "dilation": (2**62,)},
            f"span of kernel 3 with dilation {2**62}: {2**63 + 1} does not fit in a signed 64-bit",
        ),
        ({"kernel_size": (2**63,)}, f"kernel_size: {2**63} does not fit"),
    ],
)
def test_a_window_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Window(**options)

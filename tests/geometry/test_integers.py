# SPDX-License-Identifier: Apache-2.0
"""Arguments become checked integers, or an error that shows them."""

import re

import numpy as np
import pytest

from convsmith.errors import ArgumentError, ShapeError
from convsmith.geometry import INT64_MAX, checked, padding_pairs, per_axis
from convsmith.geometry.integers import MOST_LISTED, listable


@pytest.mark.parametrize("value", [INT64_MAX, -INT64_MAX - 1, 0])
def test_checked_keeps_what_an_int64_holds(value: int) -> None:
    assert checked(value, "elements") == value


@pytest.mark.parametrize("value", [INT64_MAX + 1, -INT64_MAX - 2, 2**200])
def test_checked_refuses_the_rest(value: int) -> None:
    with pytest.raises(ShapeError, match=f"elements: {value} does not fit in a signed 64-bit"):
        checked(value, "elements")


def test_listable() -> None:
    assert listable(MOST_LISTED, "steps") == MOST_LISTED
    with pytest.raises(ShapeError, match=r"steps: 16777217 are too many to list \(at most 167772"):
        listable(MOST_LISTED + 1, "steps")


@pytest.mark.parametrize(
    ("value", "axes", "expected"),
    [
        (2, 1, (2,)),
        (2, 3, (2, 2, 2)),
        ((1, 2, 3), 3, (1, 2, 3)),
        ([4], 2, (4, 4)),
        (np.int64(5), 2, (5, 5)),
        (INT64_MAX, 1, (INT64_MAX,)),
    ],
)
def test_per_axis(value: object, axes: int, expected: tuple[int, ...]) -> None:
    result = per_axis("stride", value, axes)
    assert result == expected
    assert all(type(entry) is int for entry in result)


@pytest.mark.parametrize(
    "value", [1.0, float("nan"), float("inf"), True, None, "3", (1, 2.5), (1, True), {1}, 1j]
)
def test_per_axis_refuses_what_is_no_integer(value: object) -> None:
    message = f"stride: {value!r} must be an integer or one integer per axis"
    with pytest.raises(ArgumentError, match=re.escape(message)):
        per_axis("stride", value, 2)


@pytest.mark.parametrize("value", [(1, 2, 3), (), (1, 1, 1, 1)])
def test_per_axis_refuses_another_length(value: tuple[int, ...]) -> None:
    message = f"stride: {value} has {len(value)} entries; 2 axes need 1 or 2"
    with pytest.raises(ShapeError, match=re.escape(message)):
        per_axis("stride", value, 2)


@pytest.mark.parametrize(("value", "least"), [(0, 1), ((1, -3), 1), (-1, 0)])
def test_per_axis_refuses_what_is_too_small(value: object, least: int) -> None:
    with pytest.raises(ShapeError, match=re.escape(f"stride: {value} must be at least {least}")):
        per_axis("stride", value, 2, least=least)


def test_per_axis_refuses_more_than_an_int64() -> None:
    with pytest.raises(ShapeError, match=f"stride: {2**63} does not fit in a signed 64-bit"):
        per_axis("stride", 2**63, 2)


@pytest.mark.parametrize(
    ("padding", "axes", "expected"),
    [
        ("same", 2, "same"),
        ("valid", 2, ((0, 0), (0, 0))),
        (1, 1, ((1, 1),)),
        ((1, 2), 2, ((1, 1), (2, 2))),
        (((0, 1), 2), 2, ((0, 1), (2, 2))),
        (((0, 1),), 3, ((0, 1),) * 3),
        ([[3, 4]], 1, ((3, 4),)),
    ],
)
def test_padding_pairs(padding: object, axes: int, expected: object) -> None:
    assert padding_pairs(padding, axes) == expected


@pytest.mark.parametrize(
    ("padding", "error", "message"),
    [
        ("full", ArgumentError, "padding: 'full' must be 'same', 'valid', integers or pairs"),
        ((1, 2, 3), ShapeError, "padding: (1, 2, 3) has 3 entries; 2 axes need 1 or 2"),
        (((1, 2, 3), 1), ShapeError, "padding: (1, 2, 3) has 3 entries; an axis takes one amount"),
        (((1,), 1), ShapeError, "padding: (1,) has 1 entries; an axis takes one amount"),
        (-1, ShapeError, "padding: -1 must be at least 0"),
        (((0, -2), 1), ShapeError, "padding: (0, -2) must be at least 0"),
        (0.5, ArgumentError, "padding: 0.5 must be an integer"),
        (None, ArgumentError, "padding: None must be an integer"),
        (2**63, ShapeError, f"padding: {2**63} does not fit"),
    ],
)
def test_padding_pairs_refuses(padding: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        padding_pairs(padding, 2)

# SPDX-License-Identifier: Apache-2.0
"""A place moves with its grid."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from convsmith.scanning.sources import Place

SMALL = st.integers(-8, 8)
HALVES = st.integers(-16, 16).map(lambda n: Fraction(n, 2))
STRIDES = st.sampled_from([Fraction(1, 4), Fraction(1), Fraction(2), Fraction(32)])


def ground(place: Place, row: Fraction, column: Fraction) -> tuple[float, float]:
    a, b, c, d, e, f = place.transform
    return float(a * column + b * row + c), float(d * column + e * row + f)


@settings(max_examples=50)
@given(
    transform=st.tuples(SMALL, SMALL, SMALL, SMALL, SMALL, SMALL),
    stride=st.tuples(STRIDES, STRIDES),
    corner=st.tuples(HALVES, HALVES),
    cell=st.tuples(HALVES, HALVES),
)
def test_a_sampled_grid_lies_where_its_cells_were_taken(
    transform: tuple[int, ...],
    stride: tuple[Fraction, Fraction],
    corner: tuple[Fraction, Fraction],
    cell: tuple[Fraction, Fraction],
) -> None:
    place = Place(crs="", transform=tuple(float(t) for t in transform))  # type: ignore[arg-type]
    in_pixels = [s * at + c for s, at, c in zip(stride, cell, corner, strict=True)]
    assert ground(place.sampled(stride, corner), *cell) == ground(place, *in_pixels)

# SPDX-License-Identifier: Apache-2.0
"""Tiles of one axis against what they promise, tile by tile."""

from dataclasses import asdict, replace
from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsmith.errors import ShapeError
from convsmith.scanning.tiling import AxisPlan, needed


@st.composite
def axes(draw: st.DrawFn) -> AxisPlan:
    stride = Fraction(draw(st.integers(1, 9)), draw(st.integers(1, 4)))
    a = Fraction(draw(st.integers(-40, 12)), stride.denominator)
    size = draw(st.integers(1, 300))
    return AxisPlan.fitted(
        size=size,
        outputs=draw(st.integers(1, 1 + int(size / stride))),
        stride=stride,
        a=a,
        b=a + Fraction(draw(st.integers(0, 60)), stride.denominator),
        period=stride.numerator * draw(st.integers(1, 6)),
        core=draw(st.integers(1, 40)),
        least=draw(st.integers(1, 60)),
    )


@given(axes())
def test_tiles_write_every_output_once_and_read_what_it_depends_on(axis: AxisPlan) -> None:
    written = []
    for number in range(axis.tiles()):
        tile = axis.tile(number)
        written += range(tile.write.start, tile.write.stop)
        assert 0 <= tile.read.start < tile.read.stop <= axis.size
        assert tile.read.start % axis.period == 0
        shift = tile.read.start / axis.stride
        assert shift == tile.write.start - tile.keep.start >= 0
        assert tile.keep.stop - tile.keep.start == tile.write.stop - tile.write.start
        first = ceil(axis.stride * tile.write.start + axis.a)
        last = floor(axis.stride * (tile.write.stop - 1) + axis.b)
        assert tile.read.start <= max(0, first)
        assert tile.read.stop - 1 >= min(last, axis.size - 1)
    assert written == list(range(axis.outputs))


@given(axes())
def test_all_reads_have_one_length_in_step_with_the_image(axis: AxisPlan) -> None:
    reads = [axis.tile(number).read for number in range(axis.tiles())]
    assert {read.stop - read.start for read in reads} == {axis.read}
    assert (axis.size - axis.read) % axis.period == 0
    assert axis.inputs_read == axis.read * len(reads)


@given(axes())
def test_no_shorter_read_would_do(axis: AxisPlan) -> None:
    least = needed(axis.stride, axis.a, axis.b, axis.period, axis.core)
    numbers = asdict(axis)
    del numbers["length"]
    fitted = AxisPlan.fitted(**numbers)
    assert fitted.length - least < axis.period
    with pytest.raises(ShapeError, match="must hold the"):
        replace(fitted, length=fitted.length - axis.period)


def test_numbers_that_are_refused() -> None:
    axis = AxisPlan.fitted(size=64, outputs=32, stride=2, a=-1, b=2, period=4, core=8)
    with pytest.raises(ShapeError, match="must all be positive"):
        replace(axis, core=0)
    with pytest.raises(ShapeError, match="must all be positive"):
        replace(axis, stride=Fraction(-1))
    with pytest.raises(ShapeError, match="the period 3 must be a multiple of the stride 2"):
        replace(axis, period=3)
    with pytest.raises(ShapeError, match="and differ from the size 64 by a multiple of the"):
        replace(axis, length=26)
    for number in (-1, 4):
        with pytest.raises(ShapeError, match=f"there is no tile {number} among 4"):
            axis.tile(number)

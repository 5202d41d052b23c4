# SPDX-License-Identifier: Apache-2.0
"""Cones against the sets of positions that paths through random chains and branches touch."""

import re
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsmith.errors import ShapeError
from convsmith.geometry import Axis, Cone, TransposedAxis, touched

SMALL = st.integers(1, 3)
AMOUNTS = st.integers(0, 2)
SLIDING = st.builds(Axis, SMALL, SMALL, AMOUNTS, AMOUNTS, SMALL)  # convolutions and poolings
IN_ORDER = st.builds(  # a dense stamp as wide as the stride: outputs read in order, none nothing
    lambda stride, more, before: TransposedAxis(stride + more, stride, before),
    SMALL,
    AMOUNTS,
    AMOUNTS,
)
ANY_TRANSPOSED = st.builds(TransposedAxis, SMALL, SMALL, AMOUNTS, AMOUNTS, SMALL)
OUTPUTS = range(-4, 9)


def composed(chain: list[Axis | TransposedAxis]) -> Cone:
    """First layer first."""
    cone = chain[0].cone()
    for layer in chain[1:]:
        cone = layer.cone().through(cone)
    return cone


def hull(positions: tuple[int, ...]) -> tuple[int, int] | None:
    return (positions[0], positions[-1]) if positions else None


@given(st.lists(SLIDING | IN_ORDER, min_size=1, max_size=4))
def test_a_composed_cone_is_the_hull_of_what_is_touched(chain: list) -> None:
    cone = composed(chain)
    for j in OUTPUTS:
        assert cone.inputs(j) == hull(touched(chain, j))


@given(st.lists(SLIDING | ANY_TRANSPOSED, min_size=1, max_size=4))
def test_a_composed_cone_never_misses_what_is_touched(chain: list) -> None:
    cone = composed(chain)
    for j in OUTPUTS:
        positions = touched(chain, j)
        if positions:
            first, last = cone.inputs(j)
            assert first <= positions[0]
            assert positions[-1] <= last


def test_where_a_composed_cone_is_wider_than_what_is_touched() -> None:
    spread = TransposedAxis(1, 2)  # odd outputs read nothing
    odd_outputs = Axis(3, before=1, dilation=2)
    chain = [spread, odd_outputs]
    assert touched(chain, 0) == ()
    assert composed(chain).inputs(0) == (0, 1)


@given(st.lists(SLIDING | ANY_TRANSPOSED, min_size=3, max_size=3))
def test_composition_may_be_bracketed_any_way(chain: list) -> None:
    first, second, third = (layer.cone() for layer in chain)
    left = third.through(second).through(first)
    right = third.through(second.through(first))
    assert left.stride == right.stride
    if all(isinstance(layer, Axis) for layer in chain):
        assert left == right


@given(st.lists(SLIDING | IN_ORDER, min_size=1, max_size=4))
def test_the_ends_and_the_size_bound_every_output(chain: list) -> None:
    cone = composed(chain)
    rounds = range(4 * len(cone.reads))
    intervals = [(j, cone.inputs(j)) for j in rounds if cone.inputs(j) is not None]
    stride = Fraction(1)
    for layer in chain:
        stride *= layer.stride if isinstance(layer, Axis) else Fraction(1, layer.stride)
    assert cone.stride == stride
    assert cone.a == min(first - stride * j for j, (first, _) in intervals)
    assert cone.b == max(last - stride * j for j, (_, last) in intervals)
    assert cone.size == max(last - first + 1 for _, (first, last) in intervals)


@given(
    st.lists(SLIDING, max_size=2),
    st.lists(SLIDING | IN_ORDER, min_size=1, max_size=2),
    st.lists(SLIDING | IN_ORDER, min_size=1, max_size=2),
    st.lists(SLIDING, max_size=2),
)
def test_branches_that_meet(before: list, left: list, right: list, after: list) -> None:
    """before -> (left | right) -> sum -> after, against the union of the touched sets."""
    branches = [composed(left), composed(right)]
    if branches[0].stride != branches[1].stride:
        strides = " and ".join(str(branch.stride) for branch in branches)
        message = f"cone: branches of stride {strides} meet; they must have the same stride"
        with pytest.raises(ShapeError, match=re.escape(message)):
            branches[0].union(branches[1])
        return
    cone = branches[0].union(branches[1])
    assert cone == branches[1].union(branches[0])
    if before:
        cone = cone.through(composed(before))
    if after:
        cone = composed(after).through(cone)
    for j in OUTPUTS:
        meeting = touched(after, j)
        places = {p for k in meeting for branch in (left, right) for p in touched(branch, k)}
        positions = sorted({q for p in places for q in touched(before, p)})
        assert cone.inputs(j) == hull(tuple(positions))


def test_a_residual_block_and_an_up_sampling_branch() -> None:
    body = Axis(3, before=1, after=1).cone()
    block = body.through(body).union(Cone(1, ((0, 0),)))
    assert (block.stride, block.a, block.b, block.size) == (1, -2, 2, 5)
    down, up = Axis(2, 2).cone(), TransposedAxis(2, 2).cone()
    assert up == Cone(1, ((0, 0), (0, 0)))
    assert up.stride == Fraction(1, 2)
    around = up.through(down)  # down by two, then up by two: stride 1 again
    assert around.stride == 1
    assert [around.inputs(j) for j in range(4)] == [(0, 1), (0, 1), (2, 3), (2, 3)]
    assert around.union(Cone(1, ((0, 0),))) == around


@given(st.lists(SLIDING | ANY_TRANSPOSED, min_size=1, max_size=3), st.integers(2, 4))
def test_equal_cones_compare_equal_however_they_are_written(chain: list, rounds: int) -> None:
    cone = composed(chain)
    outputs = range(rounds * len(cone.reads))
    longer = Cone(rounds * cone.advance, tuple(cone.inputs(j) for j in outputs))
    assert longer == cone
    assert hash(longer) == hash(cone)


def test_different_cones_differ() -> None:
    assert Cone(2, ((0, 1), (0, 1))) != Cone(1, ((0, 1),))
    assert Cone(1, ((0, 1),)) != Cone(2, ((0, 1),))
    assert Cone(2, ((0, 0), None)) != Cone(1, ((0, 0),))


def test_an_output_that_reads_nothing() -> None:
    odd = Axis(1, 2, before=1)
    nothing = composed([TransposedAxis(1, 2), odd])
    assert nothing == Cone(1, (None,))
    assert nothing.inputs(5) is None
    assert (nothing.size, nothing.a, nothing.b) == (0, 0, -1)
    assert nothing.through(Axis(3).cone()) == nothing
    assert nothing.union(Cone(1, ((4, 5),))) == Cone(1, ((4, 5),))


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda: Cone(1, ()), "cone: reads () must hold at least one output"),
        (
            lambda: composed([TransposedAxis(3, 2**12), TransposedAxis(3, 2**13)]),
            f"cone: outputs in one round: {2**25} are too many to list (at most {2**24})",
        ),
        (
            lambda: one_early(8191).union(one_early(8192)),
            f"cone: outputs in one round: {8191 * 8192} are too many to list (at most {2**24})",
        ),
    ],
)
def test_errors_name_their_numbers(compute: Callable[[], Cone], message: str) -> None:
    with pytest.raises(ShapeError, match=re.escape(message)):
        compute()


def one_early(outputs: int) -> Cone:
    """Stride 1 with a round of so many outputs."""
    return Cone(outputs, ((-1, -1), *((j, j) for j in range(1, outputs))))

# SPDX-License-Identifier: Apache-2.0
"""The exact touched set against loops and gradients, and the HDC rule with its counter-examples."""

import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from convsmith.errors import ArgumentError, ShapeError
from convsmith.geometry import (
    Axis,
    TransposedAxis,
    closing_dilations,
    hybrid_dilation,
    touched,
)

SMALL = st.integers(1, 3)
AMOUNTS = st.integers(0, 2)
LAYERS = st.builds(Axis, SMALL, SMALL, AMOUNTS, AMOUNTS, SMALL) | st.builds(
    TransposedAxis, SMALL, SMALL, AMOUNTS, AMOUNTS, SMALL
)


def walk(layers: list[Axis | TransposedAxis], output: int) -> set[int]:
    """Every path on its own, straight from the definition of each layer."""
    if not layers:
        return {output}
    *earlier, layer = layers
    taps = [r * layer.dilation - layer.before for r in range(layer.kernel)]
    if isinstance(layer, Axis):
        reads = [output * layer.stride + tap for tap in taps]
    else:
        reach = range(-40, 41)
        reads = [i for tap in taps for i in reach if i * layer.stride + tap == output]
    return {place for read in reads for place in walk(earlier, read)}


@given(st.lists(LAYERS, max_size=3), st.integers(-5, 5))
def test_touched_is_what_the_paths_reach(layers: list, output: int) -> None:
    assert touched(layers, output) == tuple(sorted(walk(layers, output)))


@given(st.lists(LAYERS, min_size=1, max_size=3))
def test_touched_is_where_the_gradient_of_torch_s_layers_is_not_zero(layers: list) -> None:
    """Unpadded layers, so that no output meets an end; the middle output is asked."""
    layers = [type(layer)(layer.kernel, layer.stride, dilation=layer.dilation) for layer in layers]
    x = torch.ones(1, 1, 120, requires_grad=True)
    y = x
    for layer in layers:
        function = F.conv1d if isinstance(layer, Axis) else F.conv_transpose1d
        weight = torch.ones(1, 1, layer.kernel)
        y = function(y, weight, stride=layer.stride, dilation=layer.dilation)
    if y.shape[-1] == 0:
        return
    middle = y.shape[-1] // 2
    positions = touched(layers, middle)
    (gradient,) = torch.autograd.grad(y[0, 0, middle], x)
    assert gradient.flatten().nonzero().flatten().tolist() == list(positions)


@pytest.mark.parametrize(
    ("dilations", "touched_positions", "all_positions", "passes", "second"),
    [
        ((2, 2, 2), 7, 13, False, 2),
        ((2, 4, 8), 15, 29, False, 4),
        ((1, 2, 5), 17, 17, True, 2),
        ((1, 2, 3), 13, 13, True, 2),
        ((2, 3), 9, 11, False, 3),  # M_2 = 3 fits the kernel, yet there are holes
        ((1, 3, 1), 11, 11, False, 5),  # fails the rule with no hole
        ((1,), 3, 3, True, 1),
    ],
)
def test_the_verdict_is_the_touched_set_and_hdc_stands_beside_it(
    dilations: tuple[int, ...],
    touched_positions: int,
    all_positions: int,
    passes: bool,
    second: int,
) -> None:
    positions = touched([Axis(3, dilation=d) for d in dilations])
    assert len(positions) == touched_positions
    assert positions[-1] - positions[0] + 1 == all_positions
    rule = hybrid_dilation(3, dilations)
    assert rule.max_distances[min(1, len(dilations) - 1)] == second
    assert rule.passes is passes


def test_hdc_alone_would_pass_two_that_have_holes() -> None:
    """M_2 <= k holds for both; only the first rate and the common factor speak against them."""
    twos, two_three = hybrid_dilation(3, (2, 2, 2)), hybrid_dilation(3, (2, 3))
    assert twos.within_kernel
    assert (twos.common_factor, twos.starts_at_one) == (2, False)
    assert two_three.within_kernel
    assert (two_three.common_factor, two_three.starts_at_one) == (1, False)
    assert not hybrid_dilation(3, (1, 3, 1)).within_kernel


@given(st.integers(1, 7), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_the_maximum_distances_follow_their_recursion(kernel: int, rates: list[int]) -> None:
    rule = hybrid_dilation(kernel, rates)
    distances = rule.max_distances
    assert len(distances) == len(rates)
    assert distances[-1] == rates[-1]
    for rate, here, following in zip(rates, distances, distances[1:], strict=False):
        assert here == max(following - 2 * rate, following - 2 * (following - rate), rate)


@pytest.mark.parametrize(
    ("kernel", "dilations", "error", "message"),
    [
        (3, (), ArgumentError, "hybrid_dilation: dilations () must be one or more integers"),
        (3, (1, 0), ShapeError, "hybrid_dilation: dilations: (1, 0) must be at least 1"),
        (3, (1, 2.5), ArgumentError, "hybrid_dilation: dilations: (1, 2.5) must be an integer"),
        (0, (1, 2), ShapeError, "hybrid_dilation: kernel: 0 must be at least 1"),
    ],
)
def test_hybrid_dilation_refuses(
    kernel: int, dilations: tuple, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        hybrid_dilation(kernel, dilations)


def test_touched_refuses_what_it_cannot_list() -> None:
    message = (
        f"touched: steps through one layer: {3 * 2**23} are too many to list (at most {2**24})"
    )
    with pytest.raises(ShapeError, match=re.escape(message)):
        touched([Axis(2**23), Axis(3)])


@given(st.lists(st.integers(2, 4), min_size=1, max_size=4), st.integers(1, 20))
def test_closing_dilations_leave_no_hole_and_reach_as_far_as_can_be(
    kernels: list[int], total: int
) -> None:
    found = closing_dilations(kernels, total)
    if total < len(kernels):
        assert found is None
        return
    assert found is not None
    assert sum(found) <= total
    positions = touched([Axis(k, dilation=d) for k, d in zip(kernels, found, strict=True)])
    assert len(positions) == positions[-1] - positions[0] + 1
    if sum(found) < total:  # one more on the last would tear
        longer = [*found[:-1], found[-1] + 1]
        positions = touched([Axis(k, dilation=d) for k, d in zip(kernels, longer, strict=True)])
        assert len(positions) < positions[-1] - positions[0] + 1

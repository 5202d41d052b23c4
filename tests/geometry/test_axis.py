# SPDX-License-Identifier: Apache-2.0
"""One axis against torch's own sizes, TensorFlow's rule of 'same', and loops that count."""

import math
import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from convsmith.errors import ShapeError
from convsmith.geometry import (
    INT64_MAX,
    Axis,
    TransposedAxis,
    same_padding,
    same_transposed_padding,
)

many = settings(max_examples=2 * settings().max_examples)

SIZES = st.integers(1, 20)
KERNELS = st.integers(1, 6)
STRIDES = st.integers(1, 5)
AMOUNTS = st.integers(0, 7)
AXES = st.builds(Axis, KERNELS, STRIDES, AMOUNTS, AMOUNTS, STRIDES)
TRANSPOSED = st.builds(TransposedAxis, KERNELS, STRIDES, AMOUNTS, AMOUNTS, STRIDES, AMOUNTS)


def size_or_error(compute: Callable[[], int | torch.Tensor]) -> int | None:
    """The size an axis or torch gives, None where it refuses."""
    try:
        result = compute()
    except RuntimeError:
        return None
    return result if isinstance(result, int) else result.shape[-1]


@many
@given(SIZES | st.just(0), AXES)
def test_a_convolution_has_the_size_torch_gives_it(size: int, axis: Axis) -> None:
    def convolve() -> torch.Tensor:
        x = F.pad(torch.zeros(1, 1, size), (axis.before, axis.after)) if size else None
        if x is None:  # torch refuses an empty axis, padding or not
            return F.conv1d(torch.zeros(1, 1, 0), torch.zeros(1, 1, axis.kernel), padding=9)
        return F.conv1d(x, torch.zeros(1, 1, axis.kernel), None, axis.stride, 0, axis.dilation)

    assert size_or_error(lambda: axis.output_size(size)) == size_or_error(convolve)


@many
@given(SIZES, KERNELS, STRIDES, AMOUNTS, STRIDES, AMOUNTS)
def test_a_transposed_convolution_has_the_size_torch_gives_it(
    size: int, kernel: int, stride: int, crop: int, dilation: int, extra: int
) -> None:
    extra %= max(stride, dilation)
    axis = TransposedAxis(kernel, stride, crop, crop, dilation, extra)
    x, weight = torch.zeros(1, 1, size), torch.zeros(1, 1, kernel)
    expected = size_or_error(
        lambda: F.conv_transpose1d(x, weight, None, stride, crop, extra, 1, dilation)
    )
    assert size_or_error(lambda: axis.output_size(size)) == expected


def test_a_ceil_mode_window_may_hang_over_the_end() -> None:
    assert Axis(6, 2).output_size(5, ceil_mode=True) == 1
    assert F.max_pool1d(torch.zeros(1, 1, 5), 6, 2, ceil_mode=True).shape[-1] == 1
    with pytest.raises(ShapeError, match=r"spans 7 .* padded input has only 5 \(5 \+ 0 \+ 0\)"):
        Axis(7, 2).output_size(5, ceil_mode=True)


@many
@given(SIZES, KERNELS, STRIDES, STRIDES)
def test_same_padding_is_the_rule_of_tensorflow(
    size: int, kernel: int, stride: int, dilation: int
) -> None:
    outputs = math.ceil(size / stride)
    total = max((outputs - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    before, after = same_padding(size, kernel, stride, dilation)
    assert (before, after) == (total // 2, math.ceil(total / 2))
    # No smaller total gives ceil(size / stride) outputs: the first that does, counted up.
    span = dilation * (kernel - 1) + 1
    fits = (
        t for t in range(200) if size + t >= span and (size + t - span) // stride + 1 == outputs
    )
    assert before + after == next(fits)
    assert Axis(kernel, stride, before, after, dilation).output_size(size) == outputs


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@given(SIZES, KERNELS, STRIDES, STRIDES)
def test_same_padding_of_stride_1_is_torch_s(
    size: int, kernel: int, stride: int, dilation: int
) -> None:
    before, after = same_padding(size, kernel, 1, dilation)
    x, weight = torch.arange(1.0, size + 1)[None, None], torch.arange(1.0, kernel + 1)[None, None]
    expected = F.conv1d(x, weight, padding="same", dilation=dilation)
    assert torch.equal(F.conv1d(F.pad(x, (before, after)), weight, dilation=dilation), expected)


@many
@given(SIZES, KERNELS, STRIDES, STRIDES)
def test_same_transposed_padding_reverses_same_padding(
    size: int, kernel: int, stride: int, dilation: int
) -> None:
    before, after, extra = same_transposed_padding(kernel, stride, dilation)
    axis = TransposedAxis(kernel, stride, before, after, dilation, extra)
    assert axis.output_size(size) == size * stride
    assert min(before, after, extra) >= 0
    assert extra < max(stride, dilation)
    # The same taps join the same places as in the strided convolution that it reverses.
    if extra == 0:
        assert (before, after) == same_padding(size * stride, kernel, stride, dilation)
    forward = Axis(kernel, stride, before, after + extra, dilation)
    joined = {(i, j) for i in range(size) for j in forward.reads(i)}
    reversed_ = {(i, j) for j in range(size * stride) for i in axis.reads(j) if 0 <= i < size}
    assert {(i, j) for i, j in joined if 0 <= j < size * stride} == reversed_


@many
@given(SIZES, AXES)
def test_taps_are_those_of_a_loop(size: int, axis: Axis) -> None:
    if size + axis.before + axis.after < axis.span:
        return
    outputs = axis.output_size(size)
    reads = [axis.reads(j) for j in range(outputs)]
    assert axis.taps(size) == sum(len(read) for read in reads)
    assert axis.live_taps(size) == sum(0 <= place < size for read in reads for place in read)


@many
@given(SIZES, TRANSPOSED)
def test_transposed_taps_are_those_of_a_loop(size: int, axis: TransposedAxis) -> None:
    if axis.span + (size - 1) * axis.stride - axis.before - axis.after + axis.output_padding < 1:
        return
    outputs = axis.output_size(size)
    stamped = [
        i * axis.stride - axis.before + r * axis.dilation
        for i in range(size)
        for r in range(axis.kernel)
    ]
    assert axis.taps(size) == len(stamped)
    assert axis.live_taps(size) == sum(0 <= place < outputs for place in stamped)
    read = [(i, j) for j in range(outputs) for i in axis.reads(j) if 0 <= i < size]
    assert len(read) == axis.live_taps(size)


@given(SIZES, TRANSPOSED)
def test_a_transposed_axis_reads_what_torch_stamps(size: int, axis: TransposedAxis) -> None:
    full = axis.span + (size - 1) * axis.stride
    if full - axis.before - axis.after < 1:
        return
    pixels = torch.eye(size)[:, None]  # image i holds pixel i alone
    stamps = F.conv_transpose1d(
        pixels, torch.ones(1, 1, axis.kernel), stride=axis.stride, dilation=axis.dilation
    )[:, 0, axis.before : full - axis.after]
    for j, seen in enumerate(stamps.T):
        assert [i for i in axis.reads(j) if 0 <= i < size] == seen.nonzero().flatten().tolist()


@many
@given(AXES | TRANSPOSED, st.integers(-30, 30))
def test_the_cone_of_one_axis_is_what_it_reads(axis: Axis | TransposedAxis, output: int) -> None:
    reads = list(axis.reads(output))
    assert axis.cone().inputs(output) == ((reads[0], reads[-1]) if reads else None)


HUGE = 2**40


def test_huge_axes_are_counted_at_once() -> None:
    axis = Axis(HUGE, before=HUGE // 2, after=HUGE // 2)
    assert axis.output_size(HUGE) == HUGE + 1
    # Taps before the middle meet HUGE / 2 + 1, + 2, ... HUGE inputs, those after it the reverse.
    assert axis.live_taps(HUGE) == (HUGE // 2 + 1 + HUGE) * (HUGE // 2)
    transposed = TransposedAxis(HUGE, HUGE)
    assert transposed.output_size(2**20) == transposed.live_taps(2**20) == 2**60
    assert TransposedAxis(HUGE, 2).cone().inputs(0) == (1 - HUGE // 2, 0)


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (
            lambda: Axis(5, dilation=2).output_size(8),
            "output size: the kernel spans 9 (kernel 5, dilation 2) but the padded input has "
            "only 8 (8 + 0 + 0)",
        ),
        (lambda: Axis(1, before=2).output_size(0), "the padded input has only 2 (0 + 2 + 0)"),
        (lambda: Axis(1).output_size(-1), "the padded input has only -1 (-1 + 0 + 0)"),
        (
            lambda: Axis(3, before=2**62, after=2**62).output_size(1),
            f"padded input size: {2**63 + 1} does not fit in a signed 64-bit integer (at most "
            f"{INT64_MAX})",
        ),
        (lambda: Axis(2**20, dilation=2**20).output_size(9), f"spans {2**40 - 2**20 + 1}"),
        (
            lambda: Axis(2**40, dilation=2**40).output_size(9),
            f"span of kernel {2**40} with dilation {2**40}: ",
        ),
        (lambda: Axis(0), "axis: kernel 0, stride 1 and dilation 1 must each be at least 1"),
        (lambda: Axis(3, 0), "axis: kernel 3, stride 0 and dilation 1 must each be at least 1"),
        (lambda: TransposedAxis(3, 1, dilation=-1), "kernel 3, stride 1 and dilation -1 must"),
        (
            lambda: TransposedAxis(2, before=1, after=1).output_size(1),
            "transposed output size: 0 from input 1 (kernel 2, stride 1, dilation 1, cropped 1 + "
            "1, output padding 0); both must be at least 1",
        ),
        (lambda: TransposedAxis(3).output_size(0), "transposed output size: 2 from input 0"),
        (
            lambda: TransposedAxis(3, 2**40).output_size(2**40),
            f"transposed output size before crop: {(2**40 - 1) * 2**40 + 3} does not fit",
        ),
        (
            lambda: TransposedAxis(1, output_padding=INT64_MAX).output_size(1),
            f"transposed output size: {2**63} does not fit",
        ),
        (
            lambda: TransposedAxis(1, 2**40).cone(),
            f"cone: outputs in one round: {2**40} are too many to list (at most 16777216)",
        ),
    ],
)
def test_errors_name_their_numbers(compute: Callable[[], object], message: str) -> None:
    with pytest.raises(ShapeError, match=re.escape(message)):
        compute()

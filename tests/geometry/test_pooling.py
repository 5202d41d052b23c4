# SPDX-License-Identifier: Apache-2.0
"""Pooling sizes against torch's own."""

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from convsmith.errors import ArgumentError, ShapeError
from convsmith.geometry import Cone, PoolingGeometry

many = settings(max_examples=2 * settings().max_examples)

MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@st.composite
def poolings(draw: st.DrawFn) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Sizes and options, right and wrong, of 1 to 3 axes."""
    axes = draw(st.integers(1, 3))

    def entries(least: int, most: int) -> tuple[int, ...]:
        return draw(st.tuples(*[st.integers(least, most)] * axes))

    options = {
        "kernel_size": entries(1, 5),
        "stride": draw(st.none()) or entries(1, 5),
        "padding": entries(0, 2),
        "dilation": draw(st.just((1,) * axes)) if draw(st.booleans()) else entries(1, 3),
        "ceil_mode": draw(st.booleans()),
    }
    return entries(1, 9), options


def shape_or_error(compute: Any) -> tuple[int, ...] | None:
    try:
        return tuple(compute())
    except RuntimeError:
        return None


@many
@given(poolings())
def test_pooling_has_the_shape_torch_gives_it(
    case: tuple[tuple[int, ...], dict[str, Any]],
) -> None:
    sizes, options = case
    axes = len(sizes)
    x = torch.zeros(2, 3, *sizes)
    expected = shape_or_error(lambda: MAX_POOL[axes](x, **options).shape)
    ours = shape_or_error(lambda: PoolingGeometry(**options).output_shape(x.shape))
    assert ours == expected
    # torch's avg_pool3d alone refuses a kernel larger than the input before it is padded.
    refused_by_avg_pool3d = axes == 3 and any(
        k > n for k, n in zip(options["kernel_size"], sizes, strict=True)
    )
    if options["dilation"] == (1,) * axes and not refused_by_avg_pool3d:
        del options["dilation"]
        assert ours == shape_or_error(lambda: AVG_POOL[axes](x, **options).shape)


@given(st.integers(1, 5), st.integers(1, 12))
def test_the_stride_is_the_kernel_unless_given(kernel: int, size: int) -> None:
    pool = PoolingGeometry(kernel_size=(kernel,))
    x = torch.zeros(3, size)
    assert pool.stride == (kernel,)
    assert shape_or_error(lambda: pool.output_shape(x.shape)) == shape_or_error(
        lambda: F.max_pool1d(x, kernel).shape
    )


def test_same_pooling_rounds_up() -> None:
    pool = PoolingGeometry(kernel_size=(3, 2), stride=(2, 2), padding="same")
    assert pool.output_shape((1, 4, 112, 7)) == (1, 4, 56, 4)
    assert pool.cone((1, 4, 112, 7)) == (Cone(2, ((0, 2),)), Cone(2, ((0, 1),)))


def test_asymmetric_padding() -> None:
    pool = PoolingGeometry(kernel_size=(3,), stride=(2,), padding=((0, 1),))
    assert pool.output_shape((4, 8)) == (4, 4)
    assert pool.cone((4, 8)) == (Cone(2, ((0, 2),)),)


@pytest.mark.parametrize(
    ("options", "shape", "error", "message"),
    [
        (
            {"kernel_size": (3, 3), "padding": (1, 2)},
            None,
            ShapeError,
            "padding ((1, 1), (2, 2)) must be at most half the kernel (3, 3)",
        ),
        ({"kernel_size": (2,), "ceil_mode": 1}, None, ArgumentError, "ceil_mode: 1 must be True"),
        ({"kernel_size": 2}, None, ShapeError, "kernel_size 2 must hold 1 to 3 integers"),
        ({"kernel_size": (2, 0)}, None, ShapeError, "kernel_size: (2, 0) must be at least 1"),
        (
            {"kernel_size": (2,), "stride": (0,)},
            None,
            ShapeError,
            "stride: (0,) must be at least 1",
        ),
        ({"kernel_size": (3,)}, (1, 1, 2), ShapeError, "the kernel spans 3"),
        ({"kernel_size": (3,)}, (1, 1, 1, 2), ShapeError, "(1, 1, 1, 2) has 4 dimensions"),
        (
            {"kernel_size": (1,), "stride": (1,)},
            (2**32, 2**31, 1),
            ShapeError,
            f"elements of an input of shape {(2**32, 2**31, 1)}: {2**63} does not fit",
        ),
        (
            {"kernel_size": (2,), "stride": (1,), "padding": (1,)},
            (2**31, 2**31, 1),
            ShapeError,
            f"elements of an output of shape {(2**31, 2**31, 2)}: {2**63} does not fit",
        ),
    ],
)
def test_errors_name_their_numbers(
    options: dict[str, Any], shape: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        PoolingGeometry(**options).output_shape(shape)

# SPDX-License-Identifier: Apache-2.0
"""Shapes and MACs of whole convolutions, 1 to 3 axes, against torch's own results.

A convolution of ones by ones counts at each output the taps that met an input: its sum is the
number of live multiplications.
"""

import re
from math import prod
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from convsmith.errors import ArgumentError, ShapeError
from convsmith.geometry import Geometry, Macs, TransposedGeometry, same_padding

many = settings(max_examples=2 * settings().max_examples)

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@st.composite
def geometries(draw: st.DrawFn, *, transposed: bool = False) -> tuple[dict[str, Any], tuple]:
    """Options of 1 to 3 axes (ints, tuples, words, pairs) and an input shape, right and wrong."""
    axes = draw(st.integers(1, 3))

    def entries(least: int, most: int) -> Any:
        return draw(st.tuples(*[st.integers(least, most)] * axes))

    pairs = st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * axes)
    words = st.just("same") if transposed else st.sampled_from(["same", "valid"])
    padding = st.integers(0, 3) | st.just(entries(0, 3)) | words | pairs
    groups = draw(st.integers(1, 2))
    options = {
        "in_channels": groups * draw(st.integers(1, 2)),
        "out_channels": groups * draw(st.integers(1, 2)),
        "groups": groups,
        "kernel_size": entries(1, 4),
        "stride": draw(st.integers(1, 4) | st.just(entries(1, 4))),
        "padding": draw(padding),
        "dilation": draw(st.integers(1, 3) | st.just(entries(1, 3))),
    }
    batch = draw(st.sampled_from([(), (0,), (1,), (2,)]))
    return options, (*batch, options["in_channels"], *entries(1, 8))


def ones_or_error(compute: Any) -> torch.Tensor | None:
    try:
        return compute()
    except RuntimeError:
        return None


def shape_and_macs(geometry: Geometry, shape: tuple[int, ...]) -> tuple[tuple, Macs] | None:
    try:
        return geometry.output_shape(shape), geometry.macs(shape)
    except RuntimeError:
        return None


@many
@given(geometries())
def test_a_convolution_is_sized_and_counted_as_torch_does_it(
    case: tuple[dict[str, Any], tuple[int, ...]],
) -> None:
    options, shape = case
    geometry = Geometry(**options)
    axes = geometry.spatial_axes
    pairs = geometry.padding
    if pairs == "same":
        rows = zip(
            shape[-axes:], geometry.kernel_size, geometry.stride, geometry.dilation, strict=True
        )
        pairs = [same_padding(*row) for row in rows]
    amounts = [amount for pair in reversed(pairs) for amount in pair]
    weight = torch.ones(
        geometry.out_channels, geometry.in_channels // geometry.groups, *geometry.kernel_size
    )
    y = ones_or_error(
        lambda: CONV[axes](
            F.pad(torch.ones(shape), amounts),
            weight,
            stride=geometry.stride,
            dilation=geometry.dilation,
            groups=geometry.groups,
        )
    )
    ours = shape_and_macs(geometry, shape)
    if y is None:
        assert ours is None
    else:
        assert ours == (tuple(y.shape), Macs(y.numel() * weight[0].numel(), int(y.sum())))


@many
@given(geometries(transposed=True), st.integers(0, 3))
def test_a_transposed_convolution_is_sized_and_counted_as_torch_does_it(
    case: tuple[dict[str, Any], tuple[int, ...]], extra: int
) -> None:
    options, shape = case
    same = options["padding"] == "same"
    limits = [Geometry(**options).stride, Geometry(**options).dilation]
    extras = tuple(0 if same else extra % max(limit) for limit in zip(*limits, strict=True))
    geometry = TransposedGeometry(**options, output_padding=extras)
    axes = geometry.spatial_axes
    weight = torch.ones(
        geometry.in_channels, geometry.out_channels // geometry.groups, *geometry.kernel_size
    )

    def stamp() -> torch.Tensor:
        """Every stamp in full, then cropped or filled up at both ends."""
        y = TRANSPOSED[axes](
            torch.ones(shape),
            weight,
            stride=geometry.stride,
            dilation=geometry.dilation,
            groups=geometry.groups,
        )
        cuts = [(-axis.before, axis.output_padding - axis.after) for axis in geometry.axes(())]
        return F.pad(y, [amount for pair in reversed(cuts) for amount in pair])

    y = ones_or_error(stamp)
    ours = shape_and_macs(geometry, shape)
    if y is None or 0 in y.shape[-axes:]:
        assert ours is None
        return
    all_taps = prod(shape) * weight[0].numel()
    assert ours == (tuple(y.shape), Macs(all_taps, int(y.sum())))
    if same:
        rows = zip(shape[-axes:], geometry.stride, strict=True)
        assert tuple(y.shape[-axes:]) == tuple(n * s for n, s in rows)


@given(
    st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 6)
)
def test_output_padding_is_refused_exactly_when_torch_refuses_it(
    size: int, kernel: int, stride: int, dilation: int, extra: int
) -> None:
    x, weight = torch.zeros(1, 1, size, size), torch.zeros(1, 1, kernel, kernel)
    expected = ones_or_error(
        lambda: F.conv_transpose2d(x, weight, None, stride, 0, extra, 1, dilation)
    )
    options = {"kernel_size": (kernel,) * 2, "stride": stride, "dilation": dilation}
    if expected is None:
        message = (
            f"output_padding {(extra, extra)} must be smaller than stride {(stride, stride)} or "
            f"dilation {(dilation, dilation)}"
        )
        with pytest.raises(ShapeError, match=re.escape(message)):
            TransposedGeometry(in_channels=1, out_channels=1, output_padding=extra, **options)
    else:
        geometry = TransposedGeometry(
            in_channels=1, out_channels=1, output_padding=extra, **options
        )
        assert geometry.output_shape(x.shape) == tuple(expected.shape)


def test_macs_add_up() -> None:
    assert Macs(5, 3) + Macs(2, 1) == Macs(7, 4)


ONE = {"in_channels": 1, "out_channels": 1, "kernel_size": (1,)}


@pytest.mark.parametrize(
    ("kind", "options", "error", "message"),
    [
        (Geometry, {"in_channels": 0}, ShapeError, "in_channels: 0 must be at least 1"),
        (Geometry, {"out_channels": -4}, ShapeError, "out_channels: -4 must be at least 1"),
        (Geometry, {"groups": 0}, ShapeError, "groups: 0 must be at least 1"),
        (Geometry, {"in_channels": 3.0}, ArgumentError, "in_channels: 3.0 must be an integer"),
        (Geometry, {"in_channels": True}, ArgumentError, "in_channels: True must be an integer"),
        (
            Geometry,
            {"in_channels": 4, "groups": 3},
            ShapeError,
            "in_channels 4 must be divisible by groups 3",
        ),
        (
            Geometry,
            {"in_channels": 4, "out_channels": 6, "groups": 4},
            ShapeError,
            "out_channels 6 must be divisible by groups 4",
        ),
        (Geometry, {"stride": (0,)}, ShapeError, "stride: (0,) must be at least 1"),
        (Geometry, {"padding": float("nan")}, ArgumentError, "padding: nan must be an integer"),
        (
            TransposedGeometry,
            {"padding": "same", "stride": 2, "output_padding": 1},
            ShapeError,
            "output_padding (1,) must be 0 beside padding 'same', which chooses its own",
        ),
        (
            TransposedGeometry,
            {"output_padding": -1},
            ShapeError,
            "output_padding: -1 must be at least 0",
        ),
    ],
)
def test_a_wrong_geometry_names_its_numbers(
    kind: type[Geometry], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        kind(**(ONE | options))


BIG = 2**40


@pytest.mark.parametrize(
    ("geometry", "shape", "message"),
    [
        (
            Geometry(in_channels=1, out_channels=BIG, kernel_size=(1, 1)),
            (1, 1, 2**12, 2**12),
            f"elements of an output of shape {(1, BIG, 2**12, 2**12)}: {2**64} does not fit",
        ),
        (
            Geometry(in_channels=BIG, out_channels=1, kernel_size=(1,)),
            (1, BIG, BIG),
            f"elements of an input of shape {(1, BIG, BIG)}: {2**80} does not fit",
        ),
        (
            Geometry(in_channels=1, out_channels=1, kernel_size=(1,), padding=2**62),
            (1, 1, 1),
            f"padded input size: {2**63 + 1} does not fit",
        ),
        (
            Geometry(in_channels=1, out_channels=1, kernel_size=(3,), dilation=2**61),
            (1, 1, 9),
            f"the kernel spans {2**62 + 1} (kernel 3, dilation {2**61})",
        ),
        (
            TransposedGeometry(in_channels=1, out_channels=1, kernel_size=(3,), stride=2**62),
            (1, 1, 4),
            f"transposed output size before crop: {3 * 2**62 + 3} does not fit",
        ),
    ],
)
def test_sizes_beyond_an_int64_are_an_error_never_a_wrong_number(
    geometry: Geometry, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ShapeError, match=re.escape(message)):
        geometry.output_shape(shape)


def test_macs_beyond_an_int64_are_an_error() -> None:
    geometry = Geometry(in_channels=2**21, out_channels=2**21, kernel_size=(1,))
    assert geometry.macs((1, 2**21, 2**20)).all == 2**62
    with pytest.raises(ShapeError, match=f"macs: {2**63} does not fit in a signed 64-bit"):
        geometry.macs((1, 2**21, 2**21))


def test_huge_sizes_that_fit_are_exact() -> None:
    geometry = Geometry(in_channels=1, out_channels=1, kernel_size=(BIG,), padding=BIG // 2)
    assert geometry.output_shape((1, 1, 2**20)) == (1, 1, 2**20 + 1)
    macs = geometry.macs((1, 1, 2**20))
    assert macs == Macs(BIG * (2**20 + 1), 2**20 * (2**20 + 1))

# SPDX-License-Identifier: Apache-2.0
"""The convolution shapes that oneDNN tests itself on: sizes by geometry, sums by the reference."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import convsmith as cs
from convsmith.convs.standard.standard import reference
from convsmith.geometry import Geometry

AXES = "dhw"
LINES = 157


def shapes(folder: Path) -> Iterator[tuple[str, Geometry, tuple[int, ...], tuple[int, ...]]]:
    """(name, geometry, input sizes, output sizes) of every line that describes a convolution."""
    for file in sorted(folder.glob("onednn_conv_shapes_*.txt")):
        for line in file.read_text().splitlines():
            description = line.split("#")[0].strip()
            if description:
                yield parse(description)


def parse(description: str) -> tuple[str, Geometry, tuple[int, ...], tuple[int, ...]]:
    """A descriptor such as g2mb256ic96ih27oc256oh27kh5ph2n"name".

    An axis that is not named equals the named one before it (2-D and 3-D), or does not exist where
    only w is named. Stride is 1 unless given, padding 0; dilation is counted from 0. oneDNN names
    the padding before: the shapes called `gemm` have less after, which their output size tells.
    """
    numbers, name = re.fullmatch(r'(.*?)_?n"(.*)"', description).groups()
    fields = {key: int(value) for key, value in re.findall(r"([a-z]+)(\d+)", numbers)}
    first = next(letter for letter in AXES if f"i{letter}" in fields)
    letters = AXES[AXES.index(first) :]

    def per_axis(prefix: str, default: int | None = None) -> tuple[int, ...]:
        values = []
        for letter in letters:
            values.append(fields.get(prefix + letter, values[-1] if values else default))
        return tuple(values)

    inputs, outputs, befores = per_axis("i"), per_axis("o"), per_axis("p", 0)
    kernel, strides = per_axis("k"), per_axis("s", 1)
    afters = befores
    if ":gemm" in name:
        rows = zip(outputs, strides, kernel, inputs, befores, strict=True)
        afters = tuple((o - 1) * s + k - i - before for o, s, k, i, before in rows)
    geometry = Geometry(
        in_channels=fields["ic"],
        out_channels=fields["oc"],
        groups=fields.get("g", 1),
        kernel_size=kernel,
        stride=strides,
        padding=tuple(zip(befores, afters, strict=True)),
        dilation=tuple(d + 1 for d in per_axis("d", 0)),
    )
    return name, geometry, inputs, outputs


@pytest.fixture(scope="module")
def descriptors(shared_data: Path) -> list:
    return list(shapes(shared_data / "conformance"))


def test_every_output_size_is_onednn_s(descriptors: list) -> None:
    for name, geometry, sizes, expected in descriptors:
        shape = geometry.output_shape((1, geometry.in_channels, *sizes))
        assert shape == (1, geometry.out_channels, *expected), name
    assert len(descriptors) == LINES
    assert {geometry.spatial_axes for _, geometry, _, _ in descriptors} == {1, 2, 3}


@pytest.mark.slow
def test_every_shape_computes_its_reference(descriptors: list) -> None:
    """Small integers, so bit for bit; channels and batch scaled down, sizes kept."""
    convolve = {1: cs.conv1d, 2: cs.conv2d, 3: cs.conv3d}
    for name, geometry, sizes, expected in descriptors:
        small = scaled_down(geometry)
        x = integers(2, small.in_channels, *sizes)
        weight = integers(small.out_channels, small.in_channels // small.groups, *small.kernel_size)
        bias = integers(small.out_channels)
        options = (small.stride, small.padding, small.dilation, small.groups)
        y = convolve[small.spatial_axes](x, weight, bias, *options)
        assert y.shape == (2, small.out_channels, *expected), name
        assert torch.equal(y, reference(x, weight, bias, *options)), name


def scaled_down(geometry: Geometry) -> Geometry:
    """A depthwise geometry keeps 6 groups, a grouped one 2, with at most 6 channels."""
    groups = {1: 1, geometry.in_channels: 6}.get(geometry.groups, 2)
    channels = {
        name: groups * min(3, getattr(geometry, name) // geometry.groups)
        for name in ("in_channels", "out_channels")
    }
    return replace(geometry, groups=groups, **channels)


def integers(*shape: int) -> torch.Tensor:
    return torch.randint(-4, 5, shape).float()

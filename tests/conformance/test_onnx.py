# SPDX-License-Identifier: Apache-2.0
"""ONNX's own backend cases: 30 convolutions through convsmith's layers, 6 others through geometry.

The inputs and expected outputs were recorded by the ONNX project, with its tolerance: relative
1e-3, absolute 1e-7.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import convsmith as cs
from convsmith.family import recognize
from convsmith.geometry import Geometry, PoolingGeometry, TransposedAxis, TransposedGeometry

RTOL, ATOL = 1e-3, 1e-7  # as ONNX compares them
FILES = ("onnx_pytorch_converted", "onnx_pytorch_operator")
CONVOLUTIONS = 30
OTHERS = (
    "test_AvgPool2d",
    "test_AvgPool2d_stride",
    "test_MaxPool2d",
    "test_MaxPool2d_stride_padding_dilation",
    "test_PixelShuffle",
    "test_operator_maxpool",
)


class Case(NamedTuple):
    operator: str
    options: Mapping[str, Any]
    x: Tensor
    parameters: list[Tensor]
    expected: Tensor

    @property
    def pads(self) -> tuple[tuple[int, int], ...]:
        """(before, after) per axis; ONNX lists all befores, then all afters."""
        pads = self.options["pads"]
        axes = len(pads) // 2
        return tuple(zip(pads[:axes], pads[axes:], strict=True))


@pytest.fixture(scope="module")
def cases(shared_data: Path) -> dict[str, Case]:
    found = {}
    for file in FILES:
        folder = shared_data / "conformance"
        described = json.loads((folder / f"{file}.json").read_text())
        with np.load(folder / f"{file}.npz") as arrays:
            for name, case in described.items():
                node = case["nodes"][0]
                found[name] = Case(
                    operator=node["op"],
                    options=node["attrs"],
                    x=torch.from_numpy(arrays[f"{name}/in0"]),
                    parameters=[
                        torch.from_numpy(arrays[f"{name}/init_{parameter}"])
                        for parameter in case["initializers"]
                    ],
                    expected=torch.from_numpy(arrays[f"{name}/out0"]),
                )
    return found


def convolution_layer(case: Case) -> nn.Module:
    """convsmith's layer of the geometry that ONNX describes."""
    weight, *bias = case.parameters
    options = case.options
    axes = len(options["kernel_shape"])
    arguments = {
        "stride": options["strides"],
        "padding": case.pads,
        "dilation": options["dilations"],
        "groups": options["group"],
        "bias": bool(bias),
    }
    if case.operator == "ConvTranspose":
        kind, channels = "ConvTranspose", (weight.shape[0], weight.shape[1] * options["group"])
        arguments["output_padding"] = options["output_padding"]
    else:
        kind, channels = "Conv", (weight.shape[1] * options["group"], weight.shape[0])
    return getattr(cs, f"{kind}{axes}d")(*channels, options["kernel_shape"], **arguments)


def most_specific_layer(case: Case, layer: nn.Module) -> nn.Module | None:
    """The depthwise layer of a geometry that its family claims; the other kinds' layer is `layer`
    itself.
    """
    geometry = layer.geometry
    if recognize(geometry).name != "depthwise":
        return None
    return recognize(geometry).layers[geometry.spatial_axes](
        geometry.in_channels,
        geometry.kernel_size,
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        geometry.out_channels // geometry.in_channels,
        bias=layer.bias is not None,
    )


def load(layer: nn.Module, parameters: list[Tensor]) -> nn.Module:
    names = ("weight", "bias")[: len(parameters)]
    layer.load_state_dict(dict(zip(names, parameters, strict=True)))
    return layer.eval()


def test_there_are_30_convolutions_and_6_others(cases: dict[str, Case]) -> None:
    others = [name for name, case in cases.items() if not case.operator.startswith("Conv")]
    assert sorted(others) == sorted(OTHERS)
    assert len(cases) - len(others) == CONVOLUTIONS


def test_the_30_convolutions_pass_through_convsmith_s_layers(cases: dict[str, Case]) -> None:
    passed, kinds = [], set()
    for name, case in cases.items():
        if name in OTHERS:
            continue
        layer = load(convolution_layer(case), case.parameters)
        kinds.add(recognize(layer.geometry).name)
        assert isinstance(layer.geometry, Geometry)
        assert layer.geometry.output_shape(case.x.shape) == tuple(case.expected.shape)
        with torch.inference_mode():
            y = layer(case.x)
            special = most_specific_layer(case, layer)
            if special is not None:
                torch.testing.assert_close(
                    load(special, case.parameters)(case.x), case.expected, rtol=RTOL, atol=ATOL
                )
        torch.testing.assert_close(
            y, case.expected, rtol=RTOL, atol=ATOL, msg=lambda text, name=name: f"{name}: {text}"
        )
        # Tighter, where sums cancel as well: another order of summing k products of the data's own
        # size rounds each partial sum by at most 2^-24 of the sum of magnitudes.
        assert rounding_excess(layer, case, y) <= 1, name
        passed.append(name)
    assert len(passed) == CONVOLUTIONS
    assert kinds == {"standard", "grouped", "dilated", "depthwise", "transposed"}


def rounding_excess(layer: nn.Module, case: Case, y: Tensor) -> float:
    """|y - expected| over twice the bound of any order of summation, k 2^-24 sum |w| |x|."""
    weight, *bias = case.parameters
    with torch.inference_mode():
        magnitude = load(layer, [p.abs() for p in case.parameters])(case.x.abs()).double()
    terms = weight.numel() // min(weight.shape[:2]) + len(bias)
    bound = 2 * terms * 2**-24 * magnitude
    return ((y.double() - case.expected.double()).abs() / bound.clamp_min(1e-300)).max().item()


def windows(x: Tensor, geometry: PoolingGeometry, padding: float) -> Tensor:
    """Every window's values in the last axis, gathered at the places each `Axis` reads."""
    axes = geometry.spatial_axes
    sizes, outputs = x.shape[-axes:], geometry.output_shape(x.shape)[-axes:]
    for k, axis in enumerate(geometry.axes(sizes)):
        places = torch.tensor([list(axis.reads(j)) for j in range(outputs[k])])
        outside = (places < 0) | (places >= sizes[k])
        x = x.movedim(x.ndim - axes, -1)  # the next spatial axis goes last, as (output, tap)
        x = x[..., places.clamp(0, sizes[k] - 1)].masked_fill(outside, padding)
        x = x.movedim(-1, 0)
        x = x.flatten(0, k) if k else x  # the taps of all axes so far, in front
    return x.movedim(0, -1)


def test_the_6_others_pass_through_geometry(cases: dict[str, Case]) -> None:
    passed = [name for name in OTHERS if passes_through_geometry(cases[name])]
    assert len(passed) == 6


def passes_through_geometry(case: Case) -> bool:
    if case.operator == "Constant":
        return is_pixel_shuffle(case)
    geometry = PoolingGeometry(
        kernel_size=case.options["kernel_shape"],
        stride=case.options["strides"],
        padding=case.pads,
        dilation=tuple(case.options.get("dilations", ())),
    )
    assert geometry.output_shape(case.x.shape) == tuple(case.expected.shape)
    if case.operator == "MaxPool":
        y = windows(case.x, geometry, -torch.inf).amax(-1)
        assert torch.equal(y, case.expected)
    else:
        assert case.pads == ((0, 0), (0, 0))  # so that no padding is averaged
        y = windows(case.x, geometry, torch.nan).mean(-1)
        # Four values summed in any order round three times.
        torch.testing.assert_close(y, case.expected, rtol=4 * 2**-24, atol=3 * 2**-24)
    return True


def is_pixel_shuffle(case: Case) -> bool:
    """Each output pixel is one input pixel: a transposed axis of kernel = stride = 3, and the phase
    picks the channel.
    """
    axis = TransposedAxis(3, 3)
    geometry = TransposedGeometry(in_channels=9, out_channels=1, kernel_size=(3, 3), stride=(3, 3))
    assert geometry.output_shape(case.x.shape) == tuple(case.expected.shape)
    for row in range(12):
        for column in range(12):
            (h,), (w,) = axis.reads(row), axis.reads(column)
            assert case.expected[0, 0, row, column] == case.x[0, row % 3 * 3 + column % 3, h, w]
    return True

# SPDX-License-Identifier: Apache-2.0
"""Weights of TensorFlow Lite files: dequantised by the formula, and refused when damaged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convsmith import models
from convsmith.errors import FormatError
from convsmith.models.blocks import weighted_layers

SCALE, ZERO_POINT, BIAS_SCALE = 0.5, 3, 0.25
SMALL: dict[str, Any] = {"num_classes": 5, "width": 0.25, "norm": False, "padding": "same"}


def write_quantised(folder: Path, name: str, **options: Any) -> Path:
    """A file in the layout of the shared ones, of a network with these options."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    nodes: list[dict[str, Any]] = []
    tensors: dict[str, Any] = {"0": {"shape": [1, 96, 96, 3], "scale": [1.0], "zp": [0]}}
    for i, (_, layer) in enumerate(weighted_layers(models.create(name, device="meta", **options))):
        shape = tuple(layer.weight.shape) + (1, 1) * isinstance(layer, nn.Linear)
        is_depthwise = isinstance(layer, nn.Conv2d) and layer.groups > 1
        to_file = (1, 2, 3, 0) if is_depthwise else (0, 2, 3, 1)
        weight, bias = str(2 * i + 1), str(2 * i + 2)
        arrays[f"t{weight}"] = rng.integers(0, 256, shape, dtype=np.uint8).transpose(to_file)
        arrays[f"t{bias}"] = rng.integers(-99, 99, shape[0], dtype=np.int32)
        tensors[weight] = {"scale": [SCALE], "zp": [ZERO_POINT]}
        tensors[bias] = {"scale": [BIAS_SCALE], "zp": [0]}
        nodes.append(
            {
                "op": "DEPTHWISE_CONV_2D" if is_depthwise else "CONV_2D",
                "inp": [0, int(weight), int(bias)],
                "stride": list(getattr(layer, "stride", (1, 1))),
            }
        )
    nodes.insert(3, {"op": "ADD", "inp": [0, 0]})
    np.savez(folder / "q.npz", **arrays)
    description = {"inputs": [0], "nodes": nodes, "tensors": tensors}
    (folder / "q.json").write_text(json.dumps(description))
    return folder / "q.npz"


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_weights_are_dequantised_into_their_layers(tmp_path: Path, name: str) -> None:
    path = write_quantised(tmp_path, name, **SMALL)
    model = models.create(name, weights=path)
    assert model.recipe.options == SMALL
    assert (model.preprocess.size, model.preprocess.label_offset) == (96, 1)
    with np.load(path) as arrays:
        for i, (_, layer) in enumerate(weighted_layers(model)):
            q = torch.from_numpy(arrays[f"t{2 * i + 1}"]).double()
            is_depthwise = isinstance(layer, nn.Conv2d) and layer.groups > 1
            real = ((q - ZERO_POINT) * SCALE).permute(
                (3, 0, 1, 2) if is_depthwise else (0, 3, 1, 2)
            )
            assert torch.equal(layer.weight.double(), real.reshape(layer.weight.shape))
            bias = torch.from_numpy(arrays[f"t{2 * i + 2}"]).double() * BIAS_SCALE
            assert torch.equal(layer.bias.double(), bias)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_a_model_of_these_options_takes_them_too(tmp_path: Path) -> None:
    path = write_quantised(tmp_path, "mobilenet_v1", **SMALL)
    model = models.load_weights(models.create("mobilenet_v1", **SMALL), path)
    assert model.preprocess.label_offset == 1
    with pytest.raises(FormatError, match=r"q\.npz has no tensor features\.0\.1\.weight"):
        models.load_weights(models.create("mobilenet_v1", num_classes=5, width=0.25), path)


def test_another_network_is_refused(tmp_path: Path) -> None:
    path = write_quantised(tmp_path, "mobilenet_v1", **SMALL)
    with pytest.raises(
        FormatError, match=r"q\.npz is an \.npz, which is not known for resnet20; give"
    ):
        models.create("resnet20", weights=path)
    with pytest.raises(FormatError, match=r"q\.npz has 28 convolutions; mobilenet_v2 of .* has 53"):
        models.create("mobilenet_v2", weights=path)


def test_operators_in_another_order_are_refused(tmp_path: Path) -> None:
    path = write_quantised(tmp_path, "mobilenet_v1", **SMALL)
    description = json.loads(path.with_suffix(".json").read_text())
    description["nodes"][0]["stride"] = [1, 1]
    path.with_suffix(".json").write_text(json.dumps(description))
    with pytest.raises(FormatError, match=r"CONV_2D of stride \(1, 1\) and dilation"):
        models.create("mobilenet_v1", weights=path)


def test_tensors_of_another_shape_are_named(tmp_path: Path) -> None:
    path = write_quantised(tmp_path, "mobilenet_v1", **SMALL)
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **{**arrays, "t4": arrays["t4"][:-1]})
    with pytest.raises(
        FormatError, match=r"features\.1\.0\.bias has shape \(7,\); the network needs \(8,\)"
    ):
        models.create("mobilenet_v1", weights=path)


@pytest.mark.parametrize("keep", [0, 100, 20000])
def test_a_damaged_file_is_a_format_error(tmp_path: Path, keep: int) -> None:
    path = write_quantised(tmp_path, "mobilenet_v1", **SMALL)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FormatError, match=r"q\.npz is damaged"):
        models.create("mobilenet_v1", weights=path)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    path = write_quantised(tmp_path, "mobilenet_v1", **SMALL)
    np.savez(path, t1=np.array([{}], dtype=object))
    with pytest.raises(FormatError, match=r"q\.npz is damaged: .*allow_pickle=False"):
        models.create("mobilenet_v1", weights=path)


def test_a_missing_description_is_what_python_calls_it(tmp_path: Path) -> None:
    path = write_quantised(tmp_path, "mobilenet_v1", **SMALL)
    path.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match=r"q\.json"):
        models.create("mobilenet_v1", weights=path)


def test_a_damaged_description_is_a_format_error(tmp_path: Path) -> None:
    path = write_quantised(tmp_path, "mobilenet_v1", **SMALL)
    path.with_suffix(".json").write_text('{"nodes": [{"op": "CONV_2D"}]}')
    with pytest.raises(FormatError, match=r"q\.npz is damaged: KeyError\('inp'\)"):
        models.create("mobilenet_v1", weights=path)

# SPDX-License-Identifier: Apache-2.0
"""Weights of TensorFlow Lite files: an `.npz` of tensors with a `.json` of operators beside it.

    real = (q - zero point) scale, for 8-bit tensors; others are real already

Convolution weights lie as (o, h, w, i), depthwise ones as (1, h, w, c), those of linear layers as
(o, i). The operators are listed in the order they run, which is the order of the model's layers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convsmith.errors import FormatError
from convsmith.models.archive import arrays_of
from convsmith.models.blocks import weighted_layers
from convsmith.models.network import Network, StoredWeights

_DEPTHWISE = "DEPTHWISE_CONV_2D"
_WEIGHTED = ("CONV_2D", _DEPTHWISE, "FULLY_CONNECTED")

# The network's options that the shapes of its weights show, in the order they run.
OptionsOf = Callable[[Sequence[tuple[int, ...]]], dict[str, Any]]


def read_tflite(
    path: Path, network: Network, *, options: OptionsOf, label_offset: int = 0
) -> StoredWeights:
    """The weights in a file, dequantised, for a model whose batch-norms are folded and which pads
    as TensorFlow does.

    Args:
        options: See `OptionsOf`.
        label_offset: 1 if output 0 is the background.

    Raises:
        FormatError: if a file is damaged, or is not of this network.
    """
    with arrays_of(path) as arrays:
        description = json.loads(path.with_suffix(".json").read_text())
        return _read(arrays, description, path, network, options, label_offset)


def _read(
    arrays: Mapping[str, np.ndarray],
    description: Mapping[str, Any],
    path: Path,
    network: Network,
    options_of: OptionsOf,
    label_offset: int,
) -> StoredWeights:
    nodes = [node for node in description["nodes"] if node["op"] in _WEIGHTED]
    reals = {
        key: _real(arrays[f"t{key}"], description["tensors"][str(key)])
        for node in nodes
        for key in node["inp"][1:]
    }
    options = options_of([reals[node["inp"][1]].shape for node in nodes])
    with torch.device("meta"):
        layers = list(weighted_layers(network.build(**options)))
    if len(layers) != len(nodes):
        raise FormatError(
            f"load_weights: {path.name} has {len(nodes)} convolutions; {network.name} of width "
            f"{options.get('width', 1):g} has {len(layers)}"
        )
    tensors: dict[str, Tensor] = {}
    for node, (name, layer) in zip(nodes, layers, strict=True):
        weight, bias = (reals[key] for key in node["inp"][1:])
        tensors[f"{name}.weight"] = _weight_for(layer, name, weight, node, path)
        tensors[f"{name}.bias"] = torch.from_numpy(bias)
    size = description["tensors"][str(description["inputs"][0])]["shape"][1]
    preprocess = replace(network.preprocess, size=size, label_offset=label_offset)
    return StoredWeights(tensors=tensors, options=options, preprocess=preprocess)


def _real(stored: np.ndarray, tensor: Mapping[str, Any]) -> np.ndarray:
    if stored.dtype == np.float32:
        return stored
    (scale,), (zero_point,) = tensor["scale"], tensor["zp"]
    return ((stored.astype(np.int64) - zero_point) * scale).astype(np.float32)


def _weight_for(
    layer: nn.Module, name: str, weight: np.ndarray, node: Mapping[str, Any], path: Path
) -> Tensor:
    """The weight in the layout of the layer that it belongs to."""
    is_depthwise = isinstance(layer, nn.Conv2d) and layer.groups > 1
    expected = (layer.stride, layer.dilation) if isinstance(layer, nn.Conv2d) else ((1, 1), (1, 1))
    stride, dilation = (tuple(node.get(key, (1, 1))) for key in ("stride", "dil"))
    if is_depthwise != (node["op"] == _DEPTHWISE) or (stride, dilation) != expected:
        raise FormatError(
            f"load_weights: {path.name} has {node['op']} of stride {stride} and dilation "
            f"{dilation} where {name} is {layer}"
        )
    if weight.ndim == 2:
        return torch.from_numpy(weight)
    order = (3, 0, 1, 2) if is_depthwise else (0, 3, 1, 2)
    values = torch.from_numpy(np.ascontiguousarray(weight.transpose(order)))
    return values.flatten(1) if isinstance(layer, nn.Linear) else values

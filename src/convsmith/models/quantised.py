# SPDX-License-Identifier: Apache-2.0
"""Quantised MobileNet weights: an `.npz` of 8-bit tensors with a `.json` of operators beside it.

    real = (q - zero point) scale

Convolution weights lie as (o, h, w, i), depthwise ones as (1, h, w, c). The operators are listed in
the order they run, which is the order of the model's layers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convsmith.errors import FormatError
from convsmith.models.blocks import weighted_layers
from convsmith.models.network import Network
from convsmith.models.preprocess import Preprocess

# Which convolution from the end shows the width multiplier, and its input channels at width 1.
_WIDTH_SHOWN_BY = {"mobilenet_v1": (-1, 1024), "mobilenet_v2": (-2, 320)}
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


@dataclass(frozen=True, kw_only=True)
class QuantisedWeights:
    """The dequantised tensors by the model's names, the options of the model they are for, and its
    preprocessing.
    """

    tensors: dict[str, Tensor]
    options: dict[str, Any]
    preprocess: Preprocess


def read_quantised(path: Path, network: Network) -> QuantisedWeights:
    """Dequantise a file for MobileNet v1 or v2.

    The model it is for pads as TensorFlow does, has no batch-norm left (it is folded), and one
    output more than classes: output 0 is the background.

    Raises:
        FormatError: if a file is damaged, or is not of this network.
    """
    if network.name not in _WIDTH_SHOWN_BY:
        raise FormatError(
            f"load_weights: {path.name} is an .npz, which is known for "
            f"{' and '.join(_WIDTH_SHOWN_BY)}, not for {network.name}"
        )
    try:
        return _read(path, network)
    except (FormatError, FileNotFoundError):
        raise
    except Exception as error:  # whatever a damaged archive or description makes of itself
        raise FormatError(f"load_weights: {path.name} is damaged: {error!r}") from None


def _read(path: Path, network: Network) -> QuantisedWeights:
    description = json.loads(path.with_suffix(".json").read_text())
    nodes = [node for node in description["nodes"] if node["op"] in _CONVOLUTIONS]
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        reals = {
            key: _dequantised(arrays[f"t{key}"], description["tensors"][str(key)])
            for node in nodes
            for key in node["inp"][1:]
        }
    which, channels_at_width_1 = _WIDTH_SHOWN_BY[network.name]
    options = {
        "num_classes": reals[nodes[-1]["inp"][1]].shape[0],
        "width": reals[nodes[which]["inp"][1]].shape[-1] / channels_at_width_1,
        "norm": False,
        "padding": "same",
    }
    with torch.device("meta"):
        layers = list(weighted_layers(network.build(**options)))
    if len(layers) != len(nodes):
        raise FormatError(
            f"load_weights: {path.name} has {len(nodes)} convolutions; {network.name} of width "
            f"{options['width']:g} has {len(layers)}"
        )
    tensors: dict[str, Tensor] = {}
    for node, (name, layer) in zip(nodes, layers, strict=True):
        weight, bias = (reals[key] for key in node["inp"][1:])
        tensors[f"{name}.weight"] = _weight_for(layer, name, weight, node, path)
        tensors[f"{name}.bias"] = torch.from_numpy(bias)
    size = description["tensors"][str(description["inputs"][0])]["shape"][1]
    preprocess = replace(network.preprocess, size=size, label_offset=1)
    return QuantisedWeights(tensors=tensors, options=options, preprocess=preprocess)


def _dequantised(q: np.ndarray, tensor: Mapping[str, Any]) -> np.ndarray:
    (scale,), (zero_point,) = tensor["scale"], tensor["zp"]
    return ((q.astype(np.int64) - zero_point) * scale).astype(np.float32)


def _weight_for(
    layer: nn.Module, name: str, weight: np.ndarray, node: Mapping[str, Any], path: Path
) -> Tensor:
    """The weight in the layout of the layer that it belongs to."""
    is_depthwise = isinstance(layer, nn.Conv2d) and layer.groups > 1
    stride = list(layer.stride) if isinstance(layer, nn.Conv2d) else [1, 1]
    if is_depthwise != (node["op"] == "DEPTHWISE_CONV_2D") or node["stride"] != stride:
        raise FormatError(
            f"load_weights: {path.name} has {node['op']} of stride {node['stride']} where {name} "
            f"is {layer}"
        )
    order = (3, 0, 1, 2) if is_depthwise else (0, 3, 1, 2)
    values = torch.from_numpy(np.ascontiguousarray(weight.transpose(order)))
    return values.flatten(1) if isinstance(layer, nn.Linear) else values

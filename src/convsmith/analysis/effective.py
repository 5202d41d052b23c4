# SPDX-License-Identifier: Apache-2.0
"""The effective receptive field: how much each place of real images matters to a middle output.

    weight of a place = mean over images of sum over channels |d sum_c y_c / d x|

by one backward pass a layer and image (Luo et al., Understanding the effective receptive field in
deep convolutional neural networks, 2016).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from convsmith.analysis.result import Effective, Layer

_MOST_LAYERS = 12
_SHARES = (0.5, 0.95)


def worth_measuring(rows: Sequence[tuple[Node, Layer]]) -> list[tuple[Node, Layer]]:
    """The convolutions that see more than all before them, thinned evenly, the last one kept."""
    seen: tuple[int, ...] = ()
    found: list[tuple[Node, Layer]] = []
    for node, layer in rows:
        sizes = tuple(axis.size for axis in layer.cone.axes) if layer.cone else ()
        if layer.kind == "convolution" and sizes > seen:
            seen = sizes
            found.append((node, layer))
    step = (len(found) - 1) / max(1, _MOST_LAYERS - 1)
    chosen = {round(number * step) for number in range(_MOST_LAYERS)} if step > 1 else None
    return [row for number, row in enumerate(found) if chosen is None or number in chosen]


def middle_of(value: Tensor, spatial: int) -> Tensor:
    """The sum over channels of the middle output, a number with a gradient."""
    for _ in range(spatial):
        value = value.select(2, _middle(value.shape[2]))
    return value.sum()


def _middle(size: int) -> int:
    return (size - 1) // 2


@dataclass
class Listening:
    """The weights of all places, one array a layer, summed up image by image."""

    weights: dict[Node, np.ndarray]
    images: int = 0

    def add(self, middles: Mapping[Node, Tensor], image: Tensor) -> None:
        """Follow the middle outputs of one image back to its places."""
        self.images += 1
        for node, middle in middles.items():
            (gradient,) = torch.autograd.grad(
                middle, image, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            places = gradient.detach().abs().sum((0, 1)).double().cpu().numpy()
            self.weights[node] = self.weights.get(node, 0) + places

    def of(self, node: Node, layer: Layer) -> Effective | None:
        """The stretches around the middle that hold half and nearly all of the weight."""
        places = self.weights.get(node)
        if places is None or not places.any():
            return None
        sides = []
        for axis in range(places.ndim):
            others = tuple(other for other in range(places.ndim) if other != axis)
            centre = _centre(layer, axis + 2, places.shape[axis])
            sides.append(_sides(places.sum(others), centre))
        half, most = (tuple(side[k] for side in sides) for k in range(len(_SHARES)))
        return Effective(images=self.images, half=half, most=most)


def _centre(layer: Layer, axis: int, size: int) -> float:
    """Where the middle output's cone has its middle; the image's own where it has no end."""
    axes = layer.cone.axes if layer.cone else ()
    along = next((found for found in axes if found.axis == axis), None)
    if along is None or not along.stride or axis >= len(layer.output):
        return (size - 1) / 2
    return float(along.stride * _middle(layer.output[axis]) + (along.a + along.b) / 2)


def _sides(weights: np.ndarray, centre: float) -> list[int]:
    """For each share the shortest stretch around `centre` that holds it."""
    distance = np.abs(np.arange(len(weights)) - centre)
    order = np.argsort(distance, kind="stable")
    held = np.cumsum(weights[order]) / weights.sum()
    # Rounding may keep the last sum just below 1.
    last = [min(int(np.searchsorted(held, share - 1e-12)), len(held) - 1) for share in _SHARES]
    return [min(int(2 * distance[order[k]]) + 1, len(weights)) for k in last]

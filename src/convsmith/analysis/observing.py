# SPDX-License-Identifier: Apache-2.0
"""What real images show of a network: what its outputs listen to, and its feature maps."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from convsmith.analysis.effective import Listening, middle_of, worth_measuring
from convsmith.analysis.measuring import check_same_operators, need_numbers, operators_of
from convsmith.analysis.operators import sizes
from convsmith.analysis.picturing import feature_maps, heat
from convsmith.analysis.result import Layer
from convsmith.capture import Traced, run_watched
from convsmith.errors import ArgumentError
from convsmith.report import Picture, Pictures

Rows = list[tuple[Node, Layer]]


def observe(
    traced: Traced, rows: Rows, images: Tensor, *, pictures: bool
) -> tuple[Rows, dict[int, Pictures], list[str]]:
    """The layers with their effective fields, small pictures by layer, and notes.

    Raises:
        ArgumentError: if images do not fit the network's one map, or it has no numbers to run on.
    """
    shape = _map_of(traced, images)
    need_numbers(traced.model, "images")
    model = copy.deepcopy(traced.model).eval() if traced.model.training else traced.model
    chosen = worth_measuring(rows)
    shown = {node for node, layer in rows if pictures and len(layer.output) == len(shape)}
    listening = Listening({})
    maps: dict[Node, Picture | None] = {}
    notes = []
    for number, image in enumerate(images):
        seen = _Run(operators_of(traced), {node for node, _ in chosen})
        seen.maps = shown if number == 0 else set()
        given = image[None].detach().clone().requires_grad_()
        try:
            with torch.enable_grad():
                run_watched(model, [given.clone()], None, seen.call)
                check_same_operators(traced, seen.names)
                listening.add(seen.middles, given)
        except RuntimeError as error:  # torch's own, of what has no gradient
            reason = str(error).strip().split("\n")[0]
            notes.append(f"what outputs listen to could not be measured: {reason}")
            break
        finally:
            maps |= seen.found
    rows = [_with_effective(row, listening) for row in rows]
    drawn = {
        layer.index: Pictures(
            maps=maps.get(node), heat=heat(listening.weights.get(node)) if pictures else None
        )
        for node, layer in rows
        if node in maps or node in listening.weights
    }
    return rows, drawn, notes


def _map_of(traced: Traced, images: Tensor) -> tuple[int, ...]:
    placeholders = [node for node in traced.graph.nodes if node.op == "placeholder"]
    shape = sizes(placeholders[0]) if placeholders else ()
    if len(placeholders) != 1 or len(shape) < 3:
        raise ArgumentError(
            f"analyze: images are given, and the model takes {len(placeholders)} inputs; they "
            "need a model with one input of batch, channels and places; leave them out."
        )
    if tuple(images.shape[1:]) != shape[1:] or not images.is_floating_point() or not len(images):
        raise ArgumentError(
            f"analyze: images are {images.dtype} of shape {tuple(images.shape)}; they must be "
            f"floating point of shape (n, {', '.join(map(str, shape[1:]))}), as the input is."
        )
    return shape


def _with_effective(row: tuple[Node, Layer], listening: Listening) -> tuple[Node, Layer]:
    node, layer = row
    if layer.cone is None or node not in listening.weights:
        return row
    return node, replace(layer, effective=listening.of(node, layer))


class _Run:
    """One call of the model: the middle outputs and feature maps of chosen operators."""

    def __init__(self, nodes: Sequence[Node], wanted: set[Node]) -> None:
        self.names: list[str] = []
        self.middles: dict[Node, Tensor] = {}
        self.maps: set[Node] = set()
        self.found: dict[Node, Picture | None] = {}
        self._nodes, self._wanted = nodes, wanted

    def call(self, operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        result = operator(*args, **kwargs)
        place = len(self.names)
        self.names.append(str(operator))
        node = self._nodes[place] if place < len(self._nodes) else None
        # At once: what stands in a tensor now may be written over later.
        if node in self._wanted and isinstance(result, Tensor):
            self.middles[node] = middle_of(result, result.dim() - 2)
        if node in self.maps and isinstance(result, Tensor):
            self.found[node] = feature_maps(result[0].detach())
        return result

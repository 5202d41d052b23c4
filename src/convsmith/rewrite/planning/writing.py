# SPDX-License-Identifier: Apache-2.0
"""Write a choice into the graph."""

from typing import Any

import torch
from torch import nn
from torch.fx import Node

from convsmith.capture import Captured
from convsmith.native.chains import Chain, options_of
from convsmith.rewrite.planning.places import Place
from convsmith.rewrite.planning.plan import TORCH, TORCH_CONTIGUOUS
from convsmith.rewrite.surgery import stored

aten = torch.ops.aten


def write(captured: Captured, segment: tuple[Place, ...], chain: Chain, kernel: str) -> None:
    """Let these places be computed as chosen, in place; `captured.refresh()` is the caller's."""
    if kernel == TORCH:
        _lay_weight_last(captured, segment[0])
    elif kernel == TORCH_CONTIGUOUS:
        _surround(captured, segment[0])
    else:
        _replace(captured, segment, chain, kernel)


def _replace(captured: Captured, segment: tuple[Place, ...], chain: Chain, kernel: str) -> None:
    last = segment[-1]
    arguments: tuple[Any, ...] = (
        segment[0].x,
        [place.weight for place in segment],
        [place.bias for place in segment if place.bias is not None],
        last.residual,
        [place.bias is not None for place in segment],
        *options_of(chain),
        kernel,
    )
    with captured.graph.inserting_before(last.result):
        # Weights may stand behind the first convolution, never behind the last node.
        node = captured.graph.call_function(torch.ops.convsmith.convolutions.default, arguments)
    # The name that the user gave to the convolution, not to what follows it.
    node.meta = dict(last.nodes[0].meta) | {"val": last.result.meta["val"]}
    last.result.replace_all_uses_with(node)
    for place in reversed(segment):
        for old in reversed(place.nodes):
            captured.graph.erase_node(old)


def _lay_weight_last(captured: Captured, place: Place) -> None:
    """torch's convolutions over images give channels last when their weight lies so."""
    weight = stored(captured, place.weight)
    assert isinstance(weight, nn.Parameter | torch.Tensor)  # a place has its weights stored
    if weight.dim() < 4:
        return
    weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def _surround(captured: Captured, place: Place) -> None:
    """Contiguous in, channels last out again."""
    first, result = place.nodes[0], place.result
    with captured.graph.inserting_before(first):
        inside = _in_order(captured, place.x, torch.contiguous_format)
    first.replace_input_with(place.x, inside)
    with captured.graph.inserting_after(result):
        outside = _in_order(captured, result, torch.channels_last)
    result.replace_all_uses_with(outside, delete_user_cb=lambda user: user is not outside)


def _in_order(captured: Captured, value: Node, order: torch.memory_format) -> Node:
    node = captured.graph.call_function(aten.contiguous.default, (value,), {"memory_format": order})
    node.meta = dict(value.meta)
    return node

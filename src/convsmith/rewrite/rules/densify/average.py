# SPDX-License-Identifier: Apache-2.0
"""Average pooling on a refined map: the sum over a dilated window, divided as the pooling did.

torch's average pooling has no dilation. The sum is a depthwise convolution with weights of one; the
divisor is a number where every window counts as many positions, else the same sum over a map of
ones, padded with what counts (`count_include_pad`: the padding does, the room of `ceil_mode` does
not).
"""

from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from convsmith.capture import Captured, arguments
from convsmith.rewrite.rules.densify.windows import Refined, kernel_of, per_axis, refined
from convsmith.rewrite.surgery import place, put, replace, sizes

if TYPE_CHECKING:
    from convsmith.rewrite.rules.densify.walk import Walk

aten = torch.ops.aten

AVERAGE_POOLS: dict[Any, int] = {
    aten.avg_pool1d.default: 1,
    aten.avg_pool2d.default: 2,
    aten.avg_pool3d.default: 3,
}
_CONVOLUTION = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}


def average_pool(walk: "Walk", node: Node) -> None:
    named, rank = arguments(node), AVERAGE_POOLS[node.target]
    source: Node = named["self"]
    pairs = [(p, p) for p in per_axis(named["padding"], rank)]
    window = refined(walk, node, source, pairs)
    total = _sum(walk, node, source, window, padding=0.0)
    divisor = named.get("divisor_override")
    is_plain = not any(window.room) and (named["count_include_pad"] or not any(window.before))
    if divisor is None and is_plain:
        divisor = prod(kernel_of(node, rank))
    if divisor is not None:
        mean = walk.insert(aten.div.Tensor, (total, divisor), at=node)
    else:
        one = walk.insert(aten.slice.Tensor, (source, 1, 0, 1, 1), at=node)
        ones = walk.insert(aten.ones_like.default, (one,), at=node)
        counted = float(named["count_include_pad"])
        count = _sum(walk, node, ones, window, padding=counted)
        mean = walk.insert(aten.div.Tensor, (total, count), at=node)
    walk.stands_for(mean, node)
    replace(walk.captured, node, mean)


def _sum(walk: "Walk", node: Node, image: Node, window: Refined, *, padding: float) -> Node:
    """The sum over each window; around the map lies `padding`, in the room behind it zeros."""
    rank = len(window.stride)
    native = list(window.before)
    if any(window.room) or padding:
        image = walk.pad(image, window.pads(with_room=False), padding, at=node)
        behind = [n for r in reversed(window.room) for n in (0, r)]
        image = walk.pad(image, behind, 0.0, at=node)
        native = [0] * rank
    weight = _ones(walk.captured, node, image, kernel_of(node, rank))
    groups = sizes(image)[1]
    given = (image, weight, None, window.stride, native, window.dilation, groups)
    return walk.insert(_CONVOLUTION[rank], given, at=node)


def _ones(captured: Captured, node: Node, image: Node, kernel: list[int]) -> Node:
    like: Any = image.meta["val"]
    weight = torch.ones(sizes(image)[1], 1, *kernel, dtype=like.dtype, device=like.device)
    name = f"{place(node)}.window" if place(node) != node.name else f"{node.name}_window"
    return put(captured, name, weight, at=node, trained=False)

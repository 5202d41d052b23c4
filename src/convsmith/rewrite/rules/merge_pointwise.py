# SPDX-License-Identifier: Apache-2.0
"""Merge two pointwise layers with nothing between: B (A x + a) + b = (B A) x + (B a + b).

Linear after linear, and 1x1 convolution after 1x1 convolution (groups 1). The second convolution
reads every s-th position of the first, so strides multiply: stride r s, padding p + q r for
paddings p and q. Padding between the two puts zeros where the first layer would have left its bias
a, so q must be 0 unless a is absent. Merged only where that costs fewer multiply-accumulates: C ->
M -> O against C -> O. Multiplied in float64, then rounded once.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from convsmith.capture import Captured, arguments
from convsmith.rewrite.cost import node_macs
from convsmith.rewrite.rule import Example, Rule, Site
from convsmith.rewrite.surgery import CONVOLUTIONS, place, put, sibling, sizes, stored

aten = torch.ops.aten
_LAYERS = {**CONVOLUTIONS, aten.linear.default: 0}


def match(captured: Captured, node: Node) -> Site | str | None:
    """Find a pointwise layer that reads another one; say why they cannot become one."""
    first = node.all_input_nodes[0] if node.target in _LAYERS else None
    if first is None or first is not arguments(node)["input"] or first.target not in _LAYERS:
        return None
    if _LAYERS[first.target] != _LAYERS[node.target] or not all(map(_is_pointwise, (first, node))):
        return None
    pair = f"{place(first)} and {place(node)}"
    if len(first.users) > 1:
        return f"the output of {place(first)} is used elsewhere too"
    for layer in (first, node):
        named = arguments(layer)
        present = [named["weight"], *([named["bias"]] if named["bias"] is not None else [])]
        if any(stored(captured, part) is None for part in present):
            return f"the weights of {place(layer)} are computed, not stored"
    if any(_numbers(node, "padding")) and arguments(first)["bias"] is not None:
        return f"{place(node)} pads with 0, where {place(first)} would have left its bias"
    before, after = node_macs(first) + node_macs(node), _merged_macs(first, node)
    if after >= before:
        return f"{pair} as one layer would cost {after} macs, as two {before}"
    return Site((first, node), (place(first), place(node)), f"{pair} merged into one layer")


def apply(captured: Captured, site: Site) -> list[Node]:
    """Multiply the weights and let one layer stand for both."""
    first, second = site.nodes
    a, b = arguments(first), arguments(second)
    weight, bias = _product(captured, a, b)
    merged = dict(b) | {"input": a["input"]}
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            key = sibling(b["weight"], name)
            merged[name] = put(captured, key, value, at=second, instead_of=b[name])
    if second.target in CONVOLUTIONS:
        r, s = _numbers(first, "stride"), _numbers(second, "stride")
        p, q = _numbers(first, "padding"), _numbers(second, "padding")
        merged["stride"] = [i * j for i, j in zip(r, s, strict=True)]
        merged["padding"] = [i + j * k for i, j, k in zip(p, q, r, strict=True)]
        second.target = _with_numeric_padding(second.target)
    second.args, second.kwargs = tuple(merged.values()), {}
    captured.module.graph.erase_node(first)
    return [second]


def _is_pointwise(layer: Node) -> bool:
    if layer.target is aten.linear.default:
        return True
    named = arguments(layer)
    return named["groups"] == 1 and all(size == 1 for size in sizes(named["weight"])[2:])


def _numbers(layer: Node, name: str) -> list[int]:
    """Return stride or padding per axis; 'same' and 'valid' are 0 for a kernel of one pixel."""
    if layer.target not in CONVOLUTIONS:
        return []
    value, rank = arguments(layer)[name], CONVOLUTIONS[layer.target]
    if isinstance(value, str):
        return [0] * rank
    return list(value) * (rank if len(value) == 1 else 1)


def _with_numeric_padding(target: Any) -> Any:
    rank = CONVOLUTIONS[target]
    return next(t for t, r in CONVOLUTIONS.items() if r == rank and t._overloadname == "default")


def _merged_macs(first: Node, second: Node) -> int:
    channels = sizes(arguments(first)["weight"])[1]
    return node_macs(second) // max(1, sizes(arguments(second)["weight"])[1]) * channels


def _product(
    captured: Captured, a: dict[str, Any], b: dict[str, Any]
) -> tuple[Tensor, Tensor | None]:
    tensors = [stored(captured, named[key]) for named in (a, b) for key in ("weight", "bias")]
    first, first_bias, second, second_bias = (
        None if t is None else t.detach().double() for t in tensors
    )
    assert first is not None  # match saw them
    assert second is not None  # match saw them
    assert tensors[2] is not None  # match saw them
    matrix = second.flatten(1)
    weight = (matrix @ first.flatten(1)).view(matrix.shape[0], *first.shape[1:])
    bias = second_bias
    if first_bias is not None:
        bias = matrix @ first_bias + (0 if second_bias is None else second_bias)
    dtype = tensors[2].dtype
    return weight.to(dtype), None if bias is None else bias.to(dtype)


def _example() -> tuple[nn.Module, Tensor]:
    first, second = nn.Conv2d(2, 4, 1, stride=2), nn.Conv2d(4, 3, 1)
    with torch.no_grad():
        for parameter in (*first.parameters(), *second.parameters()):
            parameter.copy_(torch.arange(parameter.numel()).view_as(parameter) - 3.0)
    return nn.Sequential(first, second), torch.arange(50.0).view(1, 2, 5, 5)


RULE = Rule(
    name="merge_pointwise",
    promise="Two pointwise layers with nothing between become one where that costs less.",
    match=match,
    apply=apply,
    example=Example(_example, before=["conv2d", "conv2d"], after=["conv2d"]),
)

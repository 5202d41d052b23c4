# SPDX-License-Identifier: Apache-2.0
"""Drop what changes no number at inference.

Dropout that is switched off, copies, reshapes to the same shape, dtype conversions to the same
dtype, a ReLU behind values that are never negative, padding by nothing, pooling over single pixels,
pairs of permutations that cancel, x - 0 and 1 x.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from convsmith.capture import Captured, arguments
from convsmith.rewrite.rule import Example, Rule, Site
from convsmith.rewrite.surgery import place, replace, same_shape

aten = torch.ops.aten

# A test answers with the node whose value passes through unchanged, or None.
_Test = Callable[[Node], Node | None]

_VIEWS = {aten.view.default, aten.reshape.default, aten.flatten.using_ints, aten.unflatten.int}
_VIEWS |= {aten.expand.default, aten.squeeze.dim, aten.squeeze.default, aten.alias.default}
_VIEWS |= {aten.permute.default, aten.transpose.int, aten.unsqueeze.default, aten.detach.default}
_VIEWS |= {aten.dropout.default}


def _input(node: Node) -> Node:
    return node.all_input_nodes[0]


def _always(node: Node) -> Node | None:
    return _input(node)


def _switched_off(node: Node) -> Node | None:
    named = arguments(node)
    return _input(node) if not named["train"] or named["p"] == 0 else None


def _same_shape(node: Node) -> Node | None:
    return _input(node) if same_shape(node, _input(node)) else None


def _same_kind(node: Node) -> Node | None:
    """A conversion to the dtype and device that the tensor has."""
    before, after = _input(node).meta["val"], node.meta["val"]
    is_same = before.dtype == after.dtype and before.device == after.device
    return _input(node) if is_same else None


def _relu_again(node: Node) -> Node | None:
    return _input(node) if _never_negative(_input(node)) else None


def _never_negative(node: Node) -> bool:
    if node.target in (aten.hardtanh.default, aten.clamp.default):
        low = arguments(node)["min_val" if node.target is aten.hardtanh.default else "min"]
        return isinstance(low, int | float) and low >= 0
    return node.target in _NEVER_NEGATIVE


_NEVER_NEGATIVE = {
    aten.relu.default,
    aten.relu6.default,
    aten.sigmoid.default,
    aten.hardsigmoid.default,
}
_NEVER_NEGATIVE |= {aten.softmax.int, aten.abs.default, aten.exp.default}


def _clipped_again(node: Node) -> Node | None:
    source = _input(node)
    is_same = source.target is node.target and source.args[1:] == node.args[1:]
    return source if is_same else None


def _pads_nothing(node: Node) -> Node | None:
    pad = arguments(node)["pad"]
    return _input(node) if all(isinstance(p, int) and p == 0 for p in pad) else None


def _single_pixels(node: Node) -> Node | None:
    named = arguments(node)
    kernel, stride, padding = named["kernel_size"], named["stride"], named["padding"]
    if not all(isinstance(k, int) for k in (*kernel, *stride, *padding)):
        return None
    moves = [*kernel, *(stride or kernel)]
    is_identity = all(k == 1 for k in moves) and not any(padding)
    return _input(node) if is_identity and named.get("divisor_override") in (None, 1) else None


def _cancels(node: Node) -> Node | None:
    """A permutation that does nothing, or that undoes the one it reads."""
    order = _order(node)
    if order == sorted(order):
        return _input(node)
    inner = _input(node)
    if inner.target not in (aten.permute.default, aten.transpose.int):
        return None
    first = _order(inner)
    return _input(inner) if [first[axis] for axis in order] == sorted(order) else None


def _order(node: Node) -> list[int]:
    rank = node.meta["val"].dim()
    if node.target is aten.permute.default:
        return [axis % rank for axis in arguments(node)["dims"]]
    named, order = arguments(node), list(range(rank))
    a, b = named["dim0"] % rank, named["dim1"] % rank
    order[a], order[b] = order[b], order[a]
    return order


def _neutral(number: int) -> _Test:
    """An operation with a plain number that leaves every value as it is."""

    def test(node: Node) -> Node | None:
        named = arguments(node)
        other = named["other"]
        is_neutral = isinstance(other, int | float) and other == number
        if not is_neutral or named.get("alpha", 1) != 1:
            return None
        source = named["self"]
        return source if same_shape(node, source) and _same_kind(node) else None

    return test


_TESTS: dict[Any, _Test] = {
    aten.dropout.default: _switched_off,
    aten.feature_dropout.default: _switched_off,
    aten.alpha_dropout.default: _switched_off,
    aten.feature_alpha_dropout.default: _switched_off,
    aten.clone.default: _always,
    aten.contiguous.default: _always,
    aten.detach.default: _always,
    aten.alias.default: _always,
    aten.view.default: _same_shape,
    aten.reshape.default: _same_shape,
    aten.flatten.using_ints: _same_shape,
    aten.unflatten.int: _same_shape,
    aten.expand.default: _same_shape,
    aten.squeeze.default: _same_shape,
    aten.squeeze.dim: _same_shape,
    aten.to.dtype: _same_kind,
    aten.to.dtype_layout: _same_kind,
    aten._to_copy.default: _same_kind,
    aten.relu.default: _relu_again,
    aten.hardtanh.default: _clipped_again,
    aten.relu6.default: _clipped_again,
    aten.pad.default: _pads_nothing,
    aten.constant_pad_nd.default: _pads_nothing,
    aten.max_pool1d.default: _single_pixels,
    aten.max_pool2d.default: _single_pixels,
    aten.max_pool3d.default: _single_pixels,
    aten.avg_pool1d.default: _single_pixels,
    aten.avg_pool2d.default: _single_pixels,
    aten.avg_pool3d.default: _single_pixels,
    aten.permute.default: _cancels,
    aten.transpose.int: _cancels,
    aten.sub.Tensor: _neutral(0),  # not x + 0, which turns -0.0 into 0.0
    aten.mul.Tensor: _neutral(1),
    aten.div.Tensor: _neutral(1),
}


def match(captured: Captured, node: Node) -> Site | str | None:
    """Find a node whose value is that of a node before it."""
    if node.target not in _TESTS or _escapes(node):
        return None
    if _TESTS[node.target](node) is None:
        return None
    return Site((node,), (place(node),), f"{_operator(node)} at {place(node)} changes nothing")


def apply(captured: Captured, site: Site) -> list[Node]:
    """Let the readers of the node read its source."""
    (node,) = site.nodes
    source = _TESTS[node.target](node)
    assert source is not None  # match saw it
    if node.target in (aten.clone.default, aten.contiguous.default):
        _let_views_copy(captured)
    replace(captured, node, source)
    return []


def _operator(node: Node) -> str:
    return str(node.target).split(".")[1]


def _escapes(node: Node) -> bool:
    """Tell whether a model's output would begin to share memory with something else."""
    return node.target not in _VIEWS and _reaches_output(node)


def _reaches_output(node: Node) -> bool:
    return any(u.op == "output" or (u.target in _VIEWS and _reaches_output(u)) for u in node.users)


def _let_views_copy(captured: Captured) -> None:
    """`view` wants memory in order, which the copy may have provided; `reshape` does not."""
    for node in captured.module.graph.nodes:
        if node.target is aten.view.default:
            node.target = aten.reshape.default


class _Idle(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(nn.functional.relu(x)).contiguous()
        x = nn.functional.dropout(x, training=False).permute(0, 2, 3, 1).permute(0, 3, 1, 2)
        return nn.functional.max_pool2d(x, 1).reshape(x.shape) - 1


RULE = Rule(
    name="drop_inference_noops",
    promise="What changes no number at inference is not computed.",
    match=match,
    apply=apply,
    example=Example(
        lambda: (_Idle(), torch.arange(-16.0, 16.0).view(2, 1, 4, 4)),
        before=["relu", "relu", "dropout", "permute", "permute", "max_pool2d", "reshape", "sub"],
        after=["relu", "sub"],
    ),
)

# SPDX-License-Identifier: Apache-2.0
"""Compute once what a network computes from its weights alone at every call.

    weight_norm, spectral_norm, weight standardization, a connection table laid out as a kernel,
    a transposed or concatenated weight: W = f(theta)  ->  W, stored

Same operators, same dtype: the numbers are those of every call before. It comes first among the
rules: a layer whose weight is stored can take a batch-norm, and a kernel of the core.
"""

from collections.abc import Iterator
from math import prod
from operator import getitem
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.node import map_arg

from convsmith.capture import Captured, arguments, module_path, weight_of
from convsmith.rewrite.rule import Example, Rule, Site
from convsmith.rewrite.surgery import place, put, replace

# What is stored may be larger than what it is computed from, a table's kernel for one; but a number
# that a network spreads over a map is no weight.
_MOST_GROWTH, _ALWAYS = 4, 4096
_VARIES = "varies from call to call"


def match(captured: Captured, node: Node) -> Site | str | None:
    """Find the last tensor that depends on stored tensors alone."""
    if node.op != "call_function" or not isinstance(node.meta.get("val"), Tensor):
        return None
    if not _is_constant(node):
        return None
    users = [user for user in node.users if not _is_constant(user)]
    if not users:
        return None
    numel, limit = prod(node.meta["val"].shape), _MOST_GROWTH * _stored_numel(captured, node)
    if numel > max(limit, _ALWAYS):
        return (
            f"it would store {numel:,} numbers that are computed from {limit // _MOST_GROWTH:,} at "
            "every call"
        )
    readers = tuple(user for user in users if user.op == "call_function")
    owner = readers[0] if readers else node
    what = f"{_role(owner, node)} of {place(owner)} computed once, not at every call"
    return Site((*_behind(node), *readers), (place(owner),), what)


def apply(captured: Captured, site: Site) -> list[Node]:
    """Store the value and let its readers read it."""
    node = next(n for n in site.nodes if _is_constant(n))
    readers = [n for n in site.nodes if not _is_constant(n)]
    with torch.no_grad():
        value = _value(captured, node).detach().clone()
    owner = readers[0] if readers else node
    path, role = module_path(owner), _role(owner, node)
    trained = any(isinstance(weight_of(captured, n), nn.Parameter) for n in _behind(node))
    name = f"{path}.{role}" if path else f"{owner.name}_{role}"
    replace(captured, node, put(captured, name, value, at=node, trained=trained))
    captured.module.graph.eliminate_dead_code()
    return readers


def _is_constant(node: Node) -> bool:
    """Tell whether every call of the network gives this node the same value."""
    for n in _behind(node):
        if n.meta.get(_VARIES) or not (n.op == "get_attr" or _is_made_of_inputs(n)):
            # Known from now on: or each node of a deep network would be followed to its input.
            node.meta[_VARIES] = True
            return False
    return True


def _is_made_of_inputs(node: Node) -> bool:
    """Tell whether a node's value is the same whenever its inputs' values are."""
    if node.op != "call_function" or not node.all_input_nodes or _has_free_size(node):
        return False
    return _is_repeatable(node.target)


def _has_free_size(node: Node) -> bool:
    """Tell whether a size depends on the input's: the quick answer for most of a network."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and any(isinstance(n, torch.SymInt) for n in value.shape)


def _is_repeatable(target: Any) -> bool:
    if not isinstance(target, torch._ops.OpOverload):
        return target is getitem
    return torch.Tag.nondeterministic_seeded not in target.tags and not target._schema.is_mutable


def _behind(node: Node) -> Iterator[Node]:
    """Yield a constant and everything that it is computed from, each once."""
    seen, queue = {node}, [node]
    while queue:
        yield (current := queue.pop())
        for source in current.all_input_nodes:
            if source not in seen:
                seen.add(source)
                queue.append(source)


def _stored_numel(captured: Captured, node: Node) -> int:
    stored = (weight_of(captured, n) for n in _behind(node))
    return sum(tensor.numel() for tensor in stored if tensor is not None)


def _value(captured: Captured, node: Node) -> Any:
    known: dict[Node, Any] = {}
    order = {n: i for i, n in enumerate(captured.module.graph.nodes)}
    for n in sorted(_behind(node), key=order.__getitem__):
        if n.op == "get_attr":
            known[n] = weight_of(captured, n)
        else:
            assert callable(n.target)
            known[n] = n.target(
                *map_arg(n.args, known.__getitem__), **map_arg(n.kwargs, known.__getitem__)
            )
    return known[node]


def _role(owner: Node, node: Node) -> str:
    """What the reader calls it: "weight"; "constant" where it has no name."""
    if owner is node or not isinstance(owner.target, torch._ops.OpOverload):
        return "constant"
    named = arguments(owner).items()
    return next((name for name, value in named if value is node), "constant")


def _example() -> tuple[nn.Module, Tensor]:
    class Doubled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    convolution = nn.Conv2d(1, 2, 3, bias=False)
    with torch.no_grad():
        convolution.weight.copy_(torch.arange(18.0).view(2, 1, 3, 3) - 9)
    nn.utils.parametrize.register_parametrization(convolution, "weight", Doubled(), unsafe=True)
    return convolution, torch.arange(32.0).view(2, 1, 4, 4)


RULE = Rule(
    name="fold_constants",
    promise="What is computed from weights alone becomes a stored weight.",
    match=match,
    apply=apply,
    example=Example(_example, before=["mul", "conv2d"], after=["conv2d"]),
)

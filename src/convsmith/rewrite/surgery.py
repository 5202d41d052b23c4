# SPDX-License-Identifier: Apache-2.0
"""What every rule does to a captured graph: read sizes, put a parameter in, take a node out."""

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from convsmith.analysis import CONVOLUTIONS as CONVOLUTIONS
from convsmith.analysis import TRANSPOSED as TRANSPOSED
from convsmith.analysis import size_hint as size_hint
from convsmith.analysis import sizes as sizes
from convsmith.capture import Captured, arguments, module_path, weight_of


def pads(convolution: Node) -> bool:
    """Tell whether a convolution reads anything beyond its input."""
    named = arguments(convolution)
    if named["padding"] == "valid":
        return False
    if named["padding"] == "same":
        return prod(sizes(named["weight"])[2:]) > 1
    return any(named["padding"])


def stored(captured: Captured, value: Any) -> Tensor | None:
    """Return the tensor behind an argument; None if it is absent or computed."""
    return weight_of(captured, value) if isinstance(value, Node) else None


def same_size(a: int | torch.SymInt, b: int | torch.SymInt) -> bool:
    """Tell whether two sizes are equal for every input that the graph allows; adds no guard."""
    if isinstance(a, torch.SymInt) and isinstance(b, torch.SymInt):
        return bool(a.node.expr == b.node.expr)
    return isinstance(a, int) and isinstance(b, int) and a == b


def same_shape(a: Node, b: Node) -> bool:
    """Tell whether two tensors have one shape for every input that the graph allows."""
    left, right = a.meta.get("val"), b.meta.get("val")
    return (
        isinstance(left, Tensor)
        and isinstance(right, Tensor)
        and left.dim() == right.dim()
        and all(same_size(p, q) for p, q in zip(left.shape, right.shape, strict=True))
    )


def place(node: Node) -> str:
    """Return the user's name for a node: its module path, else the node's own name."""
    return module_path(node) or node.name


def inputs_of(nodes: Iterable[Node]) -> list[Node]:
    """Return the parameters and buffers that the nodes read, each once."""
    return list({i: None for n in nodes for i in n.all_input_nodes if i.op == "get_attr"})


def sibling(weight: Node, name: str) -> str:
    """Return the name of a parameter beside a weight: "conv1.weight" -> "conv1.bias"."""
    owner, _, leaf = str(weight.target).rpartition(".")
    return f"{owner}.{name}" if owner else f"{leaf}_{name}"


def put(
    captured: Captured,
    name: str,
    tensor: Tensor,
    *,
    at: Node,
    instead_of: Any = None,
    trained: bool = True,
) -> Node:
    """Store a parameter, or a buffer that is not trained, and return the node that reads it, placed
    before `at`.

    It takes the name of `instead_of` when `at` is that parameter's only reader, else `name`,
    numbered if taken.
    """
    module = captured.module
    if isinstance(instead_of, Node) and list(instead_of.users) == [at]:
        name = str(instead_of.target)
    else:
        name = _free_name(module, name)
    *path, leaf = name.split(".")
    owner: nn.Module = module
    for part in path:
        if part not in owner._modules:
            owner.add_module(part, nn.Module())
        owner = owner.get_submodule(part)
    if hasattr(owner, leaf):
        delattr(owner, leaf)
    if trained:
        with_gradient = tensor.is_floating_point()
        owner.register_parameter(leaf, nn.Parameter(tensor, requires_grad=with_gradient))
    else:
        owner.register_buffer(leaf, tensor)
    with module.graph.inserting_before(at):
        node = module.graph.get_attr(name)
    node.meta["val"] = tensor.detach()
    return node


def _free_name(module: nn.Module, name: str) -> str:
    taken = {n for n, _ in module.named_parameters(remove_duplicate=False)}
    taken |= {n for n, _ in module.named_buffers(remove_duplicate=False)}
    candidates = [name, *(f"{name}_{k}" for k in range(2, len(taken) + 3))]
    return next(c for c in candidates if c not in taken)


def call(captured: Captured, target: Any, arguments: Mapping[str, Any], *, like: Node) -> Node:
    """Insert a call after `like`, arguments in the schema's order, with its shape and place."""
    with captured.module.graph.inserting_after(like):
        node = captured.module.graph.call_function(target, tuple(arguments.values()))
    node.meta = dict(like.meta)
    return node


def replace(captured: Captured, old: Node, new: Node) -> None:
    """Let every reader of `old` read `new`, and take `old` out."""
    old.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)
    captured.module.graph.erase_node(old)

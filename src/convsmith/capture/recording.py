# SPDX-License-Identifier: Apache-2.0
"""What graph.json says of a network: the other direction is in building.py."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from convsmith.capture import operators
from convsmith.capture.encoding import DTYPES, encode, encode_structure, name_in
from convsmith.capture.network import Network
from convsmith.capture.nodes import arguments, module_path, overload
from convsmith.capture.record import FORMAT, VERSION
from convsmith.capture.sizes import Input
from convsmith.errors import UnsupportedError


def tensors_of(network: Network) -> dict[str, torch.Tensor]:
    """The parameters and buffers that the graph reads, by name."""
    read = {node.target for node in network.graph.nodes if node.op == "get_attr"}
    parameters = network.named_parameters(remove_duplicate=False)
    buffers = network.named_buffers(remove_duplicate=False)
    return {name: tensor for name, tensor in chain(parameters, buffers) if name in read}


def owned(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Every tensor under the first of its names."""
    first = {id(tensors[name]): name for name in reversed(list(tensors))}
    return {name: tensors[name] for name in tensors if first[id(tensors[name])] == name}


def record_of(network: Network, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """What graph.json says of a network."""
    _refuse_unknown_operators(network.graph)
    info: Any = network.pytree_info
    output = network.graph.output_node()
    (results,) = output.args
    return {
        "format": FORMAT,
        "version": VERSION,
        "class_name": network.class_name[:200],
        "argument_names": list(info.orig_args),
        "input_structure": encode_structure(info.in_spec),
        "output_structure": encode_structure(info.out_spec),
        "inputs": [_input(item) for item in network.contract.inputs],
        "guards": list(network.contract.guards),
        "tensors": _tensor_records(tensors),
        "nodes": [_node(node) for node in network.graph.nodes if node is not output],
        "results": [encode(value) for value in pytree.tree_leaves(results)],
        "about": network.about,
    }


def _refuse_unknown_operators(graph: fx.Graph) -> None:
    called = {operators.name_of(node.target) for node in graph.nodes if node.op == "call_function"}
    called |= {
        f"{node.op} {node.target}"
        for node in graph.nodes
        if node.op in ("call_module", "call_method")
    }
    unknown = sorted(called - operators.ALLOWED)
    if unknown:
        raise UnsupportedError(
            f"save: the network calls {', '.join(unknown)}; only operators of a fixed table can "
            f"be saved, so that a file cannot call anything else; rewrite these parts with the "
            "operators of convolutional networks."
        )


def _input(item: Input) -> dict[str, Any]:
    if not item.is_tensor:
        return {"name": item.name, "constant": encode(item.constant)}
    return {
        "name": item.name,
        "sizes": list(item.sizes),
        "free": list(item.free),
        "dtype": _dtype(item.dtype),
    }


def _dtype(dtype: torch.dtype) -> str:
    name = name_in(DTYPES, dtype)
    if name is None:
        raise UnsupportedError(
            f"save: a tensor has dtype {dtype}; those that can be saved are {', '.join(DTYPES)}."
        )
    return name


def _tensor_records(tensors: Mapping[str, torch.Tensor]) -> list[dict[str, Any]]:
    """One record a name; a tensor under two names is stored once."""
    owners = {id(tensor): name for name, tensor in owned(tensors).items()}
    records = []
    for name, tensor in tensors.items():
        owner = owners[id(tensor)]
        records.append(
            {
                "name": name,
                "kind": "parameter" if isinstance(tensor, nn.Parameter) else "buffer",
                "dtype": _dtype(tensor.dtype),
                "shape": list(tensor.shape),
                "memory_format": _memory_format(tensor),
                "requires_grad": tensor.requires_grad,
                "same_as": None if owner == name else owner,
            }
        )
    return records


def _memory_format(tensor: torch.Tensor) -> str:
    if not tensor.is_contiguous():
        for name in ("channels_last", "channels_last_3d"):
            layout = getattr(torch, name)
            if tensor.dim() == (5 if name.endswith("3d") else 4) and tensor.is_contiguous(
                memory_format=layout
            ):
                return name
    return "contiguous_format"


def _node(node: fx.Node) -> dict[str, Any]:
    if node.op == "placeholder":
        return {"name": node.name, "op": "input", "target": str(node.target)}
    if node.op == "get_attr":
        return {"name": node.name, "op": "tensor", "target": str(node.target)}
    named = _arguments_by_name(node)
    return {
        "name": node.name,
        "op": "call",
        "target": operators.name_of(node.target),
        "arguments": {name: encode(value) for name, value in named.items()},
        "module": module_path(node),
    }


def _arguments_by_name(node: fx.Node) -> dict[str, Any]:
    if overload(node) is not None:
        return arguments(node)
    names = [name for name, _, _ in operators.argument_names(node.target)]
    return dict(zip(names, node.args, strict=True))

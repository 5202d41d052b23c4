# SPDX-License-Identifier: Apache-2.0
"""From a record and its tensors to a network: every name and operator is checked first."""

import keyword
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.fx.graph import _PyTreeCodeGen, _PyTreeInfo

from convsmith.capture import operators
from convsmith.capture.canonical import write_out_arguments
from convsmith.capture.encoding import DTYPES, decode, decode_structure
from convsmith.capture.guards import parse_guard
from convsmith.capture.network import RESERVED, Network
from convsmith.capture.quiet import quiet
from convsmith.capture.record import GRAPH_FILE, NodeRecord, Record, TensorRecord, read_record
from convsmith.capture.shapes import compute_shapes
from convsmith.capture.sizes import Contract, Input
from convsmith.errors import ArgumentError, FormatError


def build(record: Record, tensors: Mapping[str, torch.Tensor]) -> Network:
    """The network of a record and the tensors that it names.

    Raises:
        FormatError: if the record does not describe a graph that runs.
    """
    contract = _contract(record)
    graph = _graph(record)
    network = Network(_holder(record, tensors), graph, class_name="Network")
    network.meta |= {
        "class_name": record.class_name,
        "contract": contract,
        "about": dict(record.about),
    }
    _check_runs(network)
    return network.eval()


def put_together(graph_json: str, tensors: Mapping[str, torch.Tensor]) -> Network:
    """The network of a graph.json's text and its tensors: how a pickled network comes back."""
    return build(read_record(graph_json.encode()), tensors)


def _holder(record: Record, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """A plain module tree with every tensor under its name."""
    root = nn.Module()
    made: dict[str, torch.Tensor] = {}
    for item in record.tensors:
        made[item.name] = tensor = _tensor(item, tensors, made)
        *path, leaf = item.name.split(".")
        try:
            if (path or [leaf])[0] in RESERVED:
                raise KeyError("this name belongs to the network itself")
            place = _module_at(root, path)
            if isinstance(tensor, nn.Parameter):
                place.register_parameter(leaf, tensor)
            else:
                place.register_buffer(leaf, tensor)
        except (KeyError, TypeError) as error:
            raise FormatError(
                f"load: a tensor cannot be named {item.name!r}: {error}; the file is damaged."
            ) from None
    return root


def _module_at(root: nn.Module, path: list[str]) -> nn.Module:
    """The module at a path below the root, made where it is missing."""
    place: Any = root
    for part in path:
        if part not in place._modules:
            place.add_module(part, nn.Module())
        place = place._modules[part]
    return place


def _tensor(
    item: TensorRecord, stored: Mapping[str, torch.Tensor], made: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    if item.same_as is not None:
        twin = made.get(item.same_as)
        if twin is None or item.kind != (
            "parameter" if isinstance(twin, nn.Parameter) else "buffer"
        ):
            raise FormatError(
                f"load: {item.name} shares {item.same_as}, which is no earlier {item.kind}."
            )
        return twin
    tensor = stored[item.name]
    if item.memory_format != "contiguous_format":
        if tensor.dim() != (5 if item.memory_format.endswith("3d") else 4):
            raise FormatError(
                f"load: {item.name} of shape {item.shape} cannot be {item.memory_format}."
            )
        tensor = tensor.contiguous(memory_format=getattr(torch, item.memory_format))
    if item.kind == "buffer":
        return tensor
    if item.requires_grad and not (tensor.is_floating_point() or tensor.is_complex()):
        raise FormatError(f"load: {item.name} of dtype {item.dtype} cannot require a gradient.")
    return nn.Parameter(tensor, requires_grad=item.requires_grad)


def _contract(record: Record) -> Contract:
    inputs = []
    for item in record.inputs:
        if item.dtype is None:
            constant = decode(item.constant, {})
            inputs.append(Input(name=item.name, is_tensor=False, constant=constant))
        elif item.dtype in DTYPES and len(item.sizes) == len(item.free) and item.constant is None:
            sizes, free = tuple(item.sizes), tuple(item.free)
            inputs.append(Input(name=item.name, sizes=sizes, free=free, dtype=DTYPES[item.dtype]))
        else:
            raise FormatError(
                f"load: the description of input {item.name} is damaged; save the model again."
            )
    try:
        for guard in record.guards:
            parse_guard(guard, {item.name: len(item.sizes) for item in inputs})
    except (ArgumentError, OverflowError) as error:
        raise FormatError(f"load: {GRAPH_FILE} holds a damaged {error}") from None
    return Contract(tuple(inputs), tuple(record.guards))


def _graph(record: Record) -> fx.Graph:
    graph = fx.Graph()
    graph.set_codegen(_PyTreeCodeGen(_pytree_info(record)))
    tensors = {item.name for item in record.tensors}
    nodes: dict[str, fx.Node] = {}
    for item in record.nodes:
        if item.name in nodes:
            raise FormatError(f"load: two nodes are named {item.name}; the file is damaged.")
        nodes[item.name] = node = _node(graph, item, nodes, tensors)
        if node.name != item.name:
            raise FormatError(f"load: {item.name} cannot name a node; the file is damaged.")
        if item.module:
            node.meta["nn_module_stack"] = {item.module: (item.module, "")}
    unread = tensors - {str(node.target) for node in nodes.values() if node.op == "get_attr"}
    if unread:
        raise FormatError(
            f"load: no node reads the tensors {sorted(unread)[:5]}; the file is damaged."
        )
    made = [node.name for node in nodes.values() if node.op == "placeholder"]
    if made != [item.name for item in record.inputs]:
        raise FormatError(
            f"load: the graph's inputs are {made[:8]}, described are "
            f"{[i.name for i in record.inputs][:8]}."
        )
    graph.output(tuple(decode(value, nodes) for value in record.results))
    return graph


def _pytree_info(record: Record) -> _PyTreeInfo:
    in_spec, out_spec = (
        decode_structure(record.input_structure),
        decode_structure(record.output_structure),
    )
    names = record.argument_names
    nest: Any = in_spec.children() if in_spec.type is tuple and in_spec.num_children == 2 else None
    if nest is None or nest[0].type is not tuple or nest[1].type is not dict:
        raise FormatError(
            "load: the inputs are not a tuple of positional and a dict of named ones; "
            "the file is damaged."
        )
    positional, named = nest
    if len(set(names)) != len(names) or names[positional.num_children :] != list(named.context):
        raise FormatError(
            f"load: the inputs are named {names[:8]}, which does not fit their structure."
        )
    if positional.num_children + named.num_children != len(names):
        raise FormatError(
            f"load: {len(names)} inputs are named {names[:8]}, their structure has another number."
        )
    if in_spec.num_leaves != len(record.inputs) or out_spec.num_leaves != len(record.results):
        raise FormatError(
            f"load: {len(record.inputs)} inputs and {len(record.results)} results do not fit "
            f"structures of {in_spec.num_leaves} and {out_spec.num_leaves} leaves."
        )
    return _PyTreeInfo(list(names), in_spec, out_spec)


def _node(
    graph: fx.Graph, item: NodeRecord, nodes: Mapping[str, fx.Node], tensors: set[str]
) -> fx.Node:
    if item.op == "call":
        return _call(graph, item, nodes)
    if item.arguments:
        raise FormatError(f"load: node {item.name} is an {item.op} and takes no arguments.")
    if item.op == "input":
        if not item.target.isidentifier() or keyword.iskeyword(item.target):
            raise FormatError(
                f"load: input {item.name} is called {item.target[:80]!r}, which is not a name."
            )
        return graph.create_node("placeholder", item.target, name=item.name)
    if item.target not in tensors:
        raise FormatError(
            f"load: node {item.name} reads the tensor {item.target[:80]!r}, which {GRAPH_FILE} "
            "does not list."
        )
    return graph.create_node("get_attr", item.target, name=item.name)


def _call(graph: fx.Graph, item: NodeRecord, nodes: Mapping[str, fx.Node]) -> fx.Node:
    target = operators.operator_of(item.target)
    if target is None:
        raise FormatError(
            f"load: node {item.name} calls {item.target[:80]!r}, which is not an operator that a "
            f"saved network may call; the file is hostile, or written by a newer convsmith or "
            "torch."
        )
    schema = operators.argument_names(target)
    required = {name for name, _, is_required in schema if is_required}
    if not required <= item.arguments.keys() <= {name for name, _, _ in schema}:
        raise FormatError(
            f"load: node {item.name} gives {item.target} the arguments "
            f"{sorted(item.arguments)[:10]}; it takes {[name for name, _, _ in schema]}."
        )
    values = {name: decode(value, nodes) for name, value in item.arguments.items()}
    if isinstance(target, torch._ops.OpOverload):
        node = graph.create_node("call_function", target, (), values, name=item.name)
        write_out_arguments(node)
        return node
    return graph.create_node(
        "call_function", target, tuple(values[name] for name, _, _ in schema), {}, name=item.name
    )


def _check_runs(network: Network) -> None:
    """Compute the shapes at the recorded sizes: wrong arguments show without data or memory."""
    contract = network.contract
    try:
        with quiet():
            shapes = compute_shapes(network, contract.inputs)
    except Exception as error:  # an operator given wrong arguments may raise anything
        reason = str(error).strip().split("\n")[0][:200]
        raise FormatError(
            f"load: the graph does not run on its recorded inputs ({contract.describe()[:500]}): "
            f"{type(error).__name__}: {reason}; the file is damaged."
        ) from None
    for node, value in shapes.items():
        node.meta["val"] = value

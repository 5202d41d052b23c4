# SPDX-License-Identifier: Apache-2.0
"""From torch.export's graph to the canonical one: functional, without assertions, every argument
written out.

add_(y, x)  ->  add(y, x), and every later use of y reads the sum
relu_(h)    ->  relu(h)
"""

from typing import Any

import torch
from torch import fx

from convsmith.capture.nodes import arguments, module_path, overload, source_line
from convsmith.errors import CaptureError

aten = torch.ops.aten

# Nodes that only check; the contract and torch's own kernels check at call time.
_CHECKS = {
    "aten::_assert_async",
    "aten::_assert_scalar",
    "aten::_assert_tensor_metadata",
    "aten::_functional_assert_async",
    "aten::sym_constrain_range",
    "aten::sym_constrain_range_for_size",
}
# Nodes that hand their first argument through once nothing is changed in place.
_IDENTITIES = {
    "aten::detach",
    "aten::alias",
    "aten::lift_fresh",
    "aten::lift_fresh_copy",
    "aten::detach_",
}
# Operators that may return their input itself although their schema does not say so (dropout at
# inference).
_MAY_RETURN_INPUT = {
    "aten::dropout",
    "aten::feature_dropout",
    "aten::alpha_dropout",
    "aten::feature_alpha_dropout",
    "aten::type_as",
    "aten::einsum",
    "aten::broadcast_tensors",
}


def canonicalise(graph: fx.Graph, owner: str) -> None:
    """Bring a graph from torch.export into canonical form, in place.

    Raises:
        CaptureError: if something is changed in place that the caller or another value still sees.
    """
    _refuse_regions(graph, owner)
    _drop_checks(graph)
    _functionalise(graph, owner)
    _drop_identities(graph)
    graph.eliminate_dead_code()
    for node in graph.nodes:
        if overload(node) is not None:
            write_out_arguments(node)


def operator_name(node: fx.Node) -> str:
    """The operator's qualified name without overload ("aten::relu_"), "" for other nodes."""
    called = overload(node)
    return called._schema.name if called is not None else ""


def _refuse_regions(graph: fx.Graph, owner: str) -> None:
    """A graph within the graph (autocast, cond) would hide its operators from every rule."""
    for node in graph.nodes:
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            line = source_line(node)
            raise CaptureError(
                f"capture: {owner}: {node.target.name()} in module {module_path(node)!r} ({line}) "
                f"runs a part of the model as a graph of its own; a captured graph is flat; "
                f"set the dtype of the model instead of autocast, and leave out control flow."
            )


def _drop_checks(graph: fx.Graph) -> None:
    for node in reversed(list(graph.nodes)):
        is_counter = operator_name(node) == "aten::add_" and _reads_counter(node.args[0])
        if not node.users and (is_counter or operator_name(node) in _CHECKS):
            graph.erase_node(node)


def _reads_counter(node: Any) -> bool:
    """Batch-norm in training mode counts its batches; inference does not need the count."""
    return (
        isinstance(node, fx.Node)
        and node.op == "get_attr"
        and str(node.target).endswith("num_batches_tracked")
    )


def _drop_identities(graph: fx.Graph) -> None:
    for node in list(graph.nodes):
        if operator_name(node) in _IDENTITIES:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


def write_out_arguments(node: fx.Node) -> None:
    """Give a call of a torch operator all its arguments, in the schema's order."""
    target: Any = node.target
    named = arguments(node)
    keywords = {item.name for item in target._schema.arguments if item.kwarg_only}
    node.args = tuple(value for name, value in named.items() if name not in keywords)
    node.kwargs = {name: named[name] for name in named if name in keywords}


def _functionalise(graph: fx.Graph, owner: str) -> None:
    """Replace every in-place operator by its functional twin and send later readers of the changed
    value to it.
    """
    order = {node: index for index, node in enumerate(graph.nodes)}
    roots: dict[fx.Node, set[fx.Node]] = {}
    for node in list(graph.nodes):
        _refuse_training_batch_norm(node, owner)
        changed = _changed_argument(node, owner)
        if changed is None:
            roots[node] = _storage_roots(node, roots)
            continue
        if operator_name(node) not in _IDENTITIES:
            _refuse_visible_change(node, changed, roots, order, owner)
        with graph.inserting_before(node):
            twin = graph.call_function(_functional_twin(node, owner), node.args, node.kwargs)
        twin.meta = dict(node.meta)
        order[twin], roots[twin] = order[node], {twin}
        node.replace_all_uses_with(twin)
        for user in [user for user in changed.users if order[user] > order[node]]:
            user.replace_input_with(changed, twin)
        graph.erase_node(node)


def _storage_roots(node: fx.Node, roots: dict[fx.Node, set[fx.Node]]) -> set[fx.Node]:
    """The nodes whose memory this one may share: itself, or those of the inputs it is a view of."""
    if not _may_be_view(node):
        return {node}
    memory = [given for given in node.all_input_nodes if not _is_number(given)]
    return set().union(*(roots[given] for given in memory))


def _is_number(node: fx.Node) -> bool:
    """Whether a node is a size, which shares no memory with anything."""
    return isinstance(node.meta.get("val"), int | float | torch.SymInt | torch.SymFloat)


def _may_be_view(node: fx.Node) -> bool:
    called = overload(node)
    if called is None:
        return node.op == "call_function"
    is_view = any(result.alias_info is not None for result in called._schema.returns)
    return bool(node.all_input_nodes) and (is_view or called._schema.name in _MAY_RETURN_INPUT)


def _changed_argument(node: fx.Node, owner: str) -> fx.Node | None:
    """The value that an operator changes in place, None if it changes nothing."""
    called = overload(node)
    if called is None or not called._schema.is_mutable:
        return None
    written = [
        item.name
        for item in called._schema.arguments
        if item.alias_info is not None and item.alias_info.is_write
    ]
    value = arguments(node)[written[0]]
    if len(written) != 1 or not isinstance(value, fx.Node):
        reason = f"writes to {', '.join(written)}"
        raise _cannot(node, owner, reason, "write the result to a new tensor")
    return value


def _functional_twin(node: fx.Node, owner: str) -> torch._ops.OpOverload:
    """relu for relu_: the operator of the same name and arguments that returns a new tensor."""
    called: Any = overload(node)
    name = operator_name(node).removeprefix("aten::").removesuffix("_")
    twin = getattr(getattr(aten, name, None), called._overloadname, None)
    names = [item.name for item in called._schema.arguments]
    if (
        twin is None
        or twin._schema.is_mutable
        or [item.name for item in twin._schema.arguments] != names
    ):
        reason = "has no form that leaves its input alone"
        raise _cannot(node, owner, reason, "write the result to a new tensor")
    return twin


def _refuse_visible_change(
    node: fx.Node,
    changed: fx.Node,
    roots: dict[fx.Node, set[fx.Node]],
    order: dict[fx.Node, int],
    owner: str,
) -> None:
    for root in roots[changed]:
        if root.op in ("placeholder", "get_attr"):
            kind = "the model's input" if root.op == "placeholder" else "the parameter or buffer"
            raise _cannot(
                node,
                owner,
                f"changes {kind} {root.target} in place",
                "change a copy (x = x.clone())",
            )
    for other, its_roots in roots.items():
        is_read_later = any(order[user] > order[node] for user in other.users)
        if other is not changed and its_roots & roots[changed] and is_read_later:
            reason = f"changes memory in place that {other.name} ({source_line(other)}) still reads"
            raise _cannot(
                node, owner, reason, "use the form that is not in place there (inplace=False)"
            )


def _refuse_training_batch_norm(node: fx.Node, owner: str) -> None:
    if operator_name(node) == "aten::batch_norm":
        named = arguments(node)
        if named["training"] and named["running_mean"] is not None:
            reason = "stays in training mode inside eval(), where it changes its running statistics"
            raise _cannot(node, owner, reason, "do not call .train() on it within forward")


def _cannot(node: fx.Node, owner: str, reason: str, remedy: str) -> CaptureError:
    return CaptureError(
        f"capture: {owner}: {operator_name(node)} in module {module_path(node)!r} "
        f"({source_line(node)}) {reason}; a captured graph is free of side effects; {remedy}."
    )

# SPDX-License-Identifier: Apache-2.0
"""The short way through a planned network: its chains of convolutions without torch's dispatcher.

The graph's own code is made a second time with each run of `convsmith::convolutions`, and of what
lies between them (passes.py), replaced by one call into the core. Weights are looked up in the live
network at every call, so that assigning, loading or moving them is seen; nothing is looked up by
`getattr`, which costs more than a small layer.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from sys import intern
from typing import Any
from weakref import ref

from torch import Tensor, fx
from torch.fx.graph import _PyTreeCodeGen
from torch.utils import _pytree as pytree

from convsmith import native
from convsmith.capture.nodes import overload
from convsmith.capture.passes import can_join, is_swallowed, pass_of, without_views_behind
from convsmith.native.chains import (
    ChainStep,
    Program,
    Step,
    chain_kernels,
    chain_of,
    each_bias,
    is_chain,
)
from convsmith.native.core import layouts, look_up, states_at


def short_way(network: fx.GraphModule) -> Callable[..., Any]:
    """The network's `forward` with direct calls; only right where `native.call_directly` holds.

    Returns:
        A function of the network and its inputs as a flat list of leaves.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    output = graph.graph_copy(network.graph, copies)
    graph.output(output)
    for run in list(_runs(graph)):
        _replace(network, graph, run)
    graph.eliminate_dead_code()
    code = graph.python_code("self")
    names: dict[str, Any] = dict(code.globals)
    exec(compile(code.src, "<the short way of a planned network>", "exec"), names)
    codegen = network.graph._codegen
    assert isinstance(codegen, _PyTreeCodeGen)  # every network's
    spec = codegen.pytree_info.out_spec
    assert spec is not None
    return partial(_first if spec.is_leaf() else partial(_nested, spec), names["forward"])


def _first(forward: Callable[..., Any], network: fx.GraphModule, *leaves: Any) -> Any:
    return forward(network, *leaves)[0]


def _nested(
    spec: pytree.TreeSpec, forward: Callable[..., Any], network: fx.GraphModule, *leaves: Any
) -> Any:
    """What the graph gives, nested as the model gave it."""
    return pytree.tree_unflatten(forward(network, *leaves), spec)


def _runs(graph: fx.Graph) -> Iterator[list[fx.Node]]:
    """Chains that follow each other, and what a program can take along between them."""
    tensors = dict.fromkeys(filter(_is_tensor, graph.nodes), 0)
    run: list[fx.Node] = []
    for node in graph.nodes:
        if _is_chain(node) or can_join(node, run, tensors):
            run.append(node)
        elif node.op not in ("get_attr", "placeholder"):
            run = without_views_behind(run)
            if any(map(_is_chain, run)):
                yield run
            run = []


def _is_chain(node: fx.Node) -> bool:
    return is_chain(node) and native.available() and node.args[-1] in chain_kernels()


def _is_tensor(node: fx.Node) -> bool:
    if node.op == "placeholder":
        return True
    called = overload(node)
    return called is not None and [str(r.type) for r in called._schema.returns] == ["Tensor"]


def _replace(network: fx.GraphModule, graph: fx.Graph, run: list[fx.Node]) -> None:
    inside = set(run)
    outputs = [node for node in run if not inside.issuperset(node.users)]
    inputs = list(dict.fromkeys(v for node in run for v in _values(node) if v not in inside))
    direct = _direct(network, run, inputs, outputs)
    with graph.inserting_after(run[-1]):
        results = graph.call_function(direct, tuple(inputs))
    with graph.inserting_after(results):
        for i, node in enumerate(outputs):
            result = graph.call_function(operator.getitem, (results, i))
            node.replace_all_uses_with(result, lambda user: user not in inside)
    for node in reversed(run):
        graph.erase_node(node)


def _values(node: fx.Node) -> list[fx.Node]:
    """What a node of a run reads, but for weights."""
    if not is_chain(node):
        return node.all_input_nodes
    x, residual = node.args[0], node.args[3]
    return [value for value in (x, residual) if isinstance(value, fx.Node)]


def _direct(
    network: fx.GraphModule,
    run: list[fx.Node],
    inputs: list[fx.Node],
    outputs: list[fx.Node],
) -> Callable[..., Sequence[Tensor]]:
    """The run as a function of what it reads from outside."""
    steps, numbers = _steps(network, run, inputs)
    chains: list[Any] = [node.args for node in run if is_chain(node)]
    pairs = [p for call in chains for p in zip(call[1], each_bias(call[2], call[4]), strict=True)]
    paths = tuple(_path(tensor) for of_kind in zip(*pairs, strict=True) for tensor in of_kind)
    program = Program(steps, len(inputs), [numbers[node] for node in outputs])
    by_operators = _by_operators(run, inputs, outputs)
    alive = ref(network)  # which would otherwise be kept by its own short way

    def convolutions(*values: Tensor) -> Sequence[Tensor]:
        owner = network_called()
        if program.direct is not None:
            results = program.direct(owner, values)
            if results is not None:
                return results
        sizes = layouts(values)
        if program.serves_sizes(values, sizes):
            state = states_at(owner, paths, program.headers)
            return program.run(values, sizes, state, weights_and_biases, paths)
        return by_operators(owner, values)

    def network_called() -> fx.GraphModule:
        owner = alive()
        assert owner is not None  # it is being called
        return owner

    def weights_and_biases() -> tuple[list[Any], list[Any]]:
        found = look_up(network_called(), paths)
        return found[: len(pairs)], found[len(pairs) :]

    return convolutions


def _steps(
    network: fx.GraphModule, run: Sequence[fx.Node], inputs: Sequence[fx.Node]
) -> tuple[list[Step], dict[fx.Node, int]]:
    """What a program does for a run, and the numbers of its values."""
    numbers = {value: number for number, value in enumerate(inputs)}
    steps: list[Step] = []
    for node in run:
        if is_chain(node):
            step: Step | None = _chain_step(network, node.args, numbers)
        elif is_swallowed(node, run, numbers):
            continue
        else:
            step = pass_of(node, numbers)
        assert step is not None  # a run has no others
        numbers[node] = len(inputs) + len(steps)
        steps.append(step)
    return steps, numbers


def _chain_step(
    network: fx.GraphModule, call: Sequence[Any], numbers: dict[fx.Node, int]
) -> ChainStep:
    x, weights, _, residual, _, *options, name = call
    found = look_up(network, tuple(map(_path, weights)))
    shapes = tuple(tuple(weight.shape) for weight in found)
    chain = chain_of(shapes, *map(tuple, options), residual is not None)
    added = None if residual is None else numbers[residual]
    return ChainStep(chain_kernels()[name], chain, numbers[x], added)


def _by_operators(
    run: Sequence[fx.Node], inputs: Sequence[fx.Node], outputs: Sequence[fx.Node]
) -> Callable[[fx.GraphModule, Sequence[Tensor]], list[Tensor]]:
    """The run as the graph has it, for sizes that the program does not serve."""
    calls = [(node, node.target, node.args, node.kwargs) for node in run]

    def by_operators(owner: fx.GraphModule, values: Sequence[Tensor]) -> list[Tensor]:
        known: dict[fx.Node, Any] = dict(zip(inputs, values, strict=True))

        def value(node: fx.Node) -> Any:
            return known[node] if node in known else look_up(owner, (_path(node),))[0]

        for node, target, args, kwargs in calls:
            assert callable(target)
            known[node] = target(*fx.node.map_arg(args, value), **fx.node.map_arg(kwargs, value))
        return [known[node] for node in outputs]

    return by_operators


def _path(node: fx.Node | None) -> tuple[str, ...]:
    """Where a tensor lies in the network; () for none."""
    return () if node is None else tuple(map(intern, str(node.target).split(".")))

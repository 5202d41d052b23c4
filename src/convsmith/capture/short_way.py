# SPDX-License-Identifier: Apache-2.0
"""The short way through a planned network: its chains of convolutions without torch's dispatcher.

The graph's own code is made a second time with each run of `convsmith::convolutions` replaced by
one call into the core. Weights are looked up in the live network at every call, so that assigning,
loading or moving them is seen; nothing is looked up by `getattr`, which costs more than a small
layer.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from sys import intern
from typing import Any
from weakref import ref

import torch
from torch import Tensor, fx
from torch.fx.graph import _PyTreeCodeGen
from torch.utils import _pytree as pytree

from convsmith import native
from convsmith.native.chains import Program, Step, chain_kernels, chain_of, each_bias, is_chain
from convsmith.native.core import look_up


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
    return partial(_structured, names["forward"], spec)


def _structured(
    forward: Callable[..., Any], spec: pytree.TreeSpec, network: fx.GraphModule, *leaves: Any
) -> Any:
    """What the graph gives, nested as the model gave it."""
    results = forward(network, *leaves)
    if spec.is_leaf():
        return results[0]
    return pytree.tree_unflatten(results, spec)


def _runs(graph: fx.Graph) -> Iterator[list[fx.Node]]:
    """Chains that follow each other with nothing between that computes."""
    run: list[fx.Node] = []
    for node in graph.nodes:
        if is_chain(node) and native.available() and node.args[-1] in chain_kernels():
            run.append(node)
        elif run and node.op not in ("get_attr", "placeholder"):
            yield run
            run = []


def _replace(network: fx.GraphModule, graph: fx.Graph, run: list[fx.Node]) -> None:
    reads: list[Any] = [value for node in run for value in (node.args[0], node.args[3])]
    inputs = list(dict.fromkeys(v for v in reads if v is not None and v not in run))
    inside = set(run)
    outputs = [node for node in run if not inside.issuperset(node.users)]
    direct = _direct(network, run, inputs, outputs)
    with graph.inserting_after(run[-1]):
        results = graph.call_function(direct, tuple(inputs))
    with graph.inserting_after(results):
        for i, node in enumerate(outputs):
            result = graph.call_function(operator.getitem, (results, i))
            node.replace_all_uses_with(result, lambda user: user not in inside)
    for node in reversed(run):
        graph.erase_node(node)


def _direct(
    network: fx.GraphModule,
    run: list[fx.Node],
    inputs: list[fx.Node],
    outputs: list[fx.Node],
) -> Callable[..., Sequence[Tensor]]:
    """The run as a function of what it reads from outside."""
    numbers = {value: number for number, value in enumerate((*inputs, *run))}
    calls: list[Any] = [node.args for node in run]
    weight_paths = tuple(_path(weight) for call in calls for weight in call[1])
    bias_paths = tuple(_path(bias) for call in calls for bias in each_bias(call[2], call[4]))
    steps = [_step(network, call, numbers) for call in calls]
    wanted = [numbers[node] for node in outputs]
    program = Program(steps, len(inputs), wanted)
    alive = ref(network)  # which would otherwise be kept by its own short way

    def convolutions(*values: Tensor) -> Sequence[Tensor]:
        owner = alive()
        assert owner is not None  # it is being called
        weights, biases = look_up(owner, weight_paths), look_up(owner, bias_paths)
        if program.serves(values):
            return program(values, weights, biases)
        return by_operators(values, weights, biases)

    def by_operators(
        values: Sequence[Tensor], weights: list[Tensor], biases: list[Tensor | None]
    ) -> list[Tensor]:
        known, at = list(values), 0
        for step, (_, _, _, _, has_bias, *arguments) in zip(steps, calls, strict=True):
            end = at + len(has_bias)
            known.append(
                torch.ops.convsmith.convolutions(
                    known[step.x],
                    weights[at:end],
                    [bias for bias in biases[at:end] if bias is not None],
                    None if step.residual is None else known[step.residual],
                    has_bias,
                    *arguments,
                )
            )
            at = end
        return [known[number] for number in wanted]

    return convolutions


def _step(network: fx.GraphModule, call: Sequence[Any], numbers: dict[fx.Node, int]) -> Step:
    x, weights, _, residual, _, *options, name = call
    found = look_up(network, tuple(map(_path, weights)))
    shapes = tuple(tuple(weight.shape) for weight in found)
    chain = chain_of(shapes, *map(tuple, options), residual is not None)
    return Step(
        chain_kernels()[name], chain, numbers[x], None if residual is None else numbers[residual]
    )


def _path(node: fx.Node | None) -> tuple[str, ...]:
    """Where a tensor lies in the network; () for none."""
    return () if node is None else tuple(map(intern, str(node.target).split(".")))

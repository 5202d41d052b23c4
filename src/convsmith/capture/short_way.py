# SPDX-License-Identifier: Apache-2.0
"""The short way through a planned network: its chains of convolutions without torch's dispatcher.

The graph's own code is made a second time with each `convsmith::convolutions` replaced by a direct
call. Weights are looked up in the live network at every call, so that assigning, loading or moving
them is seen; nothing is looked up by `getattr`, which costs more than a small layer.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from convsmith import native
from convsmith.native.chains import (
    ChainCall,
    by_torch,
    chain_kernels,
    chain_of,
    each_bias,
    is_chain,
)


def short_way(network: fx.GraphModule) -> Callable[..., Any]:
    """The network's `forward` with direct calls; only right where `native.call_directly` holds."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    output = graph.graph_copy(network.graph, copies)
    graph.output(output)
    graph.set_codegen(network.graph._codegen)
    for node in graph.nodes:
        if is_chain(node):
            _replace(network, graph, node)
    graph.eliminate_dead_code()
    code = graph.python_code("self")
    names: dict[str, Any] = dict(code.globals)
    exec(compile(code.src, "<the short way of a planned network>", "exec"), names)
    forward: Callable[..., Any] = names["forward"]
    return forward


def _replace(network: fx.GraphModule, graph: fx.Graph, node: fx.Node) -> None:
    arguments: Any = node.args
    x, weights, biases, residual, has_bias, *options, kernel = arguments
    find_weights = [_finder(network, weight) for weight in weights]
    find_biases = [_finder(network, bias) for bias in each_bias(biases, has_bias)]
    direct = _direct(find_weights, find_biases, options, kernel, has_residual=residual is not None)
    with graph.inserting_before(node):
        new = graph.call_function(direct, (x,) if residual is None else (x, residual))
    node.replace_all_uses_with(new)
    graph.erase_node(node)


def _direct(
    find_weights: list[Callable[[], Any]],
    find_biases: list[Callable[[], Any]],
    options: list[Any],
    name: str,
    *,
    has_residual: bool,
) -> Callable[..., Tensor]:
    """The operator as a function of x and residual alone."""
    shapes = tuple(tuple(find().shape) for find in find_weights)
    chain = chain_of(shapes, *map(tuple, options), has_residual)
    kernel = chain_kernels().get(name)
    call = ChainCall(kernel, chain) if kernel is not None and native.available() else None
    served: set[tuple[int, ...]] = set()

    def serves(x: Tensor) -> bool:
        if x.shape not in served and kernel is not None and kernel.serves(chain, tuple(x.shape)):
            served.add(x.shape)
        return x.shape in served and x.dtype is torch.float32

    def convolutions(x: Tensor, residual: Tensor | None = None) -> Tensor:
        weights = [find() for find in find_weights]
        biases = [find() for find in find_biases]
        if call is None or not serves(x):
            return by_torch(x, weights, biases, residual, *options)
        return call(x, weights, biases, residual)

    return convolutions


def _finder(network: fx.GraphModule, node: fx.Node | None) -> Callable[[], Any]:
    """A function that looks a tensor up in the network as it is when called."""
    *path, leaf = str(node.target).split(".") if node is not None else ("",)

    def find() -> Any:
        owner: Any = network
        for part in path:
            owner = owner._modules[part]
        tensor = owner._parameters.get(leaf)
        return owner._buffers[leaf] if tensor is None else tensor

    return find if node is not None else lambda: None

# SPDX-License-Identifier: Apache-2.0
"""A network in stages: each gives a map whose moments the next layer on the whole map needs.

    image --stage 0--> map --moments--> layer 0 on constants
    image --stage 1, layer 0 on constants--> map --moments--> layer 1 on constants
    ...
    image --the network, every such layer on constants--> result

Each stage slides, so each pass reads the image tile by tile; there is one pass for each layer on
the whole map, and one for the result.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch.fx import Node

from convsmith.capture import Network, module_path
from convsmith.scanning.statistics.layers import Layer, layer_at
from convsmith.scanning.statistics.moments import Moments


@dataclass(frozen=True)
class Stage:
    """The part of a network before a layer that looks at the whole map.

    Attributes:
        name: Of the layer whose statistics it yields, as `settled` takes them.
        where: The same in the user's words.
        network: From the image to the map that the layer looks at; earlier layers of this kind are
            still in it, for `settled`.
    """

    name: str
    where: str
    network: Network


def stages(network: Network) -> list[Stage]:
    """Cut a captured network before every layer that needs the moments of its whole map, in the
    order they run; none if there is no such layer.

    >>> from convsmith.capture import capture
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.GroupNorm(2, 4))
    >>> [stage.where for stage in stages(capture(model, torch.zeros(1, 1, 8, 8)).module)]
    ['1']
    """
    return [
        Stage(layer.node.name, module_path(layer.node) or layer.node.name, _cut(network, layer))
        for layer in _layers(network)
    ]


def settled(network: Network, found: Mapping[str, Moments]) -> Network:
    """A copy of a network whose named layers no longer look at the map: they stand on constants,
    the statistics of one image.
    """
    copied = copy.deepcopy(network)
    graph = copied.graph
    dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), None)
    for layer in _layers(copied):
        moments = found.get(layer.node.name)
        if moments is None:
            continue
        read: dict[str, Node] = {}
        with graph.inserting_before(layer.node):
            for name, constant in layer.constants(moments).items():
                key = f"statistics_{layer.node.name}_{name}"
                copied.register_buffer(key, constant.to(dtype))
                read[name] = graph.get_attr(key)
                read[name].meta["val"] = constant.to(dtype)
            new = layer.write(graph, read)
        new.meta = dict(layer.node.meta)
        layer.node.replace_all_uses_with(new)
        graph.erase_node(layer.node)
    return _tidied(copied)


def measured(network: Network, moments_of: Callable[[Network], Moments]) -> Network:
    """The network on the statistics of one image.

    `moments_of` runs a network that slides over that image and gives the moments of its map.
    """
    found: dict[str, Moments] = {}
    for stage in stages(network):
        found[stage.name] = moments_of(settled(stage.network, found))
    return settled(network, found)


def _layers(network: Network) -> list[Layer]:
    layers = (layer_at(node) for node in network.graph.nodes if node.op == "call_function")
    return [layer for layer in layers if layer is not None]


def _cut(network: Network, layer: Layer) -> Network:
    copied = copy.deepcopy(network)
    (output,) = (n for n in copied.graph.nodes if n.op == "output")
    source = next(n for n in copied.graph.nodes if n.name == layer.source.name)
    (result,) = output.all_input_nodes
    output.replace_input_with(result, source)
    return _tidied(copied)


def _tidied(network: Network) -> Network:
    network.graph.eliminate_dead_code()
    network.graph.lint()
    network.delete_all_unused_submodules()
    network.recompile()
    return network

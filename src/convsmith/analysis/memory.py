# SPDX-License-Identifier: Apache-2.0
"""How many bytes a graph holds at once."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, fx


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors of a node's value: itself, or those of a list."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)


def peak_bytes(graph: fx.Graph) -> int:
    """The most bytes of activations alive at once, the inputs in them and the weights not.

    A tensor lives from the node that makes it to the last that reads its memory through any view;
    a result lives to the end. What a kernel takes for itself while it runs is not known here.
    """
    last: dict[int, int] = {}
    size: dict[int, int] = {}
    first: dict[int, int] = {}
    nodes = list(graph.nodes)
    weights = {s for n in nodes if n.op == "get_attr" for s in _storages(n)}
    for place, node in enumerate(nodes):
        for storage, num_bytes in _storages(node).items():
            first.setdefault(storage, place)
            size[storage] = num_bytes
            last[storage] = place
        for source in node.all_input_nodes:
            for storage in _storages(source):
                last[storage] = place
    changes = [0] * (len(nodes) + 1)
    for storage, num_bytes in size.items():
        if storage not in weights:
            changes[first[storage]] += num_bytes
            changes[last[storage] + 1] -= num_bytes
    alive, peak = 0, 0
    for change in changes:
        alive += change
        peak = max(peak, alive)
    return peak


def _storages(node: fx.Node) -> dict[int, int]:
    """The memory behind a node's value: its number and bytes."""
    found = {}
    for tensor in tensors_in(node.meta.get("val")):
        storage = tensor.untyped_storage()
        found[storage._cdata] = int(storage.nbytes())
    return found

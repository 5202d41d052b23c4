# SPDX-License-Identifier: Apache-2.0
"""Turn the linear layers behind a flatten into convolutions that slide over larger images.

Flattening a C x n x m map and multiplying by W (O, C n m) is an n x m convolution without padding
whose kernel is W itself:

    y[o] = sum_{c,i,j} W[o, (c n + i) m + j] x[c, i, j]        weight (O, C, n, m)

Every later linear layer is a 1x1 convolution. The graph is walked once in order; a `Vector` notes,
for each value that is a vector per image, the map that stands for it and the order in which it was
flattened. What has no counterpart on maps (distances to stored vectors, say) runs as it is, on a
row for each place:

    (N, C, *space) -> (N places, C) -> the head -> (N places, K) -> (N, K, *space)

Source: Long, Shelhamer and Darrell 2015, arXiv:1411.4038, section 3.1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.fx import Node, map_arg

from convsmith.capture import Captured, arguments
from convsmith.errors import RewriteError
from convsmith.rewrite.rules.sliding_pool import is_gate, is_pool, slide, takes_maximum
from convsmith.rewrite.surgery import place, put, sibling, sizes, stored

aten = torch.ops.aten

_CONVOLUTION = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}
# What works on each number alone, or does nothing at inference.
_POINTWISE = {
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus"),
    *("sigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid"),
    *("add", "sub", "mul", "div", "neg", "abs", "exp", "log", "sqrt"),
    *("clamp", "clamp_min", "clamp_max", "to", "_to_copy", "clone", "contiguous"),
    *("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"),
}
_RESHAPES = {"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze"}


@dataclass(frozen=True)
class Vector:
    """A vector per image, kept as a map: feature f is number f of (C, *space), axes as listed."""

    image: Node
    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def is_single(self) -> bool:
        """Whether the native map is one pixel, so that features are channels."""
        return prod(self.shape[1:]) == 1


def convert(captured: Captured) -> None:
    """Convert every head of a network in place.

    Raises:
        RewriteError: if a layer behind the flatten has no counterpart on maps; it is named.
    """
    walk = _Walk(captured)
    nodes = list(captured.module.graph.nodes)
    for node in nodes:
        walk.visit(node)
    # torch keeps unused dropout, as something random: what was replaced goes here
    for node in reversed(nodes):
        if node.op == "call_function" and not node.users:
            captured.module.graph.erase_node(node)


class _Walk:
    """One pass over the graph: which values are vectors, which maps have their channels last."""

    def __init__(self, captured: Captured) -> None:
        self.captured = captured
        self.vectors: dict[Node, Vector] = {}
        self.rows: dict[Node, Node] = {}  # what has a row for each place of a map, and that map
        self.channels_last: set[Node] = set()
        inputs = [n for n in captured.module.graph.nodes if n.op == "placeholder"]
        self.rank = max((len(sizes(node)) for node in inputs), default=0)

    def visit(self, node: Node) -> None:
        if node.op == "output":
            self._finish(node)
        elif node.op != "call_function":
            return
        elif any(source in self.rows for source in node.all_input_nodes):
            self._on_rows(node)
        elif any(source in self.vectors for source in node.all_input_nodes):
            self._on_vector(node)
        elif is_pool(node) and not is_gate(node):
            self._pool(node)
        elif self._joins_space(node) and not is_gate(node):
            source = node.all_input_nodes[0]
            image = self._channels_first(source, node)
            shape = sizes(image)[1:]
            first = tuple(range(len(shape)))
            axes = (*first[1:], 0) if source in self.channels_last else first
            self.vectors[node] = Vector(image, shape, axes)
        else:
            self._follow_layout(node)

    def _joins_space(self, node: Node) -> bool:
        """Tell whether a reshape turns a map into one vector per image."""
        if _name(node) not in _RESHAPES:
            return False
        before, after = sizes(node.all_input_nodes[0]), sizes(node)
        is_map = len(before) == self.rank > 2 and len(after) < len(before)
        return is_map and len(after) > 1 and after[1] == prod(before[1:])

    def _pool(self, node: Node) -> None:
        source = node.all_input_nodes[0]
        if takes_maximum(node):
            if node.args[1] != 0:
                raise _refusal(node, "takes the indices of a max pool, which count in its own map")
            source = source.all_input_nodes[0]
        keeps_axes = len(sizes(node)) == len(sizes(source))
        if len(sizes(source)) != self.rank:
            raise _refusal(node, f"pools {sizes(source)}, where positions stand in one row")
        if source in self.channels_last and keeps_axes:
            raise _refusal(node, "pools a map whose channels come last and keeps its axes")
        image = slide(self.captured, node, self._channels_first(source, node))
        if keeps_axes:
            node.replace_all_uses_with(image, delete_user_cb=lambda user: user is not image)
        else:
            self.vectors[node] = _single(image, sizes(image)[1])

    def _channels_first(self, source: Node, at: Node) -> Node:
        """Return a map as (N, C, *space), permuted before `at` where its channels came last."""
        if source not in self.channels_last:
            return source
        order = [0, self.rank - 1, *range(1, self.rank - 1)]
        shape = [sizes(source)[axis] for axis in order]
        return self.insert(aten.permute.default, (source, order), at=at, shape=shape)

    def _follow_layout(self, node: Node) -> None:
        is_last = any(n in self.channels_last for n in node.all_input_nodes)
        if node.target is aten.permute.default:
            order = [d % self.rank for d in arguments(node)["dims"]]
            is_last = order == [0, *range(2, self.rank), 1] or (is_last and order == sorted(order))
        if is_last and len(sizes(node)) == self.rank:
            self.channels_last.add(node)

    def _on_vector(self, node: Node) -> None:
        name, first = _name(node), self.read_by(node)[0]
        if name == "sym_size" and arguments(node)["dim"] == 0:
            node.args = (self.vectors[node.all_input_nodes[0]].image, 0)
        elif name in _RESHAPES:
            self._reshape(node)
        elif name in _POINTWISE and _is_of_one_shape(self, node):
            self.vectors[node] = Vector(self.repeat(node, first.shape), first.shape, first.axes)
        elif name == "linear":
            self.vectors[node] = _linear(self, node)
        elif name in _ON_CHANNELS and all(v.is_single for v in self.read_by(node)):
            self.vectors[node] = _ON_CHANNELS[name](self, node)
        else:
            self._on_rows(node)

    def _reshape(self, node: Node) -> None:
        (vector,), shape = self.read_by(node), sizes(node)
        in_order = vector.axes == tuple(range(len(vector.axes)))
        if in_order and shape[1:] == vector.shape:
            node.replace_all_uses_with(vector.image)
        elif len(shape) > 1 and shape[1] == prod(vector.shape) == prod(shape[1:]):
            self.vectors[node] = vector
        else:
            self._on_rows(node)

    def _on_rows(self, node: Node) -> None:
        """Let a node work on rows as it did on vectors."""
        for source in node.all_input_nodes:
            vector = self.vectors.get(source)
            if vector is not None and not vector.is_single:
                raise _refusal(node, f"has no counterpart on a map of {vector.shape}")
            if vector is not None:
                node.replace_input_with(source, self._in_rows(vector, node))
        self.rows[node] = next(self.rows[n] for n in node.all_input_nodes if n in self.rows)

    def _in_rows(self, vector: Vector, at: Node) -> Node:
        batch, *shape = sizes(vector.image)
        last = (batch, *shape[1:], shape[0])
        order = [0, *range(2, self.rank), 1]
        moved = self.insert(aten.permute.default, (vector.image, order), at=at, shape=last)
        join = (moved, 0, self.rank - 2)
        rows = self.insert(aten.flatten.using_ints, join, at=at, shape=(batch, shape[0]))
        self.rows[rows] = vector.image
        return rows

    def _back(self, rows: Node, at: Node) -> Node:
        """A map again, of what has one vector a row."""
        image, (batch, *features) = self.rows[rows], sizes(rows)
        if len(features) != 1:
            raise _refusal(rows, f"is an output of shape {sizes(rows)}, no vector per image")
        ones, last = [1] * (self.rank - 2), self.rank - 1
        lengths = [
            self.insert(aten.sym_size.int, (image, axis), at=at, shape=())
            for axis in (0, *range(2, self.rank))
        ]
        shape = [*lengths, features[0]]
        split = self.insert(
            aten.view.default, (rows, shape), at=at, shape=(batch, *ones, features[0])
        )
        order = [0, last, *range(1, last)]
        return self.insert(
            aten.permute.default, (split, order), at=at, shape=(batch, features[0], *ones)
        )

    def _finish(self, output: Node) -> None:
        for node in output.all_input_nodes:
            if node in self.rows:
                output.replace_input_with(node, self._back(node, output))
                continue
            vector = self.vectors.get(node)
            if vector is None and len(sizes(node)) != self.rank:
                raise _refusal(node, f"is an output of shape {sizes(node)} that comes from no map")
            if vector is not None and vector.axes != tuple(range(len(vector.axes))):
                raise _refusal(node, "flattens a map with its channels last and is an output")
            if vector is not None:
                output.replace_input_with(node, vector.image)

    def read_by(self, node: Node) -> list[Vector]:
        """Return the vectors that a node reads."""
        return [self.vectors[n] for n in node.all_input_nodes if n in self.vectors]

    def insert(self, target: Any, args: tuple[Any, ...], *, at: Node, shape: Sequence[int]) -> Node:
        """Insert a call before `at`, with the place of `at` and a shape of its own."""
        with self.captured.module.graph.inserting_before(at):
            node = self.captured.module.graph.call_function(target, args)
        node.meta = dict(at.meta) | {"val": torch.empty(tuple(shape), device="meta")}
        return node

    def repeat(self, node: Node, shape: Sequence[int], **changed: Any) -> Node:
        """Insert a node's own call on maps instead of vectors, with some arguments changed."""
        images = {n: self.vectors[n].image for n in node.all_input_nodes if n in self.vectors}
        named = arguments(node) | changed
        copy = self.insert(node.target, (), at=node, shape=(sizes(node)[0], *shape))
        keywords = {name: named.pop(name) for name in list(named)[len(node.args) :]}
        copy.args = map_arg(tuple(named.values()), lambda n: images.get(n, n))
        copy.kwargs = keywords
        return copy


def _linear(walk: _Walk, node: Node) -> Vector:
    named = arguments(node)
    vector, weight = walk.vectors.get(named["input"]), stored(walk.captured, named["weight"])
    if vector is None or weight is None:
        raise _refusal(node, "has a weight that is computed, not stored")
    read = [vector.shape[axis] for axis in vector.axes]
    back = [vector.axes.index(axis) + 1 for axis in range(len(read))]
    kernel = weight.detach().reshape(-1, *read).permute(0, *back).contiguous()
    key = sibling(named["weight"], "weight")
    held = put(walk.captured, key, kernel, at=node, instead_of=named["weight"])
    rank, channels = len(read) - 1, kernel.shape[0]
    window = ([1] * rank, [0] * rank, [1] * rank, 1)
    given = (vector.image, held, named["bias"], *window)
    shape = (sizes(node)[0], channels, *[1] * rank)
    return _single(walk.insert(_CONVOLUTION[rank], given, at=node, shape=shape), channels)


def _is_of_one_shape(walk: _Walk, node: Node) -> bool:
    """Whether vectors of one shape meet each other and single numbers, nothing else."""
    first, *others = walk.read_by(node)
    return all((v.shape, v.axes) == (first.shape, first.axes) for v in others) and all(
        source in walk.vectors or sizes(source) in ((), (1,)) for source in node.all_input_nodes
    )


def _batch_norm(walk: _Walk, node: Node) -> Vector:
    (vector,) = walk.read_by(node)
    return _single(walk.repeat(node, vector.shape), vector.shape[0])


def _softmax(walk: _Walk, node: Node) -> Vector:
    (vector,) = walk.read_by(node)
    if arguments(node)["dim"] % 2 != 1:  # a vector per image is (N, F): dimension 1 or -1
        raise _refusal(node, "does not run over the features")
    return _single(walk.repeat(node, vector.shape, dim=1), vector.shape[0])


def _layer_norm(walk: _Walk, node: Node) -> Vector:
    (vector,) = walk.read_by(node)
    batch, rank = sizes(node)[0], len(vector.shape)
    last = (batch, *vector.shape[1:], vector.shape[0])
    there, back = [0, *range(2, rank + 1), 1], [0, rank, *range(1, rank)]
    moved = walk.insert(aten.permute.default, (vector.image, there), at=node, shape=last)
    normed = walk.repeat(node, last[1:], input=moved)
    shape = (batch, *vector.shape)
    image = walk.insert(aten.permute.default, (normed, back), at=node, shape=shape)
    return _single(image, vector.shape[0])


def _cat(walk: _Walk, node: Node) -> Vector:
    vectors = walk.read_by(node)
    if len(vectors) != len(node.all_input_nodes) or arguments(node)["dim"] % 2 != 1:
        raise _refusal(node, "joins a vector per image with something else")
    channels = sum(vector.shape[0] for vector in vectors)
    image = walk.repeat(node, (channels, *vectors[0].shape[1:]), dim=1)
    return _single(image, channels)


_ON_CHANNELS: dict[str, Callable[[_Walk, Node], Vector]] = {
    "batch_norm": _batch_norm,
    "softmax": _softmax,
    "log_softmax": _softmax,
    "layer_norm": _layer_norm,
    "cat": _cat,
}


def _single(image: Node, channels: int) -> Vector:
    rank = len(sizes(image)) - 2
    return Vector(image, (channels, *[1] * rank), tuple(range(rank + 1)))


def _name(node: Node) -> str:
    is_operator = isinstance(node.target, torch._ops.OpOverload)
    return str(node.target).split(".")[1] if is_operator else ""


def _refusal(node: Node, why: str) -> RewriteError:
    return RewriteError(
        f"to_fully_convolutional: {place(node)} ({node.target}) {why}; behind a flatten or a "
        f"global pool only linear layers and what treats channels alone can slide."
    )

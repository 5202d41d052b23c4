# SPDX-License-Identifier: Apache-2.0
"""One operator at work: what a rule is given, and what it answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch.fx import Node

from convsmith.analysis.memory import tensors_in
from convsmith.analysis.operators import named, plain_name, sizes
from convsmith.analysis.reach import Reach
from convsmith.analysis.result import WholeMap

# The reach of the result; of several results a list; None if it does not depend on the input.
Answer = Reach | list[Reach | None] | None


@dataclass(frozen=True)
class Step:
    """A node, the reaches so far, and the name of the layer it belongs to."""

    node: Node
    reaches: Mapping[Node, Answer]
    layer: str

    @cached_property
    def given(self) -> dict[str, Any]:
        """The arguments by name."""
        return named(self.node)

    @property
    def name(self) -> str:
        return plain_name(self.node)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the (first) result."""
        return next((tuple(t.shape) for t in tensors_in(self.node.meta.get("val"))), ())

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of every result."""
        return [tuple(t.shape) for t in tensors_in(self.node.meta.get("val"))]

    def of(self, value: Any) -> Reach | None:
        """What an argument depends on."""
        found = self.reaches.get(value) if isinstance(value, Node) else None
        return found if isinstance(found, Reach) else None

    def first(self) -> Reach:
        """What the first argument that depends on the input does so on."""
        return next(r for r in map(self.of, self.node.all_input_nodes) if r is not None)

    def arg(self, name: str) -> Reach | None:
        """What an argument, by its name, depends on."""
        return self.of(self.given.get(name))

    def size_of(self, name: str) -> tuple[int, ...]:
        """The shape of an argument, by its name."""
        value = self.given.get(name)
        return sizes(value) if isinstance(value, Node) else ()

    def whole(self, why: str) -> WholeMap:
        """The reason why from here on everything depends on all places."""
        return WholeMap(layer=self.layer, why=why)

    def union(self, parts: Sequence[Reach | None], shape: Sequence[int] | None = None) -> Answer:
        """What several tensors, broadcast to one shape, depend on together."""
        target = self.shape if shape is None else tuple(shape)
        found: Reach | None = None
        for part in parts:
            if part is not None:
                found = part.broadcast(target) if found is None else found.joined(part, target)
        return found


Rule = Callable[[Step], Answer]

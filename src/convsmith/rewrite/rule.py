# SPDX-License-Identifier: Apache-2.0
"""What a rule is: it finds a place and changes it. Everything around that is the engine's."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.fx import Node

from convsmith.capture import Captured


@dataclass(frozen=True)
class Site:
    """One place where a rule applies: its nodes, the user's names for them, and one sentence."""

    nodes: tuple[Node, ...]
    where: tuple[str, ...]
    what: str


@dataclass(frozen=True)
class Example:
    """A rule shown on a small network: `make()` gives model and input, whole numbers throughout.

    `before` and `after` are the operators of the graph in order; the outputs are equal bit for bit.
    """

    make: Callable[[], tuple[nn.Module, Tensor]]
    before: list[str]
    after: list[str]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """An algebraic identity on a captured graph.

    `match(captured, node)` looks at one node: a `Site`, a sentence saying why a likely place is
    left alone, or None. `apply(captured, site)` rewrites the graph there and returns the nodes that
    now stand for the site's. Both decide by structure alone, never by the numbers in the weights,
    so that one site list serves every precision.
    """

    name: str
    promise: str
    match: Callable[[Captured, Node], Site | str | None]
    apply: Callable[[Captured, Site], list[Node]]
    example: Example

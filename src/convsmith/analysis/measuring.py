# SPDX-License-Identifier: Apache-2.0
"""Times of a traced graph's nodes: the model runs for real, operator by operator."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.utils._pytree import tree_map_only

from convsmith.analysis.counting import node_macs
from convsmith.capture import Traced, operator_times
from convsmith.errors import ArgumentError


def measured(
    traced: Traced, running: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[Node, float]:
    """Milliseconds of every node that calls an operator, when `running` runs: the traced model, or
    the planned network that it was spelt out from. Convolutions that one kernel computes in one
    pass share its time by their multiply-accumulates.

    Raises:
        ArgumentError: if a weight has no numbers, or the model does not do the same twice.
    """
    model = traced.model
    need_numbers(model, "measure")
    device = next((t.device for t in model.parameters()), torch.device("cpu"))

    def real(tensor: Tensor) -> Tensor:
        """Random numbers where only a shape was given."""
        return (
            torch.randn(tensor.shape, device=device).to(tensor.dtype) if tensor.is_meta else tensor
        )

    given, named = tree_map_only(Tensor, real, (tuple(args), dict(kwargs)))
    times = operator_times(running, given, named)
    is_planned = running is not traced.model
    groups = _together(operators_of(traced), is_planned=is_planned)
    names = [
        _CHAIN if "chain" in group[0].meta and is_planned else str(group[0].target)
        for group in groups
    ]
    check_same_operators(traced, [name for name, _ in times], names)
    found: dict[Node, float] = {}
    for group, (_, ms) in zip(groups, times, strict=True):
        macs = [node_macs(node) for node in group]
        every = sum(macs)
        shares = [part / every for part in macs] if every else [1.0] * len(group)
        found |= {node: ms * share for node, share in zip(group, shares, strict=True)}
    return found


_CHAIN = "convsmith.convolutions.default"


def _together(nodes: Sequence[Node], *, is_planned: bool) -> list[list[Node]]:
    """Operators in the groups that run as one: chains of a planned network, all others alone."""
    if not is_planned:
        return [[node] for node in nodes]
    numbered = groupby(enumerate(nodes), lambda pair: pair[1].meta.get("chain", -1 - pair[0]))
    return [[node for _, node in group] for _, group in numbered]


def operators_of(traced: Traced) -> list[Node]:
    """The nodes that call an operator, in the order a call runs them."""
    return [n for n in traced.graph.nodes if isinstance(n.target, torch._ops.OpOverload)]


def need_numbers(model: nn.Module, why: str) -> None:
    """Refuse a model that has only shapes."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_meta:
            raise ArgumentError(
                f"analyze: {name} is on the meta device and has no numbers to run on; load the "
                f"weights, or leave out {why}."
            )


def check_same_operators(
    traced: Traced, names: Sequence[str], wanted: Sequence[str] | None = None
) -> None:
    """Refuse a model that ran otherwise than it was traced."""
    wanted = wanted or [str(node.target) for node in operators_of(traced)]
    if list(wanted) != list(names):
        raise ArgumentError(
            f"analyze: {type(traced.model).__name__} ran {len(names)} operators when it was run "
            f"for real and {len(wanted)} when it was traced; a model that does not do the same "
            "twice cannot be measured layer by layer."
        )

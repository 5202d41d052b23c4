# SPDX-License-Identifier: Apache-2.0
"""Times of a traced graph's nodes: the model runs for real, operator by operator."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.utils._pytree import tree_map_only

from convsmith.capture import Traced, operator_times
from convsmith.errors import ArgumentError


def measured(traced: Traced, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[Node, float]:
    """Milliseconds of every node that calls an operator.

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
    times = operator_times(model, given, named)
    check_same_operators(traced, [name for name, _ in times])
    return {node: ms for node, (_, ms) in zip(operators_of(traced), times, strict=True)}


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


def check_same_operators(traced: Traced, names: Sequence[str]) -> None:
    """Refuse a model that ran otherwise than it was traced."""
    wanted = [str(node.target) for node in operators_of(traced)]
    if wanted != list(names):
        raise ArgumentError(
            f"analyze: {type(traced.model).__name__} ran {len(names)} operators when it was run "
            f"for real and {len(wanted)} when it was traced; a model that does not do the same "
            "twice cannot be measured layer by layer."
        )

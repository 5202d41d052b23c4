# SPDX-License-Identifier: Apache-2.0
"""Times of a traced graph's nodes: the model runs for real, operator by operator."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
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
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_meta:
            raise ArgumentError(
                f"analyze: {name} is on the meta device and has no numbers to run on; load the "
                "weights, or leave out measure."
            )
    device = next((t.device for t in model.parameters()), torch.device("cpu"))

    def real(tensor: Tensor) -> Tensor:
        """Random numbers where only a shape was given."""
        return (
            torch.randn(tensor.shape, device=device).to(tensor.dtype) if tensor.is_meta else tensor
        )

    given, named = tree_map_only(Tensor, real, (tuple(args), dict(kwargs)))
    times = operator_times(model, given, named)
    nodes = [n for n in traced.graph.nodes if isinstance(n.target, torch._ops.OpOverload)]
    if [str(node.target) for node in nodes] != [name for name, _ in times]:
        raise ArgumentError(
            f"analyze: {type(model).__name__} ran {len(times)} operators when it was timed and "
            f"{len(nodes)} when it was traced; a model that does not do the same twice cannot be "
            "measured layer by layer."
        )
    return {node: ms for node, (_, ms) in zip(nodes, times, strict=True)}

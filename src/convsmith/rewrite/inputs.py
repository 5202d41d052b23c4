# SPDX-License-Identifier: Apache-2.0
"""What a network is called with while it is proved: given images, or numbers like the example."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map


@dataclass(frozen=True)
class Inputs:
    """Positional and keyword inputs of one call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)


def random_like(inputs: Inputs, seed: int) -> Inputs:
    """Return inputs of the same shapes and memory order, normally distributed; integers stay."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        return torch.empty_like(value).copy_(torch.randn(value.shape, generator=generator))

    return Inputs(*tree_map(drawn, (inputs.args, inputs.kwargs)))

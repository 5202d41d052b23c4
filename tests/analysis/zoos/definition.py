# SPDX-License-Identifier: Apache-2.0
"""One network that somebody published, and the shape of an input that it takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Definition:
    """How to build a network, as a rule without its weights, and what to call it with."""

    name: str
    build: Callable[[], nn.Module]
    inputs: Sequence[Any]
    keywords: dict[str, Any] = field(default_factory=dict)

    def model(self, device: str = "meta") -> nn.Module:
        with torch.device(device):
            return self.build().eval()

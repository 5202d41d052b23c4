# SPDX-License-Identifier: Apache-2.0
"""Network: the entry of one published network; Model: what its constructor returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from convsmith.models.preprocess import Preprocess


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What `create` needs to build a model again: `create(recipe.network, **recipe.options)`."""

    network: str
    options: Mapping[str, Any]


class Model(nn.Module):
    """A network that knows how its images are prepared and how it was built; `create` sets both."""

    preprocess: Preprocess
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class Network:
    """One published network.

    `build` takes num_classes, in_channels and width, and the network's own options, all by name.
    """

    name: str
    build: Callable[..., Model]
    num_classes: int
    preprocess: Preprocess
    source: str
    description: str
    embedded: bool = False  # trained weights are in the package

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return (self.preprocess.channels, self.preprocess.size, self.preprocess.size)

# SPDX-License-Identifier: Apache-2.0
"""Task: what the training loop must know about what is learnt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from convsmith.training.draws import Draws
from convsmith.training.examples import Examples
from convsmith.training.recipe import Recipe

IGNORED = -100  # a target that nothing is asked of; torch's own number for it


class Task(ABC):
    """What is lost by a wrong answer, and how good the answers are in the end."""

    name: str
    verdict: str  # which of the measures is quoted first

    def augmented(
        self, x: Tensor, y: Tensor, recipe: Recipe, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        """Inputs as they are shown to the network: changed at random, and the targets alike."""
        return x, y

    @abstractmethod
    def loss(self, output: Any, y: Tensor, recipe: Recipe) -> Tensor:
        """The mean loss of a batch.

        Raises:
            ArgumentError: if the network's output does not fit the data.
        """

    def weight(self, y: Tensor) -> float:
        """How much a batch counts beside another: what its mean loss is a mean of."""
        return float(len(y))

    @abstractmethod
    def measure(self, model: nn.Module, examples: Examples, batch_size: int) -> dict[str, float]:
        """How good a model in eval mode is on examples: numbers by name, `verdict` among them."""

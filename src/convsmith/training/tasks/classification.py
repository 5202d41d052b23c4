# SPDX-License-Identifier: Apache-2.0
"""One class an image."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.errors import ArgumentError
from convsmith.training.accuracy import accuracy
from convsmith.training.augmentation import mirrored, shifted
from convsmith.training.draws import Draws
from convsmith.training.examples import Examples
from convsmith.training.recipe import Recipe
from convsmith.training.tasks.task import Task


class Classification(Task):
    """Cross-entropy of raw scores (n, classes); measured by the share of right answers."""

    name = "classification"
    verdict = "held_out_accuracy"

    def augmented(
        self, x: Tensor, y: Tensor, recipe: Recipe, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        """Images shifted, and mirrored where the recipe says so."""
        if recipe.shift:
            x = shifted(x, recipe.shift, draws)
        if recipe.flip:
            x, _ = mirrored(x, None, draws)
        return x, y

    def loss(self, output: Tensor, y: Tensor, recipe: Recipe) -> Tensor:
        """The mean cross-entropy; a class without an output is an ArgumentError."""
        outputs, largest = output.shape[1], int(y.max())
        if largest >= outputs:
            raise ArgumentError(
                f"train: the data has class {largest}, the model outputs 0 to {outputs - 1}; "
                f"create it with num_classes={largest + 1}"
            )
        return F.cross_entropy(output, y, label_smoothing=recipe.label_smoothing)

    def measure(self, model: nn.Module, examples: Examples, batch_size: int) -> dict[str, float]:
        """The share of images whose class has the largest score."""
        return {self.verdict: accuracy(model, examples, batch_size).top1_fraction}

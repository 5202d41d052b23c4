# SPDX-License-Identifier: Apache-2.0
"""One class a pixel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.errors import ArgumentError
from convsmith.training.augmentation import mirrored, windows
from convsmith.training.draws import Draws
from convsmith.training.examples import Examples
from convsmith.training.recipe import Recipe
from convsmith.training.tasks.metrics import metrics
from convsmith.training.tasks.task import IGNORED, Task

_PERIOD = 32  # networks halve an image up to five times


class Segmentation(Task):
    """Cross-entropy of raw scores (n, classes, h, w) over the pixels that have a class; measured by
    the mean intersection over union of the classes and the share of pixels that are right.

    Shown are windows of `window` x `window` pixels; measured are whole images.
    """

    name = "segmentation"
    verdict = "held_out_miou"

    def __init__(self, num_classes: int, window: int) -> None:
        self.num_classes, self.window = num_classes, window

    def augmented(
        self, x: Tensor, y: Tensor, recipe: Recipe, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        """A window of each image, and mirrored where the recipe says so, with its map."""
        x, y = windows(x, y, self.window, draws)
        if recipe.flip:
            x, flipped = mirrored(x, y, draws)
            assert flipped is not None
            y = flipped
        return x, y

    def loss(self, output: Tensor, y: Tensor, recipe: Recipe) -> Tensor:
        """The mean cross-entropy of the pixels with a class; an ArgumentError if the scores are
        not of these classes or places.
        """
        if output.shape != (len(y), self.num_classes, *y.shape[1:]):
            raise ArgumentError(
                f"train: the model outputs {tuple(output.shape)}; maps {tuple(y.shape)} of "
                f"{self.num_classes} classes need scores "
                f"{(len(y), self.num_classes, *y.shape[1:])}"
            )
        total = F.cross_entropy(
            output,
            y,
            ignore_index=IGNORED,
            label_smoothing=recipe.label_smoothing,
            reduction="sum",
        )
        return total / max(self.weight(y), 1.0)

    def weight(self, y: Tensor) -> float:
        """How many pixels have a class."""
        return float((y != IGNORED).sum())

    def measure(self, model: nn.Module, examples: Examples, batch_size: int) -> dict[str, float]:
        """Image by image, padded to sizes that every network halves."""
        found = metrics("segmentation").classification
        choice = {"num_classes": self.num_classes, "ignore_index": IGNORED}
        union = found.MulticlassJaccardIndex(**choice, average="macro")
        right = found.MulticlassAccuracy(**choice, average="micro")
        weights = next(model.parameters())
        with torch.inference_mode():
            for i in range(len(examples)):
                x, y = examples.batch([i])
                h, w = x.shape[-2:]
                border = (0, -w % _PERIOD, 0, -h % _PERIOD)
                padded = F.pad(x, border, mode="replicate").to(weights)
                scores = model(padded)[..., :h, :w].float().cpu()
                union.update(scores, y)
                right.update(scores, y)
        return {
            self.verdict: float(union.compute()),
            "held_out_pixel_accuracy": float(right.compute()),
        }

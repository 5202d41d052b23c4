# SPDX-License-Identifier: Apache-2.0
"""The beat of a heart from a film of a face."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convsmith.errors import ArgumentError
from convsmith.models.video.pulse_mask import beats_per_minute
from convsmith.training.examples import Examples, batches
from convsmith.training.recipe import Recipe
from convsmith.training.tasks.metrics import metrics
from convsmith.training.tasks.task import Task


class Pulse(Task):
    """The negative correlation of the pulse's changes, found (n, frames - 1) and true,

    loss = 1 - sum (a - mean a)(b - mean b) / sqrt(sum (a - mean a)² sum (b - mean b)²),

    which asks for the shape of the pulse, not its strength; measured by how far the rate is off.

    Source: Yu, Li and Zhao, Remote Photoplethysmograph Signal Measurement from Facial Videos, 2019,
    arXiv:1905.02419, equation 2.
    """

    name = "pulse"
    verdict = "held_out_error_bpm"

    def __init__(self, frames_per_second: float) -> None:
        self.frames_per_second = frames_per_second

    def loss(self, output: Tensor, y: Tensor, recipe: Recipe) -> Tensor:
        """The mean loss of the films; an ArgumentError if a film has another number of frames."""
        if output.shape != y.shape:
            raise ArgumentError(
                f"train: the model outputs {tuple(output.shape)}; films with changes "
                f"{tuple(y.shape)} need one number for each"
            )
        return (1 - correlation(output.float(), y)).mean()

    def measure(self, model: nn.Module, examples: Examples, batch_size: int) -> dict[str, float]:
        """The mean error of the heart rate in beats a minute, and the mean correlation."""
        error = metrics("the pulse").MeanAbsoluteError()
        weights = next(model.parameters())
        found = []
        with torch.inference_mode():
            for x, y in batches(examples, batch_size):
                changes = model(x.to(weights)).float().cpu()
                rates = (beats_per_minute(pulse, self.frames_per_second) for pulse in (changes, y))
                error.update(*rates)
                found.append(correlation(changes, y))
        return {
            self.verdict: float(error.compute()),
            "held_out_correlation": float(torch.cat(found).mean()),
        }


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation along the last axis.

    >>> round(correlation(torch.tensor([1.0, 2, 3]), torch.tensor([2.0, 4, 6])).item(), 4)
    1.0
    """
    a, b = (x - x.mean(-1, keepdim=True) for x in (a, b))
    return torch.nn.functional.cosine_similarity(a, b, dim=-1, eps=1e-12)

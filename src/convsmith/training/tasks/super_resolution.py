# SPDX-License-Identifier: Apache-2.0
"""A larger image from a small one."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from convsmith.errors import ArgumentError
from convsmith.training.draws import Draws
from convsmith.training.examples import Examples
from convsmith.training.recipe import Recipe
from convsmith.training.tasks.metrics import metrics
from convsmith.training.tasks.task import Task


class SuperResolution(Task):
    """Mean squared error of values 0 to 1; measured by the peak signal to noise ratio,

    -10 log10(mean squared error) dB,

    of every image without a border of 2 `scale` pixels, beside that of bicubic interpolation.
    """

    name = "super-resolution"
    verdict = "held_out_psnr_db"

    def __init__(self, scale: int) -> None:
        self.scale = scale

    def augmented(
        self, x: Tensor, y: Tensor, recipe: Recipe, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        """Small and large image mirrored together, where the recipe says so."""
        if recipe.flip:
            flips = draws.integers(2, rows=1)[0].bool().view(-1, 1, 1, 1)
            x, y = (torch.where(flips, images.flip(-1), images) for images in (x, y))
        return x, y

    def loss(self, output: Tensor, y: Tensor, recipe: Recipe) -> Tensor:
        """The mean squared error; an ArgumentError if the sizes differ."""
        if output.shape != y.shape:
            raise ArgumentError(
                f"train: the model outputs {tuple(output.shape)}, the large images are "
                f"{tuple(y.shape)}; it must enlarge by {self.scale}"
            )
        return F.mse_loss(output, y)

    def measure(self, model: nn.Module, examples: Examples, batch_size: int) -> dict[str, float]:
        """Image by image, rounded to 255 levels, the mean over images."""
        ratio = metrics("super-resolution").functional.image.peak_signal_noise_ratio
        weights = next(model.parameters())
        inner = slice(2 * self.scale, -2 * self.scale)
        ours, bicubic = list[float](), list[float]()
        with torch.inference_mode():
            for i in range(len(examples)):
                x, y = examples.batch([i])
                for found, enlarged in (
                    (ours, model(x.to(weights)).float().cpu()),
                    (bicubic, _bicubic(x, y.shape)),
                ):
                    levels = (enlarged.clamp(0, 1) * 255).round() / 255
                    pair = (levels[..., inner, inner], y[..., inner, inner])
                    found.append(float(ratio(*pair, data_range=1.0)))
        return {
            self.verdict: sum(ours) / len(ours),
            "bicubic_psnr_db": sum(bicubic) / len(bicubic),
        }


def _bicubic(x: Tensor, shape: torch.Size) -> Tensor:
    """Pillow's interpolation, as the published numbers use."""
    planes = [
        Image.fromarray((plane * 255).round().to(torch.uint8).numpy()).resize(
            (shape[-1], shape[-2]), Image.Resampling.BICUBIC
        )
        for plane in x[0]
    ]
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in planes]))[None].float() / 255

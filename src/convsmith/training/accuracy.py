# SPDX-License-Identifier: Apache-2.0
"""How many images a classifier gets right."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from convsmith.training.examples import Examples, batches


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Counts of images whose class has the largest score, or one of the five largest."""

    top1: int
    top5: int
    images: int

    @property
    def top1_fraction(self) -> float:
        """The share of images whose class has the largest score."""
        return self.top1 / self.images


def accuracy(model: nn.Module, images: Examples, batch_size: int = 32) -> Accuracy:
    """Run a model, in the mode it is in, over all images."""
    weights = next(model.parameters())
    top1 = top5 = 0
    with torch.inference_mode():
        for x, y in batches(images, batch_size):
            scores = model(x.to(weights)).cpu()
            best = scores.topk(min(5, scores.shape[1]), dim=1).indices
            hits = best == y[:, None]
            top1 += int(hits[:, 0].sum())
            top5 += int(hits.sum())
    return Accuracy(top1=top1, top5=top5, images=len(images))

# SPDX-License-Identifier: Apache-2.0
"""Boxes around things, and their classes.

Source: Lin et al., Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002, sections 3 and 4.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.errors import ArgumentError
from convsmith.models.detection.anchors import anchors, offsets_to_boxes
from convsmith.models.detection.boxes import overlaps
from convsmith.models.detection.detections import detections
from convsmith.training.draws import Draws
from convsmith.training.examples import Examples, batches
from convsmith.training.recipe import Recipe
from convsmith.training.tasks.boxes import average_precision
from convsmith.training.tasks.task import Task

_ALPHA, _GAMMA = 0.25, 2.0  # equation 5
_POSITIVE, _NEGATIVE = 0.5, 0.4  # overlap of an anchor and a box
_ROUND = 1 / 9  # where the smooth loss of an offset turns straight


class Detection(Task):
    """Focal loss of the anchors' classes and smooth L1 of the offsets of those that hold a box,

    focal = -alpha (1 - p)^gamma log p  for the right class, (1 - alpha) p^gamma for the others,

    over the number of such anchors in an image; measured by the mean average precision of the
    classes, boxes overlapping by half.
    """

    name = "detection"
    verdict = "held_out_ap50"

    def __init__(self, num_classes: int, size: int) -> None:
        self.num_classes, self.size = num_classes, size
        self.anchors = anchors(size, size)

    def augmented(
        self, x: Tensor, y: Tensor, recipe: Recipe, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        """Mirrored with their boxes, where the recipe says so."""
        if not recipe.flip:
            return x, y
        flips = draws.integers(2, rows=1)[0].bool()
        width = x.shape[-1]
        turned = torch.stack(
            [y[..., 0], width - y[..., 3], y[..., 2], width - y[..., 1], y[..., 4]]
        )
        y = torch.where(flips[:, None, None], turned.movedim(0, -1), y)
        return torch.where(flips[:, None, None, None], x.flip(-1), x), y

    def loss(self, output: Any, y: Tensor, recipe: Recipe) -> Tensor:
        """The mean over images; an ArgumentError if there are other anchors or classes."""
        scores, offsets = output
        expected = (len(y), len(self.anchors), self.num_classes)
        if scores.shape != expected:
            raise ArgumentError(
                f"train: the model outputs scores {tuple(scores.shape)}; {self.num_classes} classes"
                f" in images of {self.size} x {self.size} pixels need {expected}"
            )
        places = self.anchors.to(y)
        losses = []
        for image in range(len(y)):
            boxes = y[image][y[image, :, 0] >= 0]
            losses.append(self._of_image(scores[image].float(), offsets[image], boxes, places))
        return torch.stack(losses).mean()

    def _of_image(self, scores: Tensor, offsets: Tensor, boxes: Tensor, places: Tensor) -> Tensor:
        holder, certain = _assigned(boxes, places)
        held = holder >= 0
        wanted = torch.zeros_like(scores)
        wanted[held, boxes[holder[held], 0].long()] = 1
        p = scores.sigmoid()
        right = torch.where(wanted > 0, p, 1 - p)
        share = torch.where(wanted > 0, _ALPHA, 1 - _ALPHA)
        entropy = F.binary_cross_entropy_with_logits(scores, wanted, reduction="none")
        focal = (share * (1 - right) ** _GAMMA * entropy)[certain].sum()
        targets = offsets_to_boxes(boxes[holder[held], 1:], places[held])
        moved = F.smooth_l1_loss(offsets[held].float(), targets, beta=_ROUND, reduction="sum")
        return (focal + moved) / held.sum().clamp(min=1)

    def measure(self, model: nn.Module, examples: Examples, batch_size: int) -> dict[str, float]:
        """The mean over classes that are held out at all."""
        weights = next(model.parameters())
        found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(self.num_classes)]
        true: list[list[Tensor]] = [[] for _ in range(self.num_classes)]
        with torch.inference_mode():
            for x, y in batches(examples, batch_size):
                scores, offsets = (part.float().cpu() for part in model(x.to(weights)))
                size = (x.shape[2], x.shape[3])
                for image, said in zip(y, detections(scores, offsets, size), strict=True):
                    for number in range(self.num_classes):
                        right, named = image[:, 0] == number, said.classes == number
                        true[number].append(image[right, 1:])
                        found[number].append((said.boxes[named], said.scores[named]))
        precisions = [
            average_precision(f, t) for f, t in zip(found, true, strict=True) if sum(map(len, t))
        ]
        return {self.verdict: sum(precisions) / max(len(precisions), 1)}


def _assigned(boxes: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """For each anchor the box that it holds (-1: none), and whether it is asked for its class."""
    if not len(boxes):
        none = torch.full((len(places),), -1, device=places.device)
        return none, torch.ones_like(none, dtype=torch.bool)
    fits = overlaps(places, boxes[:, 1:])
    best, holder = fits.max(1)
    certain = (best < _NEGATIVE) | (best >= _POSITIVE)
    holder = torch.where(best >= _POSITIVE, holder, -1)
    # A box that no anchor overlaps by half has the one that comes closest.
    closest = fits.argmax(0)
    holder[closest] = torch.arange(len(boxes), device=places.device)
    certain[closest] = True
    return holder, certain

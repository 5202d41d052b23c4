# SPDX-License-Identifier: Apache-2.0
"""Boxes (left, top, right, bottom): how much two overlap, which of many to keep, how good they are.

Source: Everingham et al., The Pascal Visual Object Classes Challenge, 2010, section 4.2 (average
precision, as the area under the whole curve).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def overlaps(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every box of a (n, 4) with every one of b (m, 4): (n, m).

    >>> overlaps(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 0, 3, 2]]))
    tensor([[0.3333]])
    """
    corner = torch.maximum(a[:, None, :2], b[None, :, :2])
    opposite = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (opposite - corner).clamp(min=0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b)]
    return shared / (areas[0][:, None] + areas[1] - shared).clamp(min=1e-12)


def kept(boxes: Tensor, scores: Tensor, most_overlap: float = 0.5) -> Tensor:
    """Indices of boxes, best first, none of which overlaps a better one by more than this."""
    order = scores.argsort(descending=True, stable=True)
    chosen: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        chosen.append(int(best))
        order = rest[overlaps(boxes[best][None], boxes[rest])[0] <= most_overlap]
    return torch.tensor(chosen, dtype=torch.int64)


def average_precision(
    found: Sequence[tuple[Tensor, Tensor]], true: Sequence[Tensor], least_overlap: float = 0.5
) -> float:
    """The area under precision over recall of one class.

    Args:
        found: For each image, boxes (n, 4) and their scores (n,).
        true: For each image, the right boxes (m, 4); each is found once, by the best that fits.
        least_overlap: What fits.
    """
    hits: list[tuple[float, bool]] = []
    for (boxes, scores), right in zip(found, true, strict=True):
        taken = torch.zeros(len(right), dtype=torch.bool)
        fits = overlaps(boxes, right)
        for i in scores.argsort(descending=True, stable=True).tolist():
            free = torch.where(taken, -1.0, fits[i])
            hit = len(right) > 0 and float(free.max()) >= least_overlap
            if hit:
                taken[int(free.argmax())] = True
            hits.append((float(scores[i]), hit))
    total = sum(len(right) for right in true)
    if not hits or not total:
        return 0.0
    hits.sort(key=lambda pair: -pair[0])
    right_so_far = torch.tensor([hit for _, hit in hits], dtype=torch.float64).cumsum(0)
    precision = right_so_far / torch.arange(1, len(hits) + 1)
    # The best precision at this recall or a higher one.
    envelope = precision.flip(0).cummax(0).values.flip(0)
    recall = torch.cat([torch.zeros(1, dtype=torch.float64), right_so_far / total])
    return float((recall.diff() * envelope).sum())

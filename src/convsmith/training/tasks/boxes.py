# SPDX-License-Identifier: Apache-2.0
"""How good the boxes (left, top, right, bottom) are that a detector found.

Source: Everingham et al., The Pascal Visual Object Classes Challenge, 2010, section 4.2 (average
precision, as the area under the whole curve).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from convsmith.models.detection.boxes import overlaps


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

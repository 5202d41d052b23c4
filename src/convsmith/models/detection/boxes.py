# SPDX-License-Identifier: Apache-2.0
"""Boxes (left, top, right, bottom): how much two overlap, and which of many to keep."""

from __future__ import annotations

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


def kept(
    boxes: Tensor, scores: Tensor, classes: Tensor | None = None, *, most_overlap: float = 0.5
) -> Tensor:
    """Indices of boxes, best first, none of which overlaps a better one of its class by more than
    this (non-maximum suppression).

    Args:
        boxes: (n, 4). All overlaps are computed at once: n² numbers.
        scores: (n,). Of equal ones the earlier is the better.
        classes: (n,), whole numbers; None has one class.

    >>> boxes = torch.tensor([[0.0, 0, 9, 9], [1, 0, 10, 9], [30, 30, 40, 40]])
    >>> kept(boxes, torch.tensor([0.6, 0.9, 0.3]))
    tensor([1, 2])
    """
    order = scores.argsort(descending=True, stable=True)
    rivals = overlaps(boxes[order], boxes[order]) > most_overlap
    if classes is not None:
        rivals &= classes[order, None] == classes[None, order]
    free = torch.ones(len(order), dtype=torch.bool, device=order.device)
    for i in range(len(order)):
        # Whatever a box that is kept overlaps is out; it itself, and those before it, stay.
        if free[i]:
            free[i + 1 :] &= ~rivals[i, i + 1 :]
    return order[free]

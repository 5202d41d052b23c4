# SPDX-License-Identifier: Apache-2.0
"""What a detector says of an image: its boxes, each once.

Source: Lin et al., Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002, section 4.1,
"Inference"; there the best thousand are of each level, here of all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from convsmith.errors import ShapeError
from convsmith.models.detection.anchors import anchors, boxes_from_offsets
from convsmith.models.detection.boxes import kept

_CANDIDATES = 1000


@dataclass(frozen=True, kw_only=True)
class Detections:
    """Of one image, best first: boxes (n, 4) as (left, top, right, bottom) in its pixels, classes
    (n,) and scores (n,) from 0 to 1.
    """

    boxes: Tensor
    classes: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.scores)


def detections(
    scores: Tensor,
    offsets: Tensor,
    size: tuple[int, int],
    *,
    least_score: float = 0.05,
    most_overlap: float = 0.5,
    most: int = 100,
) -> list[Detections]:
    """The boxes in a detector's outputs, one `Detections` an image.

    Of all anchors and classes, those that score at least `least_score`, a thousand at most; of
    these, none that overlaps a better one of its class by more than `most_overlap`; of these, the
    best `most`, cut off at the edges of the image.

    Args:
        scores: (n, anchors, classes), raw.
        offsets: (n, anchors, 4).
        size: (height, width) of the images.

    Raises:
        ShapeError: if images of this size have another number of anchors.

    >>> scores = torch.full((1, 54, 2), -9.0)
    >>> scores[0, 3:5, 1] = torch.tensor([2.0, 1.0])  # two anchors around the first pixel
    >>> found = detections(scores, torch.zeros(1, 54, 4), (8, 16))[0]
    >>> found.boxes.tolist(), found.classes.tolist()
    ([[0.0, 0.0, 16.0, 8.0]], [1])
    """
    places = anchors(*size).to(offsets)
    if scores.shape[:2] != offsets.shape[:2] or offsets.shape[1:] != places.shape:
        raise ShapeError(
            f"detections: scores {tuple(scores.shape)} and offsets {tuple(offsets.shape)}; images "
            f"of {size[0]} x {size[1]} pixels have {len(places)} anchors: give the size of the "
            f"images that the detector saw"
        )
    found = []
    for sure, moved in zip(scores.sigmoid(), boxes_from_offsets(offsets, places), strict=True):
        anchor, kind = (sure >= least_score).nonzero().unbind(1)
        best = sure[anchor, kind].argsort(descending=True, stable=True)[:_CANDIDATES]
        anchor, kind = anchor[best], kind[best]
        boxes, level = moved[anchor], sure[anchor, kind]
        chosen = kept(boxes, level, kind, most_overlap=most_overlap)[:most]
        edge = boxes.new_tensor([size[1], size[0]] * 2)
        inside = torch.minimum(boxes[chosen].clamp(min=0), edge)
        found.append(Detections(boxes=inside, classes=kind[chosen], scores=level[chosen]))
    return found

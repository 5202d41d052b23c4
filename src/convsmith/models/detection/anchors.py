# SPDX-License-Identifier: Apache-2.0
"""Anchors: boxes laid out over an image, which a detector moves and stretches onto objects.

Boxes are (left, top, right, bottom) in pixels of the image.

Source: Lin et al., Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002, section 4; the
offsets are those of Girshick et al., Rich Feature Hierarchies, 2014, appendix C.
"""

from collections.abc import Sequence
from math import ceil, log, sqrt

import torch
from torch import Tensor

STRIDES = (8, 16, 32, 64, 128)
_SIDE = 4  # of the smallest anchor of a level, in strides
_SIZES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
_RATIOS = (0.5, 1.0, 2.0)  # height over width
PER_PLACE = len(_SIZES) * len(_RATIOS)
_LARGEST_STRETCH = log(1000 / 16)  # exp of more than this is a diverged network's, not a box's


def anchors(height: int, width: int, strides: Sequence[int] = STRIDES) -> Tensor:
    """The anchors of an image, in the order of the detector's outputs: shape (boxes, 4).

    Level by level, row by row, place by place; at each place, `PER_PLACE` boxes around the first
    pixel of its stride.

    >>> boxes = anchors(8, 16)
    >>> boxes.shape, boxes[3].tolist()
    (torch.Size([54, 4]), [-16.0, -16.0, 16.0, 16.0])
    """
    shapes = [(size / sqrt(ratio), size * sqrt(ratio)) for ratio in _RATIOS for size in _SIZES]
    halves = torch.tensor([(-w, -h, w, h) for w, h in shapes]) * (_SIDE / 2)
    levels = []
    for stride in strides:
        ys = torch.arange(ceil(height / stride)) * stride
        xs = torch.arange(ceil(width / stride)) * stride
        y, x = torch.meshgrid(ys, xs, indexing="ij")
        centres = torch.stack((x, y, x, y), -1).reshape(-1, 1, 4)
        levels.append((centres + halves * stride).reshape(-1, 4))
    return torch.cat(levels)


def boxes_from_offsets(offsets: Tensor, anchors: Tensor) -> Tensor:
    """centre = anchor's centre + offset * anchor's size; size = anchor's size * exp(offset)

    Args:
        offsets: (..., boxes, 4): of the centre's x and y, of width and height.
        anchors: (boxes, 4).

    >>> boxes_from_offsets(torch.zeros(1, 4), torch.tensor([[0.0, 0, 8, 6]]))
    tensor([[0., 0., 8., 6.]])
    """
    corner, opposite = anchors.chunk(2, -1)
    size = opposite - corner
    moved, stretched = offsets.chunk(2, -1)
    centre = (corner + opposite) / 2 + moved * size
    half = size * stretched.clamp(max=_LARGEST_STRETCH).exp() / 2
    return torch.cat((centre - half, centre + half), -1)


def offsets_to_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """The offsets from which `boxes_from_offsets` makes these boxes.

    >>> offsets_to_boxes(torch.tensor([[2.0, 0, 10, 6]]), torch.tensor([[0.0, 0, 8, 6]]))
    tensor([[0.2500, 0.0000, 0.0000, 0.0000]])
    """
    corner, opposite = anchors.chunk(2, -1)
    first, last = boxes.chunk(2, -1)
    size = opposite - corner
    moved = (first + last - corner - opposite) / (2 * size)
    return torch.cat((moved, ((last - first) / size).log()), -1)

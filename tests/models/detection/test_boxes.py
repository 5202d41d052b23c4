# SPDX-License-Identifier: Apache-2.0
"""Overlaps by hand and by counting pixels, and suppression against the slow way."""

import pytest
import torch
from torch import Tensor

from convsmith.models.detection.boxes import kept, overlaps

SQUARE = [0.0, 0, 10, 10]


def random_boxes(count: int, seed: int, side: int = 20) -> Tensor:
    """Boxes of whole pixels, some of them alike."""
    draws = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, side, (count, 2), generator=draws)
    sizes = torch.randint(1, side // 2, (count, 2), generator=draws)
    return torch.cat((corners, corners + sizes), 1).float()


def test_overlaps_of_boxes() -> None:
    a = torch.tensor([SQUARE, [20.0, 20, 30, 30]])
    b = torch.tensor([SQUARE, [5.0, 0, 15, 10], [0.0, 0, 10, 5]])
    expected = [[1, 50 / 150, 0.5], [0, 0, 0]]
    torch.testing.assert_close(overlaps(a, b), torch.tensor(expected))


def test_overlaps_are_pixels_counted() -> None:
    boxes = random_boxes(12, seed=1)
    pixels = torch.zeros(12, 40, 40, dtype=torch.bool)
    for mask, box in zip(pixels, boxes.int().tolist(), strict=True):
        mask[box[1] : box[3], box[0] : box[2]] = True
    for i in range(12):
        for j in range(12):
            shared = (pixels[i] & pixels[j]).sum() / (pixels[i] | pixels[j]).sum()
            assert overlaps(boxes[i : i + 1], boxes[j : j + 1]).item() == shared


def test_the_best_of_boxes_that_overlap_is_kept() -> None:
    boxes = torch.tensor([SQUARE, [1.0, 0, 11, 10], [20.0, 20, 30, 30], [0.0, 0, 10, 5]])
    # The second overlaps the first by 9 / 11; the last by half, which is not too much.
    assert kept(boxes, torch.tensor([0.6, 0.9, 0.3, 0.2])).tolist() == [1, 2, 3]
    assert kept(boxes[:0], torch.zeros(0)).tolist() == []
    # Of two classes, both stay.
    classes = torch.tensor([0, 1, 0, 0])
    assert kept(boxes, torch.tensor([0.6, 0.9, 0.3, 0.2]), classes).tolist() == [1, 0, 2, 3]


def by_hand(boxes: Tensor, scores: Tensor, classes: Tensor, most: float) -> list[int]:
    """Take the best that no box taken before it forbids, until none is left."""
    left, taken = list(range(len(boxes))), []
    while left:
        best = max(left, key=lambda i: (float(scores[i]), -i))
        taken.append(best)
        left = [
            i
            for i in left
            if i != best
            and (
                classes[i] != classes[best]
                or bool(overlaps(boxes[i : i + 1], boxes[best : best + 1]) <= most)
            )
        ]
    return taken


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("most", [0.0, 0.3, 0.5, 1.0])
def test_suppression_is_the_slow_one(seed: int, most: float) -> None:
    boxes = random_boxes(40, seed)
    draws = torch.Generator().manual_seed(100 + seed)
    scores = torch.randint(0, 15, (40,), generator=draws) / 15  # with ties
    classes = torch.randint(0, 3, (40,), generator=draws)
    expected = by_hand(boxes, scores, classes, most)
    assert kept(boxes, scores, classes, most_overlap=most).tolist() == expected
    alone = by_hand(boxes, scores, torch.zeros(40), most)
    assert kept(boxes, scores, most_overlap=most).tolist() == alone

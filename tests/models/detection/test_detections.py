# SPDX-License-Identifier: Apache-2.0
"""From a detector's outputs to boxes: what is found, cut off, and refused."""

import pytest
import torch
from torch import Tensor

from convsmith import models
from convsmith.errors import ShapeError
from convsmith.models.detection.anchors import anchors, boxes_from_offsets
from convsmith.models.detection.boxes import overlaps
from convsmith.models.detection.detections import detections

SIZE = (48, 64)
ANCHORS = len(anchors(*SIZE))


def outputs(seed: int, images: int = 2, classes: int = 3) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    scores = torch.randn(images, ANCHORS, classes, generator=draws) * 2 - 4
    return scores, torch.randn(images, ANCHORS, 4, generator=draws) * 0.2


@pytest.mark.parametrize("seed", range(3))
def test_all_is_found_that_the_slow_way_finds(seed: int) -> None:
    scores, offsets = outputs(seed)
    found = detections(scores, offsets, SIZE, least_score=0.3, most_overlap=0.4, most=10**6)
    sure = scores.sigmoid()
    moved = boxes_from_offsets(offsets, anchors(*SIZE))
    for image in range(2):
        pairs = [(float(sure[image, a, k]), a, k) for a in range(ANCHORS) for k in range(3)]
        pairs = sorted((p for p in pairs if p[0] >= 0.3), key=lambda p: -p[0])
        taken: list[tuple[float, int, int]] = []
        for score, a, k in pairs:
            box = moved[image, a : a + 1]
            rivals = [b for _, b, kind in taken if kind == k]
            if all(overlaps(box, moved[image, b : b + 1]).item() <= 0.4 for b in rivals):
                taken.append((score, a, k))
        assert len(found[image]) == len(taken) > 5
        assert found[image].classes.tolist() == [k for *_, k in taken]
        assert found[image].scores.tolist() == [score for score, *_ in taken]
        inside = moved[image, [a for _, a, _ in taken]].clamp(min=0)
        inside = torch.minimum(inside, torch.tensor([64.0, 48, 64, 48]))
        assert torch.equal(found[image].boxes, inside)


def test_no_more_than_asked_for_and_the_best() -> None:
    scores, offsets = outputs(7, images=1)
    every, few = (detections(scores, offsets, SIZE, most=most)[0] for most in (100, 5))
    assert len(few) == 5
    assert torch.equal(few.scores, every.scores[:5])
    assert every.scores.diff().max() <= 0
    assert len(detections(scores, offsets, SIZE, least_score=1.1)[0]) == 0


def test_outputs_of_another_size_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"images of 32 x 64 pixels have \d+ anchors: give the si"):
        detections(*outputs(0), (32, 64))


def test_a_detector_detects() -> None:
    model = models.create("rednet50_retinanet", depth=26, width=0.0625, num_classes=3)
    x = torch.randn(2, 3, *SIZE)
    found = model.detect(x, least_score=0.0, most=7)
    assert [len(image) for image in found] == [7, 7]
    assert torch.equal(
        found[1].boxes, detections(*model(x), SIZE, least_score=0.0, most=7)[1].boxes
    )

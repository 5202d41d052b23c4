# SPDX-License-Identifier: Apache-2.0
"""Boxes and their classes: which anchors are asked, the loss by hand, and a network that learns."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from convsmith.errors import ArgumentError
from convsmith.models.detection.anchors import offsets_to_boxes
from convsmith.models.detection.boxes import overlaps
from convsmith.training import Recipe, train_network
from convsmith.training.draws import Draws
from convsmith.training.tasks import Detection

TASK = Detection(num_classes=2, size=64)
BOXES = torch.tensor([[[1.0, 4, 8, 44, 40], [-1.0, -1, -1, -1, -1]]])


def perfect(y: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and offsets that say exactly what is in one image, on the anchors that hold it."""
    scores = torch.full((1, len(TASK.anchors), 2), -20.0)
    offsets = torch.zeros(1, len(TASK.anchors), 4)
    for number, *sides in y[0][y[0, :, 0] >= 0].tolist():
        box = torch.tensor([sides]).expand_as(TASK.anchors)
        offsets[0] = offsets_to_boxes(box, TASK.anchors)
        holding = overlaps(TASK.anchors, torch.tensor([sides]))[:, 0] >= 0.5
        scores[0, holding, int(number)] = 20.0
    return scores, offsets


def test_no_box_is_no_box() -> None:
    empty = torch.full((1, 1, 5), -1.0)
    scores = torch.zeros(1, len(TASK.anchors), 2)
    offsets = torch.zeros(1, len(TASK.anchors), 4)
    # Every score is 1/2: 3/4 of (1/2)² log 2, for each anchor and class.
    expected = 0.75 * 0.25 * math.log(2) * scores.numel()
    assert float(TASK.loss((scores, offsets), empty, Recipe())) == pytest.approx(expected, rel=1e-5)


def test_the_right_answer_costs_least() -> None:
    scores, offsets = perfect(BOXES)
    unsure, moved = torch.zeros_like(scores), offsets + 0.5
    losses = [
        float(TASK.loss(output, BOXES, Recipe()))
        for output in ((scores, offsets), (scores, moved), (unsure, offsets))
    ]
    assert losses[0] < losses[1]
    assert losses[0] < losses[2]


def test_other_anchors_are_an_error() -> None:
    with pytest.raises(ArgumentError, match=r"scores \(1, 7, 2\); 2 classes in images of 64 x 64"):
        TASK.loss((torch.zeros(1, 7, 2), torch.zeros(1, 7, 4)), BOXES, Recipe())


def test_boxes_are_mirrored_with_their_image() -> None:
    x = torch.zeros(40, 1, 64, 64)
    x[:, :, 8:40, 4:44] = 1
    y = BOXES.expand(40, -1, -1)
    draws = Draws(images=40, generator=torch.Generator().manual_seed(0))
    images, boxes = TASK.augmented(x, y, Recipe(flip=True), draws)
    lefts = set()
    for image, rows in zip(images, boxes, strict=True):
        left, top, right, bottom = (int(side) for side in rows[0, 1:])
        lefts.add(left)
        assert image[0, top:bottom, left:right].min() == 1
        assert image.sum() == (bottom - top) * (right - left)
        assert rows[1, 0] == -1
    assert lefts == {4, 20}


class Fixed(nn.Module):
    def __init__(self, output: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.output = output

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.output


class One:
    """One image."""

    def __init__(self, y: Tensor) -> None:
        self.y = y

    def __len__(self) -> int:
        return 1

    def batch(self, indices: object) -> tuple[Tensor, Tensor]:
        return torch.zeros(1, 3, 64, 64), self.y

    def part(self, indices: object) -> "One":
        return self


def test_what_is_found_is_measured() -> None:
    assert TASK.measure(Fixed(perfect(BOXES)), One(BOXES), 1) == {"held_out_ap50": 1.0}
    other = BOXES.clone()
    other[0, 0, 0] = 0
    assert TASK.measure(Fixed(perfect(BOXES)), One(other), 1) == {"held_out_ap50": 0.0}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_detector_learns_squares(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(30):
        pixels = rng.integers(0, 60, (64, 64, 3)).astype(np.uint8)
        side = int(rng.integers(24, 40))
        left, top = rng.integers(0, 64 - side, 2).tolist()
        number = i % 2
        pixels[top : top + side, left : left + side, number] = 220
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png"})
        bbox = [left, top, side, side]
        annotations.append({"image_id": i, "category_id": number, "bbox": bbox})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 0}, {"id": 1}]}
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    recipe = {"epochs": 40, "lr": 3e-3}
    trained = train_network("rednet50_retinanet", tmp_path, recipe, size=64, width=0.0625, depth=26)
    assert trained.result.measures["held_out_ap50"] > 0.5

# SPDX-License-Identifier: Apache-2.0
"""Images with boxes described as COCO's are; and all that is wrong said at once."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convsmith.errors import FormatError
from convsmith.models import find
from convsmith.training import training_data

STEPS = replace(find("rednet50_retinanet").preprocess, size=64)


def described(folder: Path, boxes: list[dict[str, Any]], images: int = 5) -> Path:
    (folder / "images").mkdir(parents=True)
    for i in range(images):
        pixels = np.full((40, 80, 3), 10 * i, np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
    content = {
        "images": [{"id": 100 + i, "file_name": f"some/where/{i}.png"} for i in range(images)],
        "annotations": boxes,
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def box(image: int, category: int, *sides: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": list(sides)}


def test_boxes_are_scaled_with_their_images(tmp_path: Path) -> None:
    boxes = [box(100 + i, 7, 10, 5, 20, 10) for i in range(5)] + [box(101, 3, 0, 0, 80, 40)]
    data = training_data(described(tmp_path, boxes), STEPS)
    assert (len(data.train), len(data.held_out)) == (4, 1)
    assert data.options == {"num_classes": 2}
    x, y = data.train.batch(range(4))
    assert x.shape == (4, 3, 64, 64)
    assert y.shape == (4, 2, 5)
    # 80 x 40 pixels become 64 x 64; categories are numbered in the order of their ids.
    assert all(rows[0].tolist() == [1, 8, 8, 24, 24] for rows in y)
    second = sorted(rows[1].tolist() for rows in y)
    assert second == [[-1] * 5] * 3 + [[0, 0, 0, 64, 64]]


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    boxes = [
        box(100, 7, 1, 1, 5, 5),
        box(999, 7, 1, 1, 5, 5),
        box(101, 8, 1, 1, 5, 5),
        box(102, 3, 70, 1, 20, 5),
        box(102, 3, 1, 1, 0, 5),
        box(103, 3, 1, 1, 5),
    ]
    folder = described(tmp_path, boxes)
    (folder / "images" / "4.png").write_bytes(b"torn")
    (folder / "images" / "1.png").unlink()
    with pytest.raises(FormatError, match="7 files or folders cannot be used") as caught:
        training_data(folder, STEPS)
    for said in (
        "4.png: no readable image: cannot identify",
        "1.png: no readable image: ",
        "annotation 1: there is no image 999",
        "annotation 2: there is no category 8; known are [3, 7]",
        "annotation 3: its box [70, 1, 20, 5] is not within 80 x 40 pixels",
        "annotation 4: its box [1, 1, 0, 5] is not within",
        "annotation 5: its box [1, 1, 5] is not [left, top, width, height]",
    ):
        assert said in str(caught.value), said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 100_000, "it is no description of images, annotations and categories"),
        ("{", "it is no description of images, annotations and categories"),
        ("[]", "it is no description of images, annotations and categories"),
        ('{"images": [{}], "annotations": [], "categories": []}', "image 0: its id is None"),
        ('{"images": [], "annotations": [], "categories": []}', "it lists no images"),
    ],
)
def test_a_description_that_is_none_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "annotations.json").write_text(content)
    with pytest.raises(FormatError, match=said):
        training_data(tmp_path, STEPS)


def test_a_description_that_contradicts_itself_is_said(tmp_path: Path) -> None:
    folder = described(tmp_path, [box(100, 7, 1, 1, 5, 5)])
    content = json.loads((folder / "annotations.json").read_text())
    content["images"][3]["file_name"] = "elsewhere/2.png"
    content["images"][4] |= {"id": 100, "width": 80, "height": 41}
    content["categories"] += [{"id": 3, "name": "again"}, {"id": "seven"}]
    content["annotations"] += [None, {**box(100, 7, 1, 1, 5, 5), "image_id": [100]}]
    content["annotations"] += [box(100, 7, 1, True, 5, 5)]
    (folder / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(FormatError, match="10 files or folders cannot be used") as caught:
        training_data(folder, STEPS)
    for said in (
        "image 3: its file_name 2.png is that of",
        "image 4: its id 100 is that of",
        "4.png: it is 80 x 40 pixels, described as (80, 41)",
        "category 2: its id 3 is that of",
        "category 3: its id is 'seven', not a whole number",
        "annotation 1: its bbox is None, not a box",
        "annotation 2: its image_id is [100], not a whole number or a word",
        "annotation 3: its box [1, True, 5, 5] is not [left, top, width, height]",
    ):
        assert said in str(caught.value), said


def test_a_box_around_a_crowd_is_left_out(tmp_path: Path) -> None:
    boxes = [box(100 + i, 7, 10, 5, 20, 10) for i in range(5)]
    crowds = [{**box(100 + i, 7, 0, 0, 80, 40), "iscrowd": 1} for i in range(5)]
    data = training_data(described(tmp_path, boxes + crowds), STEPS)
    assert data.train.batch(range(4))[1].shape == (4, 1, 5)


def test_more_classes_than_outputs_is_said(tmp_path: Path) -> None:
    folder = described(tmp_path, [])
    with pytest.raises(FormatError, match="it has 2 classes, not 1"):
        training_data(folder, STEPS, num_classes=1)

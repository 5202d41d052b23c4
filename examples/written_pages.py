# SPDX-License-Identifier: Apache-2.0
"""A folder of pages with handwritten digits and the boxes around them, to train a detector on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convsmith.training.datasets import root as roots

SIDE, PAGES, LARGEST = 96, 200, 3  # pixels, how many, and digits on one
# Of a digit with its border, in pixels; the digit itself has five sevenths of it. The smallest
# boxes that RetinaNet looks for have 32 pixels a side.
_SIZES = (40, 66)


def write_pages(folder: Path, data_root: Path | None) -> Path:
    """Digits of MNIST at random places and sizes, none over another, as PNG and COCO's JSON: one
    class, "digit"; the same ones every time.
    """
    (file,) = roots.find("mnist", ["mnist/train_first10000.npz"], data_root)
    with np.load(file) as content:
        digits = content["x"]
    dice = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(PAGES):
        page, boxes = _page(dice, digits)
        name = f"{number:03}.png"
        Image.fromarray(page).save(folder / "images" / name)
        images.append({"id": number, "file_name": name})
        annotations += [{"image_id": number, **box} for box in boxes]
    described = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "digit"}],
    }
    (folder / "annotations.json").write_text(json.dumps(described))
    return folder


def _page(dice: np.random.Generator, digits: np.ndarray) -> tuple[np.ndarray, list[dict[str, Any]]]:
    page, boxes = np.zeros((SIDE, SIDE), np.uint8), []
    for _ in range(dice.integers(1, LARGEST + 1)):
        which, side = int(dice.integers(len(digits))), int(dice.integers(*_SIZES))
        left, top = (int(at) for at in dice.integers(0, SIDE - side, 2))
        here = np.s_[top : top + side, left : left + side]
        if page[here].any():
            continue
        page[here] = np.asarray(Image.fromarray(digits[which]).resize((side, side)))
        rows, columns = (np.flatnonzero(page[here].any(axis)) for axis in (1, 0))
        box = [left + columns[0], top + rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]
        boxes.append({"category_id": 1, "bbox": [int(n) for n in box]})
    return page, boxes

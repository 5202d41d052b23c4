# SPDX-License-Identifier: Apache-2.0
"""Images with boxes around what is in them, described by one file of JSON as COCO's are.

Source: Lin et al., Microsoft COCO: Common Objects in Context, 2014, arXiv:1405.0312.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from convsmith.models import Preprocess
from convsmith.training.data import TrainingData, split
from convsmith.training.datasets.findings import Findings
from convsmith.training.recipe import Recipe
from convsmith.training.tasks import Detection

DESCRIPTION = "annotations.json"


@dataclass(frozen=True, kw_only=True)
class BoxSet:
    """Images with boxes (class, left, top, right, bottom), in pixels of the file.

    A batch is `(x, y)`: x (n, channels, size, size), y (n, most boxes, 5) in pixels of x; class -1
    fills up images with fewer boxes.
    """

    images: Sequence[Path]
    boxes: Sequence[Sequence[tuple[float, ...]]]
    preprocess: Preprocess

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The images of these indices, squashed to squares, and their boxes."""
        steps = replace(self.preprocess, crop=None)  # what is cropped away may be in a box
        y = torch.full((len(indices), max(1, *(len(self.boxes[i]) for i in indices), 1), 5), -1.0)
        x = []
        for row, i in enumerate(indices):
            with Image.open(self.images[i]) as image:
                x.append(steps(image))
                scale = [steps.size / side for side in image.size] * 2
            for column, (number, *sides) in enumerate(self.boxes[i]):
                scaled = (side * factor for side, factor in zip(sides, scale, strict=True))
                y[row, column] = torch.tensor([number, *scaled])
        return torch.stack(x), y

    def part(self, indices: Sequence[int]) -> BoxSet:
        """The images of these indices as a set of their own."""
        return replace(
            self,
            images=[self.images[i] for i in indices],
            boxes=[self.boxes[i] for i in indices],
        )


def from_folder(
    folder: Path, preprocess: Preprocess, num_classes: int | None, held_out: float, seed: int
) -> TrainingData:
    """A folder with `annotations.json` and images, in it or in its `images/`.

    Raises:
        FormatError: if the description or an image is damaged, or a box is not in its image; each
            is named.
    """
    findings = Findings(folder)
    described = _described(folder / DESCRIPTION, findings)
    names = sorted(int(category["id"]) for category in described.get("categories", []))
    outputs = len(names) if num_classes is None else num_classes
    if not described.get("images"):
        findings.add(folder / DESCRIPTION, "it lists no images")
    if outputs < len(names):
        findings.add(folder / DESCRIPTION, f"it has {len(names)} classes, not {outputs}")
    files: dict[Any, Path] = {}
    sizes: dict[Any, tuple[int, int]] = {}
    for listed in described.get("images", []):
        file = _file(folder, str(listed["file_name"]))
        image = findings.image(file)
        if image is not None:
            files[listed["id"]], sizes[listed["id"]] = file, image.size
    boxes: dict[Any, list[tuple[float, ...]]] = {number: [] for number in files}
    known = {listed["id"] for listed in described.get("images", [])}
    for number, box in enumerate(described.get("annotations", [])):
        where = f"{folder / DESCRIPTION}, annotation {number}"
        found = _box(box, names, known, sizes, where, findings)
        if found is not None:
            boxes[box["image_id"]].append(found)
    findings.close()
    order = sorted(files, key=lambda number: files[number])
    return split(
        BoxSet(
            images=[files[number] for number in order],
            boxes=[boxes[number] for number in order],
            preprocess=preprocess,
        ),
        held_out=max(1, round(len(order) * held_out)),
        seed=seed,
        task=Detection(outputs, preprocess.size),
        recipe=Recipe(batch_size=4, lr=1e-3, flip=True),
        options={"num_classes": outputs},
    )


def _described(file: Path, findings: Findings) -> Mapping[str, Any]:
    try:
        described = json.loads(file.read_text())
        for key, fields in (
            ("images", {"id", "file_name"}),
            ("annotations", {"image_id", "category_id", "bbox"}),
            ("categories", {"id"}),
        ):
            for entry in described[key]:
                if fields - set(entry):
                    raise KeyError(f"{key} need {sorted(fields)}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        findings.add(file, f"it is no description of images, annotations and categories: {error}")
        return {}
    return described


def _file(folder: Path, name: str) -> Path:
    """A name in a file may not lead out of the folder: its last part is what counts."""
    plain = Path(name).name
    return next(
        (f for f in (folder / "images" / plain, folder / plain) if f.exists()), folder / plain
    )


def _box(
    box: Mapping[str, Any],
    names: Sequence[int],
    known: set[Any],
    sizes: Mapping[Any, tuple[int, int]],
    where: str,
    findings: Findings,
) -> tuple[float, ...] | None:
    """(class, left, top, right, bottom); None where it cannot be used."""
    if box["image_id"] not in known:
        findings.add(where, f"there is no image {box['image_id']}")
        return None
    if box["category_id"] not in names:
        findings.add(where, f"there is no category {box['category_id']}; known are {[*names]}")
        return None
    if box["image_id"] not in sizes:
        return None  # the image itself is a finding
    width, height = sizes[box["image_id"]]
    try:
        left, top, w, h = (float(side) for side in box["bbox"])
    except (TypeError, ValueError):
        findings.add(where, f"its box {box['bbox']} is not [left, top, width, height]")
        return None
    # Half a pixel over the edge is rounding; more is another image's box.
    slack = 0.5
    if not (
        w > 0
        and h > 0
        and -slack <= left <= left + w <= width + slack
        and -slack <= top <= top + h <= height + slack
    ):
        findings.add(where, f"its box {box['bbox']} is not within {width} x {height} pixels")
        return None
    return (float(names.index(box["category_id"])), left, top, left + w, top + h)

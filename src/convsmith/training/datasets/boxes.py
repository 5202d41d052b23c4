# SPDX-License-Identifier: Apache-2.0
"""Images with boxes around what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from convsmith.models import Preprocess
from convsmith.training.data import TrainingData, split
from convsmith.training.datasets.coco import DESCRIPTION, described
from convsmith.training.datasets.findings import Findings
from convsmith.training.recipe import Recipe
from convsmith.training.tasks import Detection


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
    found = described(folder, findings)
    outputs = found.classes if num_classes is None else num_classes
    if outputs < found.classes:
        findings.add(folder / DESCRIPTION, f"it has {found.classes} classes, not {outputs}")
    findings.close()
    files = sorted(found.boxes)
    return split(
        BoxSet(
            images=files,
            boxes=[found.boxes[file] for file in files],
            preprocess=preprocess,
        ),
        held_out=max(1, round(len(files) * held_out)),
        seed=seed,
        task=Detection(outputs, preprocess.size),
        recipe=Recipe(batch_size=4, lr=1e-3, flip=True),
        options={"num_classes": outputs},
    )

# SPDX-License-Identifier: Apache-2.0
"""Photos and what is left of them at half the size; held out are four images of Set14.

Source: Zeyde, Elad and Protter, On Single Image Scale-Up Using Sparse-Representations, 2010.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from convsmith.errors import FormatError
from convsmith.models import Preprocess
from convsmith.training.data import TrainingData
from convsmith.training.datasets import root as roots
from convsmith.training.datasets.findings import Findings
from convsmith.training.datasets.images import image_files
from convsmith.training.recipe import Recipe
from convsmith.training.tasks import SuperResolution

SCALE = 2


@dataclass(frozen=True, kw_only=True)
class EnlargedSet:
    """Small images and the same ones large. A batch is `(x, y)`: (n, c, h, w) and
    (n, c, scale h, scale w); its images are of one size.
    """

    small: Sequence[Image.Image]
    large: Sequence[Image.Image]
    preprocess: Preprocess

    def __len__(self) -> int:
        return len(self.small)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The images of these indices."""
        x, y = (
            torch.stack([self.preprocess.at_own_size(images[i]) for i in indices])
            for images in (self.small, self.large)
        )
        return x, y

    def part(self, indices: Sequence[int]) -> EnlargedSet:
        """The images of these indices as a set of their own."""
        small, large = ([images[i] for i in indices] for images in (self.small, self.large))
        return replace(self, small=small, large=large)


def load(preprocess: Preprocess, root: str | Path | None = None) -> TrainingData:
    """Patches of the photos to train on, of `preprocess.size` pixels before they are enlarged;
    whole images of Set14 held out.

    Raises:
        ArgumentError: if a folder is missing.
        FormatError: if an image is damaged, or none is large enough for one patch.
    """
    photos, set14 = roots.find("set14", ["photos", "set14"], root)
    patches = [
        patch
        for pair in _pairs(photos, preprocess.colour)
        for patch in _patches(*pair, preprocess.size)
    ]
    if not patches:
        raise FormatError(
            f"data set14: no photo in {photos} holds {SCALE * preprocess.size} x "
            f"{SCALE * preprocess.size} pixels; give a smaller size than {preprocess.size}"
        )
    train, held_out = (
        EnlargedSet(
            small=[small for small, _ in pairs],
            large=[large for _, large in pairs],
            preprocess=preprocess,
        )
        for pairs in (patches, list(_pairs(set14, preprocess.colour)))
    )
    return TrainingData(
        train=train,
        held_out=held_out,
        task=SuperResolution(SCALE),
        recipe=Recipe(batch_size=16, lr=2e-3, weight_decay=0.0, flip=True),
    )


def _pairs(folder: Path, colour: str) -> Iterator[tuple[Image.Image, Image.Image]]:
    findings = Findings(folder)
    images = [findings.image(file) for file in image_files(folder)]
    findings.close()
    for image in images:
        assert image is not None, "close has raised"
        w, h = (side // SCALE for side in image.size)
        large = image.convert(colour).crop((0, 0, SCALE * w, SCALE * h))
        yield large.resize((w, h), Image.Resampling.BICUBIC), large


def _patches(
    small: Image.Image, large: Image.Image, size: int
) -> Iterator[tuple[Image.Image, Image.Image]]:
    for top in range(0, small.height - size + 1, size):
        for left in range(0, small.width - size + 1, size):
            box = (left, top, left + size, top + size)
            far = (SCALE * left, SCALE * top, SCALE * (left + size), SCALE * (top + size))
            yield small.crop(box), large.crop(far)

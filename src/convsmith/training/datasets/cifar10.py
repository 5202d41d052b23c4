# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10: ten classes of colour images of 32 x 32 pixels; 7,000 of them.

The first 2,000 training images are here without loss, and 5,000 drawn from all of them as JPEG.
Every fifth JPEG is held out. Some images are in both groups: a lossless one whose JPEG is held out
is not trained on.

Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from convsmith.errors import FormatError
from convsmith.models import Preprocess
from convsmith.training.data import TrainingData
from convsmith.training.datasets import root as roots
from convsmith.training.datasets.images import ImageSet, load_images
from convsmith.training.recipe import Recipe
from convsmith.training.tasks import Classification

_FILES = ["cifar10/lossless_train_0_1999.npz", "cifar10/jpeg_train_500_per_class.tar.xz"]
# Root mean square, in grey levels: JPEG moves an image by at most 14, another one is 16 away.
_SAME_IMAGE = 15.0


def load(preprocess: Preprocess, root: str | Path | None = None) -> TrainingData:
    """4,000 JPEGs and the lossless images to train on, 1,000 JPEGs held out.

    Raises:
        ArgumentError: if a file is missing.
        FormatError: if one is damaged.
    """
    lossless_file, jpeg_file = roots.find("cifar10", _FILES, root)
    lossless = load_images(lossless_file, preprocess)
    pixels, classes = _unpacked(jpeg_file)
    held_out = np.arange(len(pixels)) % 5 == 0
    whole = np.asarray(lossless.images)
    unseen = ~_shown_in(whole, pixels[held_out])

    def images(x: np.ndarray, y: np.ndarray) -> ImageSet:
        return ImageSet(images=x, classes=y, preprocess=preprocess)

    return TrainingData(
        train=images(
            np.concatenate([pixels[~held_out], whole[unseen]]),
            np.concatenate([classes[~held_out], lossless.classes[unseen]]),
        ),
        held_out=images(pixels[held_out], classes[held_out]),
        task=Classification(),
        recipe=Recipe(shift=4, flip=True),
        options={"num_classes": 10},
    )


def _unpacked(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and classes of every `.../class name/number.jpg`; classes in the order of names."""
    try:
        with tarfile.open(file) as archive:
            members = sorted((m.name, m) for m in archive if m.isfile())
            opened = [(name, archive.extractfile(member)) for name, member in members]
            pixels = [np.asarray(Image.open(io.BytesIO(f.read()))) for _, f in opened if f]
        names = [name.split("/")[-2] for name, _ in members]
        classes = np.unique(names, return_inverse=True)[1]
        return np.stack(pixels), classes.astype(np.int64)
    except (tarfile.TarError, OSError, EOFError, ValueError, IndexError) as error:
        raise FormatError(f"cifar10: {file} cannot be read: {error}") from None


def _shown_in(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which images are, but for the loss of JPEG, among the others."""
    a, b = (pixels.reshape(len(pixels), -1).astype(np.float64) for pixels in (images, others))
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return squares.min(1) < _SAME_IMAGE**2 * a.shape[1]

# SPDX-License-Identifier: Apache-2.0
"""The data sets by name, and what else `--data` may be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from convsmith.errors import ArgumentError
from convsmith.models import Preprocess
from convsmith.training.data import TrainingData, split
from convsmith.training.datasets import cifar10, digits, mnist
from convsmith.training.datasets.images import load_images
from convsmith.training.tasks import Classification

DATASETS: dict[str, Callable[[Preprocess, Path | None], TrainingData]] = {
    "digits": digits.load,
    "mnist": mnist.mnist,
    "fashion_mnist": mnist.fashion_mnist,
    "cifar10": cifar10.load,
}
_HELD_OUT_FRACTION = 0.2


def training_data(
    source: str | Path,
    preprocess: Preprocess,
    *,
    root: str | Path | None = None,
    seed: int = 0,
) -> TrainingData:
    """A data set by its name, or labelled images in a folder or `.npz` (see `load_images`), a fifth
    of them held out.

    Args:
        preprocess: How an image becomes the network's input.
        root: Where data sets lie by their names; None looks in CONVSMITH_DATA, then beside.
        seed: Chooses what is held out of a folder or file; data sets have their own choice.

    Raises:
        ArgumentError: if there is no such data set, folder or file.
        FormatError: if a file is damaged.
    """
    if str(source) in DATASETS:
        return DATASETS[str(source)](preprocess, None if root is None else Path(root))
    if not Path(source).exists():
        raise ArgumentError(
            f"data {source}: no such folder or file, and no data set of that name; known are "
            f"{', '.join(DATASETS)}"
        )
    images = load_images(source, preprocess)
    held_out = max(1, round(len(images) * _HELD_OUT_FRACTION))
    return split(images, held_out=held_out, seed=seed, task=Classification())

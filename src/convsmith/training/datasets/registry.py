# SPDX-License-Identifier: Apache-2.0
"""The data sets by name, and what else `--data` may be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from convsmith.errors import ArgumentError
from convsmith.models import Preprocess
from convsmith.training.data import TrainingData, split
from convsmith.training.datasets import (
    boxes,
    cifar10,
    coco,
    digits,
    faces,
    mnist,
    moving_digits,
    segmented,
    set14,
)
from convsmith.training.datasets.images import load_images
from convsmith.training.datasets.inspection import require_sound
from convsmith.training.datasets.label_maps import folders_of
from convsmith.training.tasks import Classification

DATASETS: dict[str, Callable[[Preprocess, Path | None], TrainingData]] = {
    "digits": digits.load,
    "mnist": mnist.mnist,
    "fashion_mnist": mnist.fashion_mnist,
    "cifar10": cifar10.load,
    "membrane": segmented.membrane,
    "camvid": segmented.camvid,
    "set14": set14.load,
    "faces": faces.load,
    "moving_digits": moving_digits.load,
}
_HELD_OUT_FRACTION = 0.2


def training_data(
    source: str | Path,
    preprocess: Preprocess,
    *,
    root: str | Path | None = None,
    seed: int = 0,
    num_classes: int | None = None,
) -> TrainingData:
    """A data set by its name, or a folder or `.npz` of labelled images (see `load_images`), or a
    folder of images beside one of label maps (see `load_maps`), or images with the boxes that an
    `annotations.json` describes; a fifth of them held out.

    The files of a folder are all looked at before anything else happens.

    Args:
        preprocess: How an image becomes the network's input.
        root: Where data sets lie by their names; None looks in CONVSMITH_DATA, then beside.
        num_classes: How many classes a folder or file may have; None finds out.
        seed: Chooses what is held out of a folder or file; data sets have their own choice.

    Raises:
        ArgumentError: if there is no such data set, folder or file.
        FormatError: if files are damaged or do not fit together; each is named.
    """
    if str(source) in DATASETS:
        return DATASETS[str(source)](preprocess, None if root is None else Path(root))
    if not Path(source).exists():
        raise ArgumentError(
            f"data {source}: no such folder or file, and no data set of that name; known are "
            f"{', '.join(DATASETS)}"
        )
    path = Path(source)
    if (path / coco.DESCRIPTION).exists():
        return boxes.from_folder(path, preprocess, num_classes, _HELD_OUT_FRACTION, seed)
    if folders_of(path) is not None:
        return segmented.from_folder(path, preprocess, num_classes, _HELD_OUT_FRACTION, seed)
    images = load_images(path, preprocess)
    require_sound(path, images, num_classes)
    outputs = int(images.classes.max()) + 1 + preprocess.label_offset
    return split(
        images,
        held_out=max(1, round(len(images) * _HELD_OUT_FRACTION)),
        seed=seed,
        task=Classification(),
        options={"num_classes": outputs},
    )

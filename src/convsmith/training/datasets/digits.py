# SPDX-License-Identifier: Apache-2.0
"""The real handwritten digits that scikit-learn carries: 1797 images of 8 x 8 pixels.

The file is read where scikit-learn lies; scikit-learn itself is not imported.

Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, 1998, UCI Machine Learning
Repository.
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
from torch import Tensor

from convsmith.errors import FormatError, UnsupportedError
from convsmith.models import Preprocess, find
from convsmith.training.data import TrainingData, split
from convsmith.training.datasets.images import ImageSet
from convsmith.training.tasks import Classification

_IMAGES, _PIXELS, _GREY_LEVELS, _CLASSES = 1797, 8 * 8, 16, 10
HELD_OUT = 397
_SPLIT_SEED = 0


def load(preprocess: Preprocess, root: Path | None = None) -> TrainingData:
    """1400 images to train on and 397 held out, always the same ones.

    The 17 grey levels become 0 to 255; `preprocess` resizes (Pillow, bilinear for `digits_vgg`).

    Raises:
        UnsupportedError: if scikit-learn is not installed.
        FormatError: if its file is not the one expected.
    """
    table = _table(_file())
    pixels = np.rint(table[:, :-1] * (255 / _GREY_LEVELS)).astype(np.uint8).reshape(-1, 8, 8)
    images = ImageSet(images=pixels, classes=table[:, -1].astype(np.int64), preprocess=preprocess)
    return split(
        images,
        held_out=HELD_OUT,
        seed=_SPLIT_SEED,
        task=Classification(),
        options={"num_classes": _CLASSES},
    )


def held_out(preprocess: Preprocess | None = None) -> tuple[Tensor, Tensor]:
    """The 397 images no training has seen, (397, 1, 32, 32), and their digits; prepared for
    `digits_vgg` unless told otherwise.
    """
    images = load(preprocess or find("digits_vgg").preprocess).held_out
    return images.batch(range(len(images)))


def _file() -> Path:
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise UnsupportedError(
            "digits: scikit-learn, which carries the images, is not installed; "
            "pip install scikit-learn"
        )
    return Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"


def _table(file: Path) -> np.ndarray:
    try:
        with gzip.open(file, "rt") as lines:
            table = np.loadtxt(lines, delimiter=",", ndmin=2)
    except (OSError, EOFError, ValueError) as error:
        raise FormatError(f"digits: {file} cannot be read: {error}") from None
    if table.shape != (_IMAGES, _PIXELS + 1):
        raise FormatError(
            f"digits: {file} has {table.shape[0]} rows of {table.shape[1]} numbers; expected "
            f"{_IMAGES} of {_PIXELS + 1}"
        )
    return table

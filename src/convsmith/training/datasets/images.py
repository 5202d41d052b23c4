# SPDX-License-Identifier: Apache-2.0
"""Labelled images from a folder or an `.npz`, prepared batch by batch: memory stays small."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from convsmith.errors import FormatError
from convsmith.models import Preprocess
from convsmith.training.datasets.findings import UNREADABLE, Findings

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_CLASS_FIRST = re.compile(r"(\d+)(?!\d)")


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images with the number of their class: files, or one uint8 array (n, h, w[, channels]).

    Nothing is decoded before its batch is asked for. A batch is `(x, y)`: x float32 of shape
    (n, channels, size, size), y the indices of the right outputs (class + label offset).
    """

    images: Sequence[Path] | np.ndarray
    classes: np.ndarray  # int64, one number an image
    preprocess: Preprocess

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labels(self) -> Tensor:
        """The index of the right output of every image."""
        return torch.from_numpy(self.classes + self.preprocess.label_offset)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The images of these indices, decoded and prepared.

        Raises:
            FormatError: if a file is no image; it is named.
        """
        pixels = [self._prepared(i) for i in indices]
        numbers = self.classes[list(indices)] + self.preprocess.label_offset
        return torch.stack(pixels), torch.from_numpy(numbers)

    def part(self, indices: Sequence[int]) -> ImageSet:
        """The images of these indices as a set of their own."""
        chosen = (
            self.images[list(indices)]
            if isinstance(self.images, np.ndarray)
            else [self.images[i] for i in indices]
        )
        return replace(self, images=chosen, classes=self.classes[list(indices)])

    def _prepared(self, index: int) -> Tensor:
        image = self.images[index]
        if isinstance(image, np.ndarray):
            return self.preprocess(image)
        try:
            with Image.open(image) as opened:
                return self.preprocess(opened)
        except UNREADABLE as error:
            raise FormatError(f"data: {image} is no readable image: {error}") from None


def load_images(path: str | Path, preprocess: Preprocess) -> ImageSet:
    """Labelled images in one of three forms.

    A folder with a sub-folder per class: classes are numbered in the order of the names, or by the
    names where all are numbers. A flat folder of files whose names start with the class number
    (`025_name.jpg`). An `.npz` with `x`, uint8 of shape (n, h, w), (n, h, w, channels) or
    (n, channels, h, w), and `y`, the class numbers.

    Raises:
        FormatError: if there is no image, or a file or name is not in that form; it is named.
    """
    path = Path(path)
    if path.is_dir():
        files, classes = _from_folder(path)
        numbers = np.array(classes, dtype=np.int64)
        return ImageSet(images=files, classes=numbers, preprocess=preprocess)
    if path.suffix != ".npz":
        raise FormatError(f"data {path} is neither a folder nor an .npz file")
    images, numbers = _from_npz(path)
    return ImageSet(images=images, classes=numbers, preprocess=preprocess)


def class_folders(folder: Path) -> list[Path]:
    """Those that are not hidden, in the order of their names."""
    found = (child for child in folder.iterdir() if child.is_dir())
    return sorted(child for child in found if not child.name.startswith("."))


def _from_folder(folder: Path) -> tuple[list[Path], list[int]]:
    names = [child.name for child in class_folders(folder)]
    if names:
        are_numbers = all(name.isdecimal() for name in names)
        pairs = [
            (file, int(name) if are_numbers else rank)
            for rank, name in enumerate(names)
            for file in image_files(folder / name)
        ]
    else:
        pairs = _classes_of(image_files(folder), folder)
    if not pairs:
        where = f" in its folders {', '.join(names)}" if names else ""
        raise FormatError(
            f"data {folder} holds no image{where}; known are {', '.join(sorted(_SUFFIXES))}, in a "
            f"folder for each class, or with names that start with the class number"
        )
    return [file for file, _ in pairs], [number for _, number in pairs]


def image_files(folder: Path) -> list[Path]:
    """The images of a folder, by their suffixes, in the order of their names."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".")
    )


def _classes_of(files: Sequence[Path], folder: Path) -> list[tuple[Path, int]]:
    matches = {file: _CLASS_FIRST.match(file.name) for file in files}
    findings = Findings(folder)
    for file, match in matches.items():
        if match is None:
            findings.add(
                file,
                "its name does not start with its class number, as 025_name.jpg does; or put each "
                "class into a sub-folder",
            )
    findings.close()
    return [(file, int(match[1])) for file, match in matches.items() if match is not None]


def _from_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays["y"]
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever a damaged archive makes of itself
        raise FormatError(f"data {path} has no readable x and y: {error}") from None
    if x.ndim == 4 and x.shape[-1] not in (1, 3) and x.shape[1] in (1, 3):
        x = x.transpose(0, 2, 3, 1)
    is_image = x.ndim == 3 or (x.ndim == 4 and x.shape[-1] in (1, 3))
    if x.dtype != np.uint8 or not is_image or 0 in x.shape[1:]:
        raise FormatError(
            f"data {path}: x has shape {x.shape} and type {x.dtype}; it is uint8 of shape"
            f" (n, h, w), (n, h, w, 1 or 3) or (n, 1 or 3, h, w), with at least one pixel"
        )
    if y.shape not in ((len(x),), (len(x), 1)) or y.dtype.kind not in "iu" or len(x) == 0:
        raise FormatError(
            f"data {path}: y has shape {y.shape} and type {y.dtype}; it is one class "
            f"number for each of the {len(x)} images, of which there is at least one"
        )
    return x, y.reshape(-1).astype(np.int64)

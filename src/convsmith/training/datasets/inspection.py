# SPDX-License-Identifier: Apache-2.0
"""Labelled images looked at, file by file, before training starts."""

from __future__ import annotations

from pathlib import Path

from convsmith.training.datasets.findings import Findings
from convsmith.training.datasets.images import ImageSet, class_folders, image_files


def require_sound(path: str | Path, images: ImageSet, num_classes: int | None) -> None:
    """Look at every image before training starts.

    Raises:
        FormatError: if an image cannot be decoded or lies where it has no class, a folder of a
            class is empty, or the number of a class is not one of `num_classes`; each is named.
    """
    findings = Findings(path)
    if Path(path).is_dir():
        _require_classes(Path(path), findings)
    for i, number in enumerate(images.classes.tolist()):
        image = images.images[i]
        name = image if isinstance(image, Path) else f"image {i}"
        if isinstance(image, Path):
            findings.image(image)
        if number < 0 or (num_classes is not None and number >= num_classes):
            end = "" if num_classes is None else f" to {num_classes - 1}"
            findings.add(name, f"its class is {number}; classes are numbered from 0{end}")
    findings.close()


def _require_classes(folder: Path, findings: Findings) -> None:
    """Every class has images, and every image a class."""
    classes = class_folders(folder)
    for stray in image_files(folder) if classes else []:
        findings.add(stray, "it lies beside the folders of the classes, in none of them")
    for kind in classes:
        if not image_files(kind):
            findings.add(kind, "the class has no image")
        for deeper in class_folders(kind):
            if image_files(deeper):
                findings.add(deeper, "its images lie deeper than their class")

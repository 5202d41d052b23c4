# SPDX-License-Identifier: Apache-2.0
"""Images with a map that gives each pixel its class: two folders of files with the same names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from convsmith.models import Preprocess
from convsmith.training.datasets.findings import Findings
from convsmith.training.datasets.images import image_files
from convsmith.training.tasks import IGNORED

# How the two folders are called, by those who publish such data.
FOLDERS = (
    ("images", "labels"),
    ("images", "masks"),
    ("image", "label"),
    ("train", "trainannot"),
)
_VOID = 255  # a pixel that nobody labelled


@dataclass(frozen=True, kw_only=True)
class MapSet:
    """Images with their maps, at their own size.

    A batch is `(x, y)`: x float32 (n, channels, h, w), y int64 (n, h, w): classes, and `IGNORED`
    where `classes` has no class for a value of the map.
    """

    images: Sequence[Path]
    maps: Sequence[Path]
    preprocess: Preprocess
    classes: Mapping[int, int]

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The images of these indices and their maps, decoded."""
        table = torch.full((256,), IGNORED)
        for value, number in self.classes.items():
            table[value] = number
        x, y = [], []
        for i in indices:
            with Image.open(self.images[i]) as image, Image.open(self.maps[i]) as labels:
                x.append(self.preprocess.at_own_size(image))
                y.append(table[torch.from_numpy(np.array(labels)).long()])
        return torch.stack(x), torch.stack(y)

    def part(self, indices: Sequence[int]) -> MapSet:
        """The images of these indices as a set of their own."""
        images, maps = ([files[i] for i in indices] for files in (self.images, self.maps))
        return replace(self, images=images, maps=maps)


def folders_of(folder: Path) -> tuple[Path, Path] | None:
    """The folders of images and of maps in a folder; None where it is no such data set."""
    for images, maps in FOLDERS:
        if (folder / images).is_dir() and (folder / maps).is_dir():
            return folder / images, folder / maps
    return None


def load_maps(
    images: Path,
    maps: Path,
    preprocess: Preprocess,
    *,
    classes: Mapping[int, int] | None = None,
    void: int = _VOID,
    num_classes: int | None = None,
) -> MapSet:
    """The images of one folder with the maps of the same names (but for the suffix) in another.

    Args:
        classes: The class of each value of a map; None takes the values themselves.
        void: The value of pixels without a class.
        num_classes: How many classes there are; None finds out.

    Raises:
        FormatError: if images or maps are missing, damaged, of different sizes, or hold values that
            are no class; each file is named.
    """
    findings = Findings(images.parent)
    pairs = _pairs(images, maps, findings)
    sizes, values = {}, set[int]()
    for image_file, map_file in pairs:
        image, labels = findings.image(image_file), findings.image(map_file)
        if image is None or labels is None:
            continue
        sizes[image_file] = image.size
        if labels.mode not in ("L", "P", "1") or labels.size != image.size:
            findings.add(
                map_file,
                f"its map is {labels.width} x {labels.height} pixels of mode {labels.mode}; it "
                f"needs one number of 0 to 255 for each of {image.width} x {image.height} pixels",
            )
            continue
        found = {int(value) for value in np.unique(np.asarray(labels))}
        values |= found
        _require_known(map_file, found - {void}, classes, num_classes, findings)
    _require_one_size(sizes, findings)
    if values == {void}:
        findings.add(maps, f"no pixel of its maps has a class: all are {void}")
    findings.close()
    known = range(num_classes or max(values - {void}) + 1)
    return MapSet(
        images=[image for image, _ in pairs],
        maps=[labels for _, labels in pairs],
        preprocess=preprocess,
        classes=classes or {value: value for value in known},
    )


def _pairs(images: Path, maps: Path, findings: Findings) -> list[tuple[Path, Path]]:
    by_name = [_by_name(folder, findings) for folder in (images, maps)]
    for name in sorted(by_name[0].keys() - by_name[1].keys()):
        findings.add(by_name[0][name], f"it has no map in {maps.name}/")
    for name in sorted(by_name[1].keys() - by_name[0].keys()):
        findings.add(by_name[1][name], f"it has no image in {images.name}/")
    if not by_name[0]:
        findings.add(images, "the folder holds no image")
    return [(by_name[0][n], by_name[1][n]) for n in sorted(by_name[0]) if n in by_name[1]]


def _by_name(folder: Path, findings: Findings) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in image_files(folder):
        if file.stem in found:
            findings.add(file, f"{found[file.stem].name} has the same name")
        found[file.stem] = file
    return found


def _require_known(
    file: Path,
    found: set[int],
    classes: Mapping[int, int] | None,
    num_classes: int | None,
    findings: Findings,
) -> None:
    known = set(range(256 if num_classes is None else num_classes)) if not classes else {*classes}
    if found - known:
        findings.add(file, f"it holds {sorted(found - known)}; the classes are {sorted(known)}")


def _require_one_size(sizes: Mapping[Path, tuple[int, int]], findings: Findings) -> None:
    if not sizes:
        return
    (width, height), _ = Counter(sizes.values()).most_common(1)[0]
    for file, size in sizes.items():
        if size != (width, height):
            findings.add(file, f"it is {size[0]} x {size[1]} pixels, others {width} x {height}")

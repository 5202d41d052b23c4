# SPDX-License-Identifier: Apache-2.0
"""CamVid's streets and the membranes of an insect's brain, each pixel with its class.

Source: Brostow, Fauqueur and Cipolla, Semantic object classes in video, 2009 (CamVid, with the
eleven classes of Badrinarayanan et al. 2017, arXiv:1511.00561); Cardona et al., An integrated
micro- and macroarchitectural analysis of the Drosophila brain, 2010 (the images of ISBI 2012).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from convsmith.models import Preprocess
from convsmith.training.data import TrainingData, split
from convsmith.training.datasets import root as roots
from convsmith.training.datasets.label_maps import MapSet, folders_of, load_maps
from convsmith.training.recipe import Recipe
from convsmith.training.tasks import Segmentation

_SPLIT_SEED = 0
_STREET_CLASSES = 11
_RECIPE = Recipe(batch_size=4, flip=True, epochs=30)
_STREET_RECIPE = replace(_RECIPE, epochs=150)  # ten images are three steps an epoch


def membrane(preprocess: Preprocess, root: str | Path | None = None) -> TrainingData:
    """20 images of 512 x 512 pixels: membranes (0) and cells (1); 4 of them held out."""
    images, maps = roots.find("membrane", ["isbi_em/image", "isbi_em/label"], root)
    return _split(load_maps(images, maps, preprocess, classes={0: 0, 255: 1}), 4, preprocess)


def camvid(preprocess: Preprocess, root: str | Path | None = None) -> TrainingData:
    """13 images of 480 x 360 pixels with 11 classes (and 11, void); 3 of them held out."""
    images, maps = roots.find("camvid", ["camvid/train", "camvid/trainannot"], root)
    classes = {number: number for number in range(_STREET_CLASSES)}
    found = load_maps(images, maps, preprocess, classes=classes, void=_STREET_CLASSES)
    return _split(found, 3, preprocess, recipe=_STREET_RECIPE)


def from_folder(
    folder: Path, preprocess: Preprocess, num_classes: int | None, held_out: float, seed: int
) -> TrainingData:
    """A folder with a folder of images and one of maps. See `load_maps`."""
    pair = folders_of(folder)
    assert pair is not None, "the caller has looked"
    found = load_maps(*pair, preprocess, num_classes=num_classes)
    return _split(found, max(1, round(len(found) * held_out)), preprocess, seed)


def _split(
    found: MapSet,
    held_out: int,
    preprocess: Preprocess,
    seed: int = _SPLIT_SEED,
    recipe: Recipe = _RECIPE,
) -> TrainingData:
    num_classes = max(found.classes.values()) + 1
    return split(
        found,
        held_out=held_out,
        seed=seed,
        task=Segmentation(num_classes, window=preprocess.size),
        recipe=recipe,
        options={"num_classes": num_classes},
    )

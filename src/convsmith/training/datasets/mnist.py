# SPDX-License-Identifier: Apache-2.0
"""MNIST and Fashion-MNIST: ten classes of grey images of 28 x 28 pixels, as `.npz` files.

Source: LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998; Xiao, Rasul and
Vollgraf, Fashion-MNIST, 2017, arXiv:1708.07747.
"""

from __future__ import annotations

from pathlib import Path

from convsmith.models import Preprocess
from convsmith.training.data import TrainingData, split
from convsmith.training.datasets import root as roots
from convsmith.training.datasets.images import load_images
from convsmith.training.recipe import Recipe
from convsmith.training.tasks import Classification

_SPLIT_SEED = 0
_TEN = {"num_classes": 10}


def fashion_mnist(preprocess: Preprocess, root: str | Path | None = None) -> TrainingData:
    """The first 20,000 images of Fashion-MNIST; the first 5,000 of its test set held out."""
    name = "fashion_mnist"
    files = [f"{name}/train_first20000.npz", f"{name}/test_first5000.npz"]
    train, test = (load_images(file, preprocess) for file in roots.find(name, files, root))
    recipe = Recipe(flip=True)
    return TrainingData(
        train=train, held_out=test, task=Classification(), recipe=recipe, options=_TEN
    )


def mnist(preprocess: Preprocess, root: str | Path | None = None) -> TrainingData:
    """The first 10,000 training images of MNIST; 2,000 of them held out."""
    [file] = roots.find("mnist", ["mnist/train_first10000.npz"], root)
    images = load_images(file, preprocess)
    return split(images, held_out=2000, seed=_SPLIT_SEED, task=Classification(), options=_TEN)

# SPDX-License-Identifier: Apache-2.0
"""Two sets without an image in common."""

import numpy as np
import pytest

from convsmith.errors import ArgumentError
from convsmith.models import find
from convsmith.training import ImageSet, split
from convsmith.training.tasks import Classification

TASK = Classification()

IMAGES = ImageSet(
    images=np.arange(10, dtype=np.uint8).repeat(4).reshape(10, 2, 2),
    classes=np.arange(10),
    preprocess=find("digits_vgg").preprocess,
)


def test_every_image_is_in_one_of_the_two() -> None:
    data = split(IMAGES, held_out=3, seed=1, task=TASK)
    assert (len(data.train), len(data.held_out)) == (7, 3)
    assert sorted([*data.train.classes, *data.held_out.classes]) == list(range(10))
    assert (data.train.images[:, 0, 0] == data.train.classes).all()


def test_the_seed_decides() -> None:
    first = split(IMAGES, held_out=5, seed=1, task=TASK).held_out.classes
    assert (split(IMAGES, held_out=5, seed=1, task=TASK).held_out.classes == first).all()
    assert (split(IMAGES, held_out=5, seed=2, task=TASK).held_out.classes != first).any()


@pytest.mark.parametrize("held_out", [0, 10])
def test_an_empty_part_is_an_error(held_out: int) -> None:
    with pytest.raises(ArgumentError, match=f"data: cannot hold out {held_out} of 10 examples"):
        split(IMAGES, held_out=held_out, seed=0, task=TASK)

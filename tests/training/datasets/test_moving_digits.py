# SPDX-License-Identifier: Apache-2.0
"""Digits that move: the way is what their class says, and no frame tells it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from convsmith.errors import ArgumentError
from convsmith.models import find
from convsmith.training import train_network, training_data
from convsmith.training.datasets.moving_digits import FRAMES, WAYS

STEPS = replace(find("r2plus1d").preprocess, size=48)


def test_clips_become_examples() -> None:
    data = training_data("moving_digits", STEPS)
    assert (len(data.train), len(data.held_out)) == (320, 80)
    x, y = data.train.batch([3, 12])
    assert x.shape == (2, 3, FRAMES, 48, 48)
    assert y.tolist() == [3, 4]
    again, _ = data.train.part([12]).batch([0])
    assert torch.equal(again[0], x[1])


def test_the_digit_goes_the_way_of_its_class() -> None:
    data = training_data("moving_digits", STEPS)
    x, y = data.held_out.batch(range(16))
    ink = (x[:, 0] - x[:, 0].amin((1, 2, 3), keepdim=True)).square()
    at = torch.arange(48.0)
    rows, columns = ((ink * axis).sum((2, 3)) / ink.sum((2, 3)) for axis in (at[:, None], at))
    down, right = (line[:, -1] - line[:, 0] for line in (rows, columns))
    for number, fall, move in zip(y.tolist(), down.tolist(), right.tolist(), strict=True):
        turn = math.atan2(-fall, move) / (2 * math.pi / WAYS) % WAYS
        assert round(turn) % WAYS == number
    assert sorted(set(y.tolist())) == list(range(WAYS))


def test_clips_and_images_are_not_mixed_up() -> None:
    with pytest.raises(ArgumentError, match=r"c3d is for clips of 16 frames, data digits has im"):
        train_network("c3d", "digits")
    with pytest.raises(ArgumentError, match=r"resnet8 is for images, data moving_digits has cli"):
        train_network("resnet8", "moving_digits")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_split_network_tells_the_ways() -> None:
    recipe = {"epochs": 4, "lr": 3e-3}
    found = train_network("r2plus1d", "moving_digits", recipe, size=24, width=0.0625)
    assert found.result.measures["held_out_accuracy"] > 2 / WAYS
    assert np.isfinite(found.result.history[-1].loss)

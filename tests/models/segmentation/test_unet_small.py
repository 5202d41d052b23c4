# SPDX-License-Identifier: Apache-2.0
"""The U-Net's maps: their sizes, what its skips carry, and what it refuses."""

import pytest
import torch

from convsmith import models
from convsmith.capture import capture
from convsmith.errors import ShapeError


def test_every_pixel_has_a_score_of_each_class() -> None:
    model = models.create("unet_small", num_classes=5, in_channels=3, width=0.3)
    assert model(torch.zeros(2, 3, 8, 48)).shape == (2, 5, 8, 48)


def test_the_first_skip_carries_single_pixels() -> None:
    model = models.create("unet_small", width=0.25)
    for name, weight in model.named_parameters():
        if name.startswith("up."):  # without what comes from below, only the skips are left
            torch.nn.init.zeros_(weight)
    image = torch.zeros(1, 1, 32, 32)
    dot = image.clone()
    dot[..., 17, 5] = 1
    changed = (model(dot) - model(image)).abs().sum(1)[0].nonzero()
    # four 3x3 convolutions on the first level: four pixels on each side
    assert changed.amin(0).tolist() == [13, 1]
    assert changed.amax(0).tolist() == [21, 9]


def test_sizes_that_do_not_halve_three_times_are_an_error() -> None:
    model = models.create("unet_small", width=0.1)
    with pytest.raises(ShapeError, match=r"40 x 44 pixels; its sizes must be multiples of 8"):
        model(torch.zeros(1, 1, 40, 44))


def test_it_is_captured_with_free_sizes() -> None:
    model = models.create("unet_small", width=0.25)
    captured = capture(model, torch.zeros(1, 1, 64, 64))
    assert str(captured.dynamic) == "batch, height, width"
    x = torch.randn(1, 1, 24, 40)
    assert torch.equal(captured.module(x), model(x))
    with pytest.raises(ShapeError, match=r"x\.size\(2\) % 8"):
        captured.module(torch.zeros(1, 1, 28, 40))

# SPDX-License-Identifier: Apache-2.0
"""The two halves, the sizes of the paper, and the linear layers as convolutions."""

import pytest
import torch
from torch import nn

from convsmith import models
from convsmith.rewrite import to_fully_convolutional


def test_three_layers_are_in_two_halves() -> None:
    layers = [x for x in models.create("alexnet", device="meta").features if hasattr(x, "geometry")]
    assert [layer.groups for layer in layers] == [1, 2, 1, 2, 2]
    # Section 3.5: kernels of 11x11x3, 5x5x48, 3x3x256, 3x3x192 and 3x3x192.
    assert [tuple(layer.weight.shape) for layer in layers] == [
        (96, 3, 11, 11),
        (256, 48, 5, 5),
        (384, 256, 3, 3),
        (384, 192, 3, 3),
        (256, 192, 3, 3),
    ]


def test_the_layers_have_the_published_neurons() -> None:
    x, sizes = torch.empty(1, 3, 224, 224, device="meta"), []
    for layer in models.create("alexnet", device="meta").features:
        x = layer(x)
        if hasattr(layer, "geometry"):
            sizes.append(x.numel())
    # Section 3.5: 253,440 in its first layer, which is 96 x 55 x 48; 55 x 55 make 290,400.
    assert sizes == [290_400, 186_624, 64_896, 64_896, 43_264]
    # "650,000 neurons", which the text's own number of the first layer would not make.
    assert sum(sizes) + 4096 + 4096 + 1000 == 659_272


def test_its_normalisation_is_the_formula_of_the_paper() -> None:
    x = torch.rand(1, 7, 3, 2, dtype=torch.float64) * 20
    layer = next(
        x
        for x in models.create("alexnet", device="meta").features
        if isinstance(x, nn.LocalResponseNorm)
    )
    expected = torch.empty_like(x)
    for channel in range(7):
        around = x[:, max(0, channel - 2) : channel + 3].square().sum(1)
        expected[:, channel] = x[:, channel] / (2 + 1e-4 * around) ** 0.75
    torch.testing.assert_close(layer(x), expected)


def test_an_odd_width_still_has_two_halves() -> None:
    model = models.create("alexnet", width=0.021, num_classes=3)
    assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 3)


@pytest.mark.slow
def test_its_linear_layers_slide() -> None:
    model = models.create("alexnet", width=0.0625, num_classes=3)
    sliding = to_fully_convolutional(model, torch.zeros(1, 3, 224, 224))
    x = torch.randn(1, 3, 288, 256)
    y = sliding(x)
    assert y.shape == (1, 3, 3, 2)
    torch.testing.assert_close(sliding(x[..., :224, :224])[..., 0, 0], model(x[..., :224, :224]))

# SPDX-License-Identifier: Apache-2.0
"""The linear layers; sizes are in test_registry."""

import torch

from convsmith import models


def test_the_linear_layers_have_the_published_sizes() -> None:
    classifier = models.create("vgg16", device="meta").classifier
    linear = [layer for layer in classifier if isinstance(layer, torch.nn.Linear)]
    assert [sum(p.numel() for p in layer.parameters()) for layer in linear] == [
        102_764_544,  # 7 x 7 x 512 to 4096, with bias
        16_781_312,
        4_097_000,
    ]


def test_a_small_one_runs() -> None:
    model = models.create("vgg16", width=0.0625, image_size=64, num_classes=3)
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 3)


def test_parameters_have_the_names_of_torchvision() -> None:
    names = list(models.create("vgg16", device="meta").state_dict())
    convolutions = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    assert names[::2] == [f"features.{i}.weight" for i in convolutions] + [
        f"classifier.{i}.weight" for i in (0, 3, 6)
    ]


def test_its_first_weights_let_the_image_through() -> None:
    torch.manual_seed(0)
    model = models.create("vgg16", width=0.125, image_size=32, num_classes=3)
    with torch.no_grad():
        maps = model.features(torch.randn(16, 3, 32, 32))
    assert 0.1 < maps.std() < 10  # with torch's own draws, ReLU leaves a thousandth

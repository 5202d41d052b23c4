# SPDX-License-Identifier: Apache-2.0
"""Concatenation, transitions and names; sizes are in test_registry."""

import torch

from convsmith import models
from convsmith.models.residual.densenet121 import DenseLayer


def test_a_layer_keeps_its_input_and_adds_channels() -> None:
    layer, x = DenseLayer(6, 4).eval(), torch.randn(2, 6, 5, 7)
    y = layer(x.clone())
    assert y.shape == (2, 10, 5, 7)
    assert torch.equal(y[:, :6], x)
    middle = layer.conv1(layer.norm1(x).relu())
    assert torch.equal(y[:, 6:], layer.conv2(layer.norm2(middle).relu()))


def test_channels_and_sides_after_each_part() -> None:
    model, x = models.create("densenet121", device="meta"), torch.empty(1, 3, 224, 224).to("meta")
    shapes = {}
    for name, part in model.features.named_children():
        x = part(x)
        shapes[name] = tuple(x.shape[1:3])
    assert shapes["pool0"] == (64, 56)
    assert [shapes[f"denseblock{i}"] for i in (1, 2, 3, 4)] == [
        *((256, 56), (512, 28), (1024, 14), (1024, 7))
    ]
    assert [shapes[f"transition{i}"] for i in (1, 2, 3)] == [(128, 28), (256, 14), (512, 7)]


def test_a_narrow_one_runs() -> None:
    model = models.create("densenet121", width=0.1, num_classes=3)
    assert model(torch.randn(2, 3, 64, 45)).shape == (2, 3)


def test_parameters_have_the_names_of_torchvision() -> None:
    names = set(models.create("densenet121", device="meta").state_dict())
    assert {
        "features.conv0.weight",
        "features.norm0.running_mean",
        "features.denseblock1.denselayer1.norm1.weight",
        "features.denseblock3.denselayer24.conv2.weight",
        "features.transition3.conv.weight",
        "features.norm5.running_var",
        "classifier.bias",
    } <= names
    assert len(names) == 727

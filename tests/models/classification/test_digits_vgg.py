# SPDX-License-Identifier: Apache-2.0
"""The network of the package, and the weights that come with it."""

import json
from importlib.resources import files

from torch import nn

from convsmith import models

WEIGHTS = files("convsmith.models") / "weights"


def test_the_embedded_weights_are_small_and_described() -> None:
    assert len((WEIGHTS / "digits_vgg.safetensors").read_bytes()) < 400_000
    description = json.loads((WEIGHTS / "digits_vgg.json").read_text())
    assert description["network"] == "digits_vgg"
    assert description["held_out_accuracy"] >= 0.97
    assert description["training"]["data"] == "digits"


def test_it_has_what_the_rewrites_are_for() -> None:
    model = models.create("digits_vgg", weights="embedded")
    kinds = [type(module) for module in model.modules()]
    assert kinds.count(nn.BatchNorm2d) == 6
    assert kinds.count(nn.MaxPool2d) == 3
    assert kinds.count(nn.Linear) == 2
    assert kinds.count(nn.Dropout) == 1

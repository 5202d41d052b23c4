# SPDX-License-Identifier: Apache-2.0
"""Building a network by its name. What each is, is in test_sizes and test_every_network."""

import copy
import pickle
from typing import Any

import pytest
import torch

from convsmith import models
from convsmith.errors import ArgumentError, UnsupportedError


@pytest.mark.parametrize("name", ["digits_vgg", "lenet5", "resnet20"])
def test_a_model_survives_copying_and_pickling(name: str) -> None:
    model = models.create(name)
    x = torch.randn(2, *models.find(name).input_shape)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(again(x), model(x))
        assert again.preprocess == model.preprocess


def test_options_reach_the_network() -> None:
    model = models.create("resnet20", num_classes=7, in_channels=1, width=0.5, dtype=torch.float64)
    assert model(torch.zeros(1, 1, 32, 32, dtype=torch.float64)).shape == (1, 7)
    assert model.conv1.out_channels == 8
    assert model.preprocess.channels == 1
    assert model.recipe.options == {"num_classes": 7, "in_channels": 1, "width": 0.5}
    again = models.create(model.recipe.network, **model.recipe.options)
    assert [p.shape for p in again.parameters()] == [p.shape for p in model.parameters()]


def test_patterns_choose_names() -> None:
    assert models.list("resnet?") == ["resnet8"]
    assert models.list("nothing*") == []


def test_an_unknown_name_lists_what_comes_close() -> None:
    with pytest.raises(ArgumentError, match=r"'resnet21'; did you mean resnet"):
        models.create("resnet21")
    with pytest.raises(ArgumentError, match=r"'xyz'; known are \['\w+', '\w+', "):
        models.find("xyz")


def test_an_unknown_option_is_an_error() -> None:
    with pytest.raises(ArgumentError, match=r"resnet20 has no such option: .*'colours'"):
        models.create("resnet20", colours=3)


def test_weights_that_are_not_embedded_are_an_error() -> None:
    with pytest.raises(ArgumentError, match=r"no weights of vgg16 .*only of \['digits_vgg'\]"):
        models.create("vgg16", weights="embedded")


def test_a_type_error_of_the_network_itself_is_not_hidden() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        models.create("vgg16", image_size="large", device="meta")


@pytest.mark.parametrize("wrong", [{"width": -1.0}, {"width": "wide"}, {"num_classes": 0}])
def test_sizes_that_are_no_sizes_are_an_error(wrong: dict[str, Any]) -> None:
    key, value = next(iter(wrong.items()))
    with pytest.raises(ArgumentError, match=rf"{key} is {value!r}; it is a positive"):
        models.create("resnet20", **wrong)


def test_lenet5_refuses_another_width() -> None:
    with pytest.raises(UnsupportedError, match=r"lenet5: width 2 and 10 classes"):
        models.create("lenet5", width=2)

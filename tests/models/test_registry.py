# SPDX-License-Identifier: Apache-2.0
"""Every listed network against its published size and cost, and building one by name."""

import copy
import pickle
import re
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convsmith import models
from convsmith.capture import capture
from convsmith.errors import ArgumentError, UnsupportedError
from convsmith.family import recognize
from convsmith.rewrite.cost import cost

# Trainable parameters and macs of one image, as published (macs of LeNet-5, and all of digits_vgg
# and unet_small: summed by hand from their layers).
PUBLISHED = {
    "densenet121": (7_978_856, 2_834_161_664),
    "digits_vgg": (51_634, 2_466_432),
    "lenet5": (60_000, 325_680),
    "mobilenet_v1": (4_231_976, 568_740_352),
    "mobilenet_v2": (3_504_872, 300_774_272),
    "mobilenet_v1_vww": (213_586, 7_489_664),
    "resnet8": (78_186, 12_501_632),
    "resnet20": (269_722, 40_551_040),
    "resnet32": (464_154, 68_862_592),
    "resnet44": (658_586, 97_174_144),
    "resnet56": (853_018, 125_485_696),
    "resnet50": (25_557_032, 3_857_973_248),
    "resnext50_32x4d": (25_028_904, 4_230_479_872),
    "unet_small": (482_466, 9_206_497_280),
    "vgg16": (138_357_544, 15_470_264_320),
}


def macs_of(model: nn.Module, shape: tuple[int, ...]) -> int:
    """What the layers' own families say, on the shapes a forward pass shows."""
    total = 0

    def count(layer: Any, inputs: tuple[torch.Tensor, ...], _: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Linear):
            total += inputs[0].shape[0] * layer.weight.numel()
        else:
            family = recognize(layer.geometry)
            total += family.macs(layer.geometry, tuple(inputs[0].shape)).all

    for module in model.modules():
        if isinstance(module, nn.Linear) or hasattr(module, "geometry"):
            module.register_forward_hook(count)
    model(torch.empty(shape, device="meta"))
    return total


def test_every_network_is_measured_here() -> None:
    assert models.list() == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_macs_are_the_published_ones(name: str) -> None:
    model = models.create(name, device="meta")
    parameters, macs = PUBLISHED[name]
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == parameters
    assert macs_of(model, (1, *models.find(name).input_shape)) == macs


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - {"lenet5"}))
def test_macs_agree_with_the_counter_of_torch(name: str) -> None:
    model = models.create(name, device="meta")
    shape = (2, *models.find(name).input_shape)
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(shape, device="meta"))
    assert counter.get_total_flops() == 2 * macs_of(model, shape)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d", "densenet121"])
def test_a_captured_graph_costs_what_is_published(name: str) -> None:
    captured = capture(models.create(name), torch.zeros(2, *models.find(name).input_shape))
    found, (parameters, macs) = cost(captured), PUBLISHED[name]
    assert (found.parameters, found.macs) == (parameters, 2 * macs)


@pytest.mark.parametrize("name", PUBLISHED)
def test_outputs_and_preprocessing_fit_the_network(name: str) -> None:
    network = models.find(name)
    model = models.create(name, device="meta")
    images = torch.empty(3, *network.input_shape, device="meta")
    assert model(images).shape[:2] == (3, network.num_classes)
    assert model.preprocess == network.preprocess
    assert model.recipe.network == name
    assert not model.training
    assert re.search(r"\b(19|20)\d\d\b", network.source)


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
    with pytest.raises(ArgumentError, match=r"'xyz'; known are \['densenet121', "):
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

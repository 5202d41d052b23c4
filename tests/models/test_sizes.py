# SPDX-License-Identifier: Apache-2.0
"""Every listed network against its published size and cost.

The numbers are exact; where a publication rounds them, or its own table says something else, the
network's own test says so.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from convsmith import models
from convsmith.analysis import analyze
from convsmith.capture import capture
from convsmith.family import recognize
from convsmith.rewrite.cost import cost

# Trainable parameters and macs of one image, as published (macs of LeNet-5, and all of digits_vgg
# and unet_small: summed by hand from their layers).
PUBLISHED = {
    "alexnet": (60_965_224, 724_406_816),
    "c3d": (79_991_015, 38_548_959_232),
    "deeplab_mobilenet_v2": (2_113_557, 2_740_709_056),
    "deeplab_small": (538_027, 2_478_309_376),
    "densenet121": (7_978_856, 2_834_161_664),
    "digits_vgg": (51_634, 2_466_432),
    "fsrcnn": (12_809, 204_210_176),
    "fsrcnn_subpixel": (8_500, 133_562_368),
    "googlenet": (6_998_552, 1_582_671_872),
    "lenet5": (60_000, 325_680),
    "mobilenet_v1": (4_231_976, 568_740_352),
    "mobilenet_v2": (3_504_872, 300_774_272),
    "mobilenet_v1_vww": (213_586, 7_489_664),
    "network_in_network": (966_986, 222_486_528),
    "pulse_mask": (532_899, 6_507_772_608),
    "r2plus1d": (33_383_797, 42_142_675_968),
    "rednet26": (9_233_166, 1_685_176_832),
    "rednet38": (12_386_986, 2_166_841_344),
    "rednet50": (15_540_806, 2_648_505_856),
    "rednet101": (25_652_950, 4_659_008_000),
    "rednet152": (33_984_582, 6_679_344_640),
    "rednet50_fpn": (18_463_169, 36_616_142_848),
    "rednet50_retinanet": (27_953_186, 53_622_095_872),
    "resnet8": (78_186, 12_501_632),
    "resnet20": (269_722, 40_551_040),
    "resnet32": (464_154, 68_862_592),
    "resnet44": (658_586, 97_174_144),
    "resnet56": (853_018, 125_485_696),
    "resnet50": (25_557_032, 3_857_973_248),
    "resnext50_32x4d": (25_028_904, 4_230_479_872),
    "segnet": (29_449_355, 76_364_513_280),
    "unet_small": (482_466, 9_206_497_280),
    "vgg_fcn32s": (136_152_917, 181_365_854_976),
    "vgg_fcn16s": (134_815_994, 181_448_086_272),
    "vgg_fcn8s": (134_489_759, 181_529_034_048),
    "vgg16": (138_357_544, 15_470_264_320),
    "xception_small": (722_576, 12_762_634),
}


# What torch's counter does not see, or sees as something else.
NOT_COUNTED_BY_TORCH = {
    "lenet5",  # a connection table is computed as a sparse dense convolution
}


def macs_of(model: nn.Module, shape: tuple[int, ...]) -> int:
    """What the layers' own families say, on the shapes a forward pass shows."""
    total = 0

    def count(layer: Any, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Linear):
            total += inputs[0].shape[0] * layer.weight.numel()
        else:
            family = recognize(layer.geometry)
            total += family.macs(layer.geometry, tuple(inputs[0].shape)).all

    for layer in whole_layers(model):
        layer.register_forward_hook(count)
    model(torch.empty(shape, device="meta"))
    return total


def whole_layers(module: nn.Module) -> Iterator[nn.Module]:
    """Linear layers and convolutions of every kind; what a layer is made of is its own affair."""
    if isinstance(module, nn.Linear) or hasattr(module, "geometry"):
        yield module
    else:
        for child in module.children():
            yield from whole_layers(child)


def test_every_network_is_measured_here() -> None:
    assert models.list() == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_macs_are_the_published_ones(name: str) -> None:
    model = models.create(name, device="meta")
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    macs = macs_of(model, (1, *models.find(name).input_shape))
    assert (parameters, macs) == PUBLISHED[name]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "resnet8")) for n in PUBLISHED]
)
def test_an_analysis_counts_the_same(name: str) -> None:
    found = analyze(models.create(name, device="meta"), (1, *models.find(name).input_shape)).total
    assert (found.parameters, found.macs.all, found.uncounted) == (*PUBLISHED[name], ())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[pytest.mark.slow] * n.startswith("rednet"))
        for n in sorted(set(PUBLISHED) - NOT_COUNTED_BY_TORCH)
    ],
)
def test_macs_agree_with_the_counter_of_torch(name: str) -> None:
    model = models.create(name, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(2, *models.find(name).input_shape, device="meta"))
    assert counter.get_total_flops() == 2 * 2 * PUBLISHED[name][1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d", "densenet121"])
def test_a_captured_graph_costs_what_is_published(name: str) -> None:
    captured = capture(models.create(name), torch.zeros(2, *models.find(name).input_shape))
    found, (parameters, macs) = cost(captured), PUBLISHED[name]
    assert (found.parameters, found.macs) == (parameters, 2 * macs)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_name_brings_its_preprocessing_and_source(name: str) -> None:
    network = models.find(name)
    model = models.create(name, device="meta")
    assert model.preprocess == network.preprocess
    assert model.recipe.network == name
    assert not model.training
    assert re.search(r"\b(19|20)\d\d\b", network.source)

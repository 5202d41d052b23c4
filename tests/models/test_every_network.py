# SPDX-License-Identifier: Apache-2.0
"""What every network does, asked of a small one of its kind: its outputs, that it is captured,
drawn again from a seed, and trained in every weight.
"""

import zlib
from typing import Any

import pytest
import torch
from torch import Tensor

from convsmith import models
from convsmith.capture import capture
from convsmith.models.detection.anchors import anchors
from convsmith.rewrite import optimize

# Options of a small one, and the sizes of its images.
SMALL: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "alexnet": ({"width": 0.0625, "num_classes": 4}, (224, 224)),
    "c3d": ({"width": 0.0625, "num_classes": 4}, (112, 112)),
    "deeplab_mobilenet_v2": ({"width": 0.125, "num_classes": 4}, (40, 56)),
    "deeplab_small": ({"width": 0.125, "num_classes": 4}, (24, 20)),
    "densenet121": ({"width": 0.125, "num_classes": 4}, (40, 56)),
    "digits_vgg": ({"width": 0.25}, (32, 32)),
    "fsrcnn": ({"width": 0.25, "scale": 3}, (11, 14)),
    "fsrcnn_subpixel": ({"width": 0.25, "scale": 3}, (11, 14)),
    "googlenet": ({"width": 0.25, "num_classes": 4}, (64, 72)),
    "lenet5": ({}, (32, 32)),
    "mobilenet_v1": ({"width": 0.25, "num_classes": 4}, (40, 56)),
    "mobilenet_v1_vww": ({"width": 0.25}, (40, 56)),
    "mobilenet_v2": ({"width": 0.25, "num_classes": 4}, (40, 56)),
    "network_in_network": ({"width": 0.125}, (24, 20)),
    "pulse_mask": ({"width": 0.125}, (36, 36)),
    "r2plus1d": ({"width": 0.0625, "num_classes": 4}, (24, 20)),
    "rednet26": ({"width": 0.0625, "num_classes": 4}, (40, 56)),
    "rednet50_fpn": ({"depth": 26, "width": 0.0625, "num_classes": 4}, (40, 56)),
    "rednet50_retinanet": ({"depth": 26, "width": 0.0625, "num_classes": 4}, (40, 56)),
    "resnet8": ({"width": 0.25}, (24, 20)),
    "resnet20": ({"width": 0.25}, (24, 20)),
    "resnet50": ({"width": 0.125, "num_classes": 4}, (40, 56)),
    "resnext50_32x4d": ({"width": 0.125, "num_classes": 4}, (40, 56)),
    "segnet": ({"width": 0.0625, "num_classes": 4}, (45, 70)),
    "unet_small": ({"width": 0.25}, (24, 40)),
    "vgg_fcn8s": ({"width": 0.0625, "num_classes": 4}, (45, 70)),
    "vgg_fcn16s": ({"width": 0.0625, "num_classes": 4}, (45, 70)),
    "vgg_fcn32s": ({"width": 0.0625, "num_classes": 4}, (45, 70)),
    "vgg16": ({"width": 0.0625, "num_classes": 4, "image_size": 64}, (64, 64)),
    "xception_small": ({"width": 0.125}, (32, 32)),
}
# The same code as one of the above, deeper.
DEEPER = {"rednet38", "rednet50", "rednet101", "rednet152", "resnet32", "resnet44", "resnet56"}
# Capturing takes seconds: `make test-all` asks all of them.
QUICKLY_CAPTURED = {"digits_vgg", "fsrcnn", "resnet8"}


def small(name: str) -> models.Model:
    torch.manual_seed(zlib.crc32(name.encode()))
    return models.create(name, **SMALL[name][0])


def images(name: str) -> Tensor:
    network = models.find(name)
    return torch.rand(2, *network.input_shape[:-2], *SMALL[name][1])


def outputs(result: Any) -> list[Tensor]:
    return list(result) if isinstance(result, tuple) else [result]


def expected_shapes(name: str) -> list[tuple[int, ...]]:
    """What the network's task promises, see `models.network.Task`."""
    network, (options, (height, width)) = models.find(name), SMALL[name]
    classes = options.get("num_classes", network.num_classes)
    if network.task == "segmentation":
        return [(2, classes, height, width)]
    if network.task == "super-resolution":
        scale = options["scale"]
        return [(2, network.preprocess.channels, scale * height, scale * width)]
    if network.task == "pulse":
        assert network.frames is not None
        return [(2, network.frames - 1)]
    if network.task == "detection":
        boxes = len(anchors(height, width))
        return [(2, boxes, classes), (2, boxes, 4)]
    return [(2, classes)]


def test_every_network_is_asked_here() -> None:
    assert models.list() == sorted({*SMALL, *DEEPER})


@pytest.mark.parametrize("name", SMALL)
def test_the_outputs_are_those_of_its_task(name: str) -> None:
    with torch.no_grad():
        found = outputs(small(name)(images(name)))
    assert [tuple(y.shape) for y in found] == expected_shapes(name)
    assert all(y.isfinite().all() for y in found)


@pytest.mark.parametrize("name", SMALL)
def test_the_features_are_maps_before_the_head(name: str) -> None:
    with torch.no_grad():
        found = small(name).features(images(name))
    maps = found if isinstance(found, list) else [found]
    frames = (models.find(name).frames or 2) - 1 if name == "pulse_mask" else 1
    axes = 5 if name in ("c3d", "r2plus1d") else 4
    assert [(len(x), x.ndim) for x in maps] == [(2 * frames, axes)] * len(maps)


@pytest.mark.parametrize("name", SMALL)
def test_a_seed_draws_the_same_weights_again(name: str) -> None:
    first, second = small(name).state_dict(), small(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", SMALL)
def test_every_weight_is_trained(name: str) -> None:
    model = small(name).train()
    sum(y.square().sum() for y in outputs(model(images(name)))).backward()
    # A bias before a batch-norm has no say: the norm takes it out again, to rounding.
    idle = [
        key
        for key, p in model.named_parameters()
        if p.grad is None or not p.grad.isfinite().all() or p.grad.count_nonzero() == 0
    ]
    assert not idle


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICKLY_CAPTURED)) for n in SMALL]
)
def test_a_captured_network_computes_the_same(name: str) -> None:
    model, x = small(name), images(name)
    with torch.no_grad():
        expected, found = outputs(model(x)), outputs(capture(model, x).module(x))
    for y, same in zip(found, expected, strict=True):
        assert torch.equal(y, same)


@pytest.mark.parametrize(
    "name",
    [
        "fsrcnn_subpixel",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("r2plus1d", "rednet26", "resnet8", "segnet", "xception_small")
        ),
    ],
)
def test_an_optimized_network_keeps_its_outputs(name: str) -> None:
    model, x = small(name), images(name)
    optimized = optimize(model, x, timing=False)
    with torch.no_grad():
        torch.testing.assert_close(optimized.model(x), model(x), rtol=1e-4, atol=1e-4)

# SPDX-License-Identifier: Apache-2.0
"""Strides, shortcuts and names; sizes are in test_registry."""

import pytest
import torch
from torch import nn

from convsmith import models
from convsmith.models.residual.resnet50 import Bottleneck


def test_version_1_strides_on_the_first_layer_of_a_block() -> None:
    model = models.create("resnet50", device="meta")
    for stage, stride in zip("1234", (1, 2, 2, 2), strict=True):
        block = model.get_submodule(f"layer{stage}.0")
        layers = (block.conv1, block.conv2, block.conv3, block.downsample[0])  # type: ignore[index]
        assert [layer.stride[0] for layer in layers] == [stride, 1, 1, stride]


def test_blocks_make_the_depth() -> None:
    model = models.create("resnet50", blocks=(1, 2, 4, 1), device="meta")
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    shortcuts = 4
    assert len(layers) - shortcuts == 26


def test_a_block_of_zero_weights_is_its_shortcut() -> None:
    x = torch.randn(2, 8, 6, 6)
    for out_channels, stride in ((8, 1), (12, 2), (12, 1)):
        block = Bottleneck(8, out_channels, stride).eval()
        nn.init.zeros_(block.conv3.weight)
        assert torch.equal(block(x), block.downsample(x).relu())
        assert bool(len(block.downsample)) == ((out_channels, stride) != (8, 1))


def test_a_block_is_the_formula() -> None:
    block = Bottleneck(4, 8, 2, hidden=6, groups=2, strided_filter=True).eval()
    for layer in (block.conv1, block.conv2, block.conv3, block.downsample[0]):
        nn.init.constant_(layer.weight, 1)  # type: ignore[arg-type]
    for norm in (block.bn1, block.bn2, block.bn3, block.downsample[1]):
        norm.eps = 0.0  # type: ignore[assignment]
    x = torch.ones(1, 4, 5, 5)
    # 4 ones are 4; 3 channels of a group times the taps inside; 6 of them; and the shortcut's 4
    taps = torch.tensor([[4.0, 6, 4], [6, 9, 6], [4, 6, 4]])
    assert torch.equal(block(x), (4 * 3 * taps * 6 + 4).expand(1, 8, 3, 3))


def test_weights_keep_the_variance_through_relu() -> None:
    torch.manual_seed(0)
    block = models.create("resnext50_32x4d", num_classes=2).layer3[1]
    for layer, products in ((block.conv1, 1024), (block.conv2, 16 * 9), (block.conv3, 512)):
        assert layer.weight.std().item() == pytest.approx((2 / products) ** 0.5, rel=0.05)


def test_a_narrow_one_runs_on_any_image() -> None:
    model = models.create("resnet50", width=0.0625, num_classes=3)
    assert model(torch.randn(2, 3, 65, 43)).shape == (2, 3)
    assert model.features(torch.randn(2, 3, 65, 43)).shape == (2, 128, 3, 2)


def test_parameters_have_the_names_of_torchvision() -> None:
    names = set(models.create("resnet50", device="meta").state_dict())
    assert {
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.conv1.weight",
        "layer1.0.bn3.bias",
        "layer1.0.downsample.0.weight",
        "layer1.0.downsample.1.running_var",
        "layer4.2.conv3.weight",
        "fc.bias",
    } <= names
    assert len(names) == 320

# SPDX-License-Identifier: Apache-2.0
"""Groups and strides; sizes are in test_registry."""

import pytest
import torch

from convsmith import models


def test_32_groups_of_4_channels_double_from_stage_to_stage() -> None:
    model = models.create("resnext50_32x4d", device="meta")
    for stage, (per_group, stride) in enumerate([(4, 1), (8, 2), (16, 2), (32, 2)], 1):
        block = model.get_submodule(f"layer{stage}.0")
        assert block.conv2.weight.shape == (32 * per_group, per_group, 3, 3)
        layers = (block.conv1, block.conv2, block.conv3, block.downsample[0])  # type: ignore[index]
        assert [layer.stride[0] for layer in layers] == [1, stride, 1, stride]


@pytest.mark.parametrize("width", [0.1, 0.3, 1.5])
def test_any_width_has_whole_groups(width: float) -> None:
    model = models.create("resnext50_32x4d", width=width, num_classes=3, device="meta")
    assert model(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 3)


def test_parameters_have_the_names_of_torchvision() -> None:
    assert (
        models.create("resnext50_32x4d", device="meta").state_dict().keys()
        == models.create("resnet50", device="meta").state_dict().keys()
    )

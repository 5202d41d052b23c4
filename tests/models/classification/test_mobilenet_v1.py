# SPDX-License-Identifier: Apache-2.0
"""The width multiplier and TensorFlow's padding; the rest is in test_registry."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from convsmith import models


@pytest.mark.parametrize(
    # Howard et al. 2017, tables 6 and 7: million macs and million parameters.
    ("width", "macs", "parameters"),
    [(0.75, 325, 2.6), (0.5, 149, 1.3), (0.25, 41, 0.5)],
)
def test_the_published_widths(width: float, macs: float, parameters: float) -> None:
    model = models.create("mobilenet_v1", width=width, device="meta")
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(parameters, abs=0.05)
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 224, 224, device="meta"))
    assert counter.get_total_flops() / 2e6 == pytest.approx(macs, abs=1)


def test_a_depth_multiplier_widens_depthwise_layers_alone() -> None:
    plain, doubled = (
        models.create("mobilenet_v1", width=0.25, depth_multiplier=m, device="meta") for m in (1, 2)
    )
    for one, two in zip(plain.features[1:], doubled.features[1:], strict=True):
        if one[0].groups > 1:
            assert two[0].weight.shape == (2 * len(one[0].weight), 1, 3, 3)
            assert two[0].groups == one[0].groups
        else:
            assert two[0].out_channels == one[0].out_channels
            assert two[0].in_channels == 2 * one[0].in_channels


def test_the_padding_of_tensorflow_starts_at_the_corner() -> None:
    same = models.create("mobilenet_v1", width=0.25, num_classes=2, padding="same")
    symmetric = models.create("mobilenet_v1", width=0.25, num_classes=2)
    symmetric.load_state_dict(same.state_dict())
    stem_same, stem_symmetric = same.features[0][0], symmetric.features[0][0]
    x = torch.randint(-4, 5, (1, 3, 32, 32)).float()
    # Stride 2 on an even size: TensorFlow pads after alone, so its windows lie one pixel further.
    shifted = torch.nn.functional.pad(x, (0, 1, 0, 1))
    expected = torch.nn.functional.conv2d(shifted, stem_same.weight, stride=2)
    torch.testing.assert_close(stem_same(x), expected)
    assert not torch.allclose(stem_symmetric(x), expected)
    assert same(x).shape == symmetric(x).shape == (1, 2)

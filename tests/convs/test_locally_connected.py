# SPDX-License-Identifier: Apache-2.0
"""What is special to locally connected layers: filters of their own, and one input size."""

import pytest
import torch
import torch.nn.functional as F

import convsmith as cs
from convsmith.errors import ShapeError


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": (2, 1), "padding": 1}, {"padding": 2, "dilation": 2}, {"stride": 3}],
)
def test_one_filter_for_all_places_is_a_convolution(options: dict):
    x, shared, bias = (torch.randint(-4, 5, s).float() for s in ((2, 3, 7, 8), (4, 3, 3, 2), (4,)))
    expected = F.conv2d(x, shared, bias, **options)
    places = expected[0, 0].numel()
    actual = cs.local_conv2d(
        x, shared.expand(places, -1, -1, -1, -1), bias.expand(places, -1), **options
    )
    assert torch.equal(actual, expected)


def test_each_place_has_its_own_filter():
    layer = cs.LocalConv2d(2, 3, 3, input_size=(5, 6))
    x = torch.randint(-4, 5, (1, 2, 5, 6)).float()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randint(-4, 5, parameter.shape))
    y = layer(x)
    for place in range(12):
        p, q = divmod(place, 4)
        window = x[..., p : p + 3, q : q + 3]
        expected = F.conv2d(window, layer.weight[place], layer.bias[place])
        assert torch.equal(y[..., p, q], expected[..., 0, 0])


def test_the_numbers_of_the_readme():
    layer = cs.LocalConv2d(3, 8, 3, input_size=(6, 7), stride=2, bias=False)
    assert layer.weight.numel() == 1296 == layer.geometry.macs((1, 3, 6, 7)).all


def test_another_input_size_is_refused_by_both_sizes():
    layer = cs.LocalConv2d(2, 3, 3, input_size=(5, 6))
    message = r"input size \(6, 5\), but the filters were made for \(5, 6\)"
    with pytest.raises(ShapeError, match=message):
        layer(torch.zeros(1, 2, 6, 5))  # as many places
    with pytest.raises(ShapeError, match=message):
        layer.geometry.macs((1, 2, 6, 5))
    with pytest.raises(ShapeError, match=r"filters for 12 places, .* has 4 x 5 = 20 outputs"):
        cs.local_conv2d(torch.zeros(1, 2, 6, 7), layer.weight)
    with pytest.raises(ShapeError, match="the kernel spans 3"):
        cs.LocalConv2d(2, 3, 3, input_size=2)


def test_a_weight_of_another_rank_is_refused():
    with pytest.raises(ShapeError, match=r"weight \(3, 2, 3, 3\) has 4 dimensions"):
        cs.local_conv2d(torch.zeros(1, 2, 6, 7), torch.zeros(3, 2, 3, 3))

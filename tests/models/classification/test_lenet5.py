# SPDX-License-Identifier: Apache-2.0
"""Each layer against the paper."""

import pytest
import torch
from torch import nn

from convsmith import models
from convsmith.errors import UnsupportedError
from convsmith.models.classification.lenet5 import (
    DistanceToCodes,
    ScaledTanh,
    SubSampling,
    digit_codes,
)


def test_every_layer_has_the_published_parameters() -> None:
    model = models.create("lenet5")
    layers = [*model.features, *model.classifier]
    counts = [sum(p.numel() for p in layer.parameters()) for layer in layers]
    assert [count for count in counts if count] == [156, 12, 1516, 32, 48120, 10164]
    assert sum(counts) == 60_000


def test_every_map_has_the_published_size() -> None:
    x = torch.zeros(1, 1, 32, 32)
    sizes = []
    for layer in models.create("lenet5").features:
        x = layer(x)
        sizes.append(tuple(x.shape[1:]))
    assert sizes[::2] == [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120, 1, 1)]


def test_c5_slides_over_a_larger_image() -> None:
    assert models.create("lenet5").features(torch.zeros(1, 1, 48, 40)).shape == (1, 120, 5, 3)


def test_sub_sampling_adds_multiplies_and_shifts() -> None:
    layer = SubSampling(2)
    with torch.no_grad():
        layer.coefficient.copy_(torch.tensor([2.0, 3.0]).reshape(2, 1, 1))
        layer.bias.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1))
    x = torch.arange(8.0).reshape(1, 2, 2, 2)
    assert layer(x).flatten().tolist() == [(0 + 1 + 2 + 3) * 2 + 1, (4 + 5 + 6 + 7) * 3 - 1]


def test_the_activation_maps_one_to_one() -> None:
    ends = ScaledTanh()(torch.tensor([-1.0, 0.0, 1.0]))
    torch.testing.assert_close(ends, torch.tensor([-1.0, 0.0, 1.0]), atol=1e-4, rtol=0)


def test_codes_differ_in_many_places() -> None:
    codes = digit_codes()
    assert codes.shape == (10, 84)
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    distances = (codes[:, None] != codes[None]).sum(-1) + 84 * torch.eye(10).long()
    assert distances.min() >= 4


def test_the_output_is_the_distance_to_each_code() -> None:
    layer = DistanceToCodes()
    scores = layer(torch.cat([digit_codes(), torch.zeros(1, 84)]))
    assert scores.argmax(1)[:10].tolist() == list(range(10))
    assert scores.diagonal().tolist() == [0.0] * 10
    assert scores[10].tolist() == [-84.0 / 8] * 10


def test_a_linear_output_serves_other_classes() -> None:
    model = models.create("lenet5", output="linear", num_classes=7)
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 7)
    assert isinstance(model.classifier[-1], nn.Linear)
    with pytest.raises(UnsupportedError, match=r"lenet5: width 1.0 and 7 classes with output 'co"):
        models.create("lenet5", num_classes=7)

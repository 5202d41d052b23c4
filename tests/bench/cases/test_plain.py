# SPDX-License-Identifier: Apache-2.0
"""Twins in plain torch: exactly torch's classes, the same weights, nothing left behind."""

import pytest
import torch
from torch import nn

from convsmith import convs
from convsmith.bench.cases import plain
from convsmith.errors import UnsupportedError


def test_layers_become_torchs_own_with_their_weights() -> None:
    module = nn.Sequential(
        convs.Conv2d(2, 4, 3, stride=2, padding=1, dilation=2, groups=2),
        convs.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, bias=False),
    )
    twin = plain(module)
    assert [type(part) for part in twin] == [nn.Conv2d, nn.ConvTranspose2d]  # type: ignore[attr-defined]
    x = torch.randint(-3, 4, (1, 2, 9, 9)).float()
    assert torch.equal(module(x), twin(x))
    with torch.no_grad():
        module[0].weight.zero_()  # type: ignore[operator]
    assert twin[0].weight.abs().min() > 0, "a twin has weights of its own"  # type: ignore[index]


def test_a_table_becomes_dense_with_zeros() -> None:
    layer = convs.TableConv2d(convs.lenet5_table(), 3, bias=False)
    twin = plain(layer)
    assert (twin.weight == 0).any(dim=(2, 3)).sum() == 96 - 60  # type: ignore[call-overload]
    x = torch.randint(-3, 4, (2, 6, 5, 5)).float()
    assert torch.allclose(twin(x), layer(x), rtol=0, atol=1e-4)


def test_a_layer_without_a_twin_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="UnpoolConv2d has no twin in plain torch yet"):
        plain(nn.Sequential(convs.UnpoolConv2d(2, 2, 3)))

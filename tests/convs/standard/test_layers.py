# SPDX-License-Identifier: Apache-2.0
"""Layers whose options torch has, too, go to torch as they are."""

from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import fx, nn
from torch.nn import functional

from convsmith import convs
from convsmith.convs.standard import standard
from convsmith.errors import ShapeError

MAKERS: dict[str, Callable[..., nn.Module]] = {
    "standard": lambda **o: convs.Conv2d(4, 6, 3, **o),
    "grouped": lambda **o: convs.Conv2d(4, 6, 3, groups=2, **o),
    "depthwise": lambda **o: convs.DepthwiseConv2d(4, 3, **o),
}
every_maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
X = torch.randn(1, 4, 9, 8)


@every_maker
@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": (2, 1), "dilation": (1, 2)}])
def test_nothing_is_resolved_again(
    make: Callable[..., nn.Module], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = Mock(wraps=standard.resolve)
    monkeypatch.setattr(standard, "resolve", resolve)
    layer = make(**options)
    wanted = functional.conv2d(X, layer.weight, layer.bias, groups=layer.groups, **options)
    assert torch.equal(layer(X), wanted)
    assert not resolve.called
    for padding in ("same", ((0, 2), (1, 1))):
        make(padding=padding)(X)
    assert resolve.call_count == 2


@every_maker
def test_a_padding_put_there_by_hand_counts(make: Callable[..., nn.Module]) -> None:
    layer: Any = make()
    for padding, size in [([1, 1], (9, 8)), ("same", (9, 8)), (((0, 2), 1), (9, 8)), (2, (11, 10))]:
        layer.padding = padding
        assert layer(X).shape[2:] == size, padding
    layer.padding = [-1, 0]
    with pytest.raises(ShapeError, match="padding: -1 must be at least 0"):
        layer(X)


@pytest.mark.parametrize(
    "layer",
    [
        *(make(padding=1) for make in MAKERS.values()),
        convs.PointwiseConv2d(4, 6, stride=2),
        convs.DepthwiseSeparableConv2d(4, 6, 3, padding=1),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_torch_fx_traces_them(layer: nn.Module) -> None:
    assert torch.equal(fx.symbolic_trace(layer)(X), layer(X))

# SPDX-License-Identifier: Apache-2.0
"""The published sizes, and the bottleneck; exact counts are in test_sizes."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from convsmith import models
from convsmith.convs import Involution2d
from convsmith.errors import ArgumentError
from convsmith.models.residual.rednet import InvolutionBottleneck

# Li et al. 2021, table 1: million parameters and billion operations at 224 pixels.
TABLE = {
    26: (9.23, 1.73),
    38: (12.39, 2.22),
    50: (15.54, 2.71),
    101: (25.65, 4.74),
    152: (33.99, 6.79),
}


@pytest.mark.parametrize(
    "depth", [26, 38, 50, *(pytest.param(d, marks=pytest.mark.slow) for d in (101, 152))]
)
def test_the_published_sizes(depth: int) -> None:
    model = models.create(f"rednet{depth}", device="meta")
    parameters, operations = TABLE[depth]
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(parameters, abs=0.01)
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 224, 224, device="meta"))
    # Products alone, our count, are a little fewer.
    assert 0.97 < counter.get_total_flops() / 2e9 / operations < 0.995


class Elementwise(TorchDispatchMode):
    """Counts 1 a bias, 2 a normalised value and 1 a value of a ReLU."""

    total = 0

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        y = operator(*args, **(kwargs or {}))
        name = operator.overloadpacket.__name__
        if name == "convolution" and args[2] is not None:
            self.total += y.numel()
        elif "batch_norm" in name:
            self.total += 2 * args[0].numel()
        elif name in ("relu", "relu_"):
            self.total += y.numel()
        return y


@pytest.mark.slow
@pytest.mark.parametrize("depth", TABLE)
def test_all_published_numbers_are_those_of_a_wider_stem(depth: int) -> None:
    model = models.create(f"rednet{depth}", stem_window=7, device="meta")
    parameters, operations = TABLE[depth]
    x = torch.empty(1, 3, 224, 224, device="meta")
    with FlopCounterMode(display=False) as products, torch.no_grad():
        model(x)
    with Elementwise() as others, torch.no_grad():
        model(x)
    # Both have two digits behind the point.
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == parameters
    assert round((products.get_total_flops() / 2 + others.total) / 1e9, 2) == operations


def test_dense_prediction_has_the_wider_stem() -> None:
    for name in ("rednet50_fpn", "rednet50_retinanet"):
        backbone = models.create(name, device="meta").backbone
        first = next(m for m in backbone.modules() if isinstance(m, Involution2d))
        assert first.kernel_size == (7, 7)


def test_kernels_are_7x7_and_shared_by_16_channels() -> None:
    model = models.create("rednet26", device="meta")
    stem, *others = (m for m in model.modules() if isinstance(m, Involution2d))
    assert (stem.kernel_size, stem.stride, stem.channels) == ((3, 3), (1, 1), 32)
    assert {(m.kernel_size, m.group_channels) for m in others} == {((7, 7), 16)}
    assert [m.stride[0] for m in others] == [1, 2, 1, 2, 1, 1, 1, 2]


def test_a_block_of_zero_weights_is_its_shortcut() -> None:
    x = torch.randn(2, 16, 6, 6)
    for out_channels, stride in ((16, 1), (32, 2), (32, 1)):
        block = InvolutionBottleneck(16, out_channels, stride).eval()
        torch.nn.init.zeros_(block.conv3[0].weight)  # type: ignore[arg-type]
        assert torch.equal(block(x), block.shortcut(x).relu())


def test_features_are_the_last_map() -> None:
    model = models.create("rednet26", width=0.0625, num_classes=3)
    assert model.features(torch.randn(1, 3, 65, 43)).shape == (1, 128, 3, 2)
    assert [tuple(y.shape) for y in model.backbone(torch.randn(1, 3, 65, 43))] == [
        (1, 16, 17, 11),
        (1, 32, 9, 6),
        (1, 64, 5, 3),
        (1, 128, 3, 2),
    ]


def test_an_unknown_depth_is_an_error() -> None:
    with pytest.raises(ArgumentError, match=r"rednet: depth is 18; choose from \[26, 38, 50, 10"):
        models.create("rednet50", depth=18)


@pytest.mark.slow
@pytest.mark.parametrize("depth", TABLE)
def test_first_weights_do_not_overflow(depth: int) -> None:
    model = models.create(f"rednet{depth}", width=0.25, num_classes=3)
    y = model.features(torch.randn(2, 3, 64, 64))
    assert 0.01 < y.square().mean().sqrt() < 100

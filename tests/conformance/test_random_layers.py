# SPDX-License-Identifier: Apache-2.0
"""Layers of every family with random arguments: function, reference, shape and cone agree.

Each layer is built from its own signature, so a family that registers is asked too.
"""

import inspect
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import convsmith.convs  # noqa: F401  (registers the families)
from convsmith.errors import ShapeError
from convsmith.family import Family, families
from convsmith.geometry import Macs

KINDS = [(family, axes) for family in families().values() for axes in family.layers]


@st.composite
def cases(draw: st.DrawFn, family: Family, axes: int) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Arguments of a layer, right ones and some too large for the image, and an input shape."""
    parameters = inspect.signature(family.layers[axes]).parameters

    def entries(least: int, most: int) -> st.SearchStrategy:
        return st.tuples(*[st.integers(least, most)] * axes)

    groups = draw(st.integers(1, 2))
    channels = groups * draw(st.integers(1, 2))
    sizes = draw(entries(1, 6))
    pairs = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * axes)
    choices = {
        "in_channels": st.just(channels),
        "channels": st.just(channels),
        "out_channels": st.integers(1, 2).map(lambda n: n * groups),
        "kernel_size": entries(1, 3),
        "stride": st.integers(1, 3) | entries(1, 3),
        "padding": st.integers(0, 2) | st.sampled_from(["same", "valid"]) | pairs,
        "dilation": st.integers(1, 2) | entries(1, 2),
        "groups": st.just(groups),
        "depth_multiplier": st.integers(1, 2),
        "rank": st.integers(1, 3),
        "group_channels": st.just(channels // groups),
        "reduction": st.just(1),
        "pool": st.integers(1, 2),
        "input_size": st.just(sizes),
        "table": st.lists(
            st.tuples(st.integers(0, channels - 1), st.integers(0, 2)), min_size=1, unique=True
        ),
        "bias": st.booleans(),
    }
    asked = {name: draw(choice) for name, choice in choices.items() if name in parameters}
    if "table" in asked:  # every output channel reads something, every input channel is there
        outputs = sorted({o for _, o in asked["table"]})
        asked["table"] = [(i, outputs.index(o)) for i, o in asked["table"]]
        asked["in_channels"] = channels
    return asked, (draw(st.sampled_from([0, 1, 2])), channels, *sizes)


def integers(*shape: int) -> Tensor:
    return torch.randint(-4, 5, shape).double()


def pooled_indices(layer: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Where the values came from: the places of the maxima of a random image that was pooled."""
    if not hasattr(layer, "pool"):
        return ()
    image = torch.rand(*shape[:2], *layer.geometry.unpooled_size(shape))
    if 0 in image.shape:
        return (torch.zeros(shape, dtype=torch.int64),)
    pooling = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[len(shape) - 2]
    return (pooling(image, layer.pool, return_indices=True)[1],)


class Multiplications(TorchDispatchMode):
    """Counts the products a reference makes, and those with no factor from padding."""

    def __init__(self) -> None:
        super().__init__()
        self.all = self.live = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.mul.Tensor and result.is_floating_point():
            self.all += result.numel()
            self.live += int(torch.count_nonzero(result))
        return result


def counted_loop(family: Family, layer: nn.Module, shape: tuple[int, ...]) -> Macs:
    """All ones, so that only padding makes a zero."""
    for p in layer.parameters():
        nn.init.ones_(p)
    x = torch.ones(shape, dtype=torch.float64)
    others = pooled_indices(layer, shape)
    with torch.no_grad(), Multiplications() as counted:
        family.apply(family.reference, layer, x, *others)
    return Macs(counted.all, counted.live)


@pytest.mark.parametrize(
    ("family", "axes"), [pytest.param(*kind, id=f"{kind[0].name} {kind[1]}d") for kind in KINDS]
)
def test_a_random_layer_is_its_reference(family: Family, axes: int) -> None:
    @settings(max_examples=max(10, settings().max_examples // 4))
    @given(cases(family, axes))
    def check(case: tuple[dict[str, Any], tuple[int, ...]]) -> None:
        arguments, shape = case
        try:
            layer = family.layers[axes](**arguments, dtype=torch.float64).eval()
        except ShapeError:  # a layer that is told its input size refuses a kernel larger than that
            assert "input_size" in arguments
            return
        with torch.no_grad():
            for p in layer.parameters():
                p.copy_(integers(*p.shape))
        try:
            expected_shape = family.output_shape(layer.geometry, shape)
        except ShapeError:
            if shape[0] == 0:  # of an empty batch torch may make an empty result
                return
            with pytest.raises((RuntimeError, ValueError), match=r"\d"):
                layer(torch.zeros(shape, dtype=torch.float64), *pooled_indices(layer, shape))
            return
        x = integers(*shape)
        others = pooled_indices(layer, shape)
        with torch.no_grad():
            y = layer(x, *others)
            expected = family.apply(family.reference, layer, x, *others)
        assert tuple(y.shape) == tuple(expected.shape) == expected_shape
        torch.testing.assert_close(y, expected)  # bit for bit but for a generator's batch-norm
        if not hasattr(layer, "generator"):  # whose own multiplications are in no reference
            macs, counted = family.macs(layer.geometry, shape), counted_loop(family, layer, shape)
            assert macs.all == counted.all
            # Between two stages a place is live to the second though the first met padding alone,
            # and in an unpooled plane though no value went there: the loop sees zeros.
            exact = sum(p.ndim > 1 for p in layer.parameters()) == 1 and not others
            assert macs.live == counted.live if exact else macs.live >= counted.live

    check()

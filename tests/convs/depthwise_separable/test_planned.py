# SPDX-License-Identifier: Apache-2.0
"""The kernels of whole blocks; tests/native/chains asks what every kernel is asked."""

from collections.abc import Iterator
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import convsmith.convs
from convsmith import native
from convsmith.errors import NativeError
from convsmith.geometry import Geometry
from convsmith.native.chains import Chain, Stage, chain_kernels, run_chain

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")

assert convsmith.convs  # its import registers the kernels
KERNELS = chain_kernels()
LAST = torch.channels_last


def depthwise(
    channels: int, size: int = 3, stride: int = 1, multiplier: int = 1, activation: str = "relu"
) -> Stage:
    around = (size // 2, size // 2)
    geometry = Geometry(
        in_channels=channels,
        out_channels=channels * multiplier,
        kernel_size=(size, size),
        stride=(stride, stride),
        padding=(around, around),
        groups=channels,
    )
    return Stage(geometry, activation)


def pointwise(
    inputs: int, outputs: int, activation: str = "none", stride: int = 1, padding: int = 0
) -> Stage:
    geometry = Geometry(
        in_channels=inputs,
        out_channels=outputs,
        kernel_size=(1, 1),
        stride=(stride, stride),
        padding=((padding, padding),) * 2,
    )
    return Stage(geometry, activation)


def blocks(channels: int, size: int = 3, stride: int = 1) -> Iterator[tuple[str, Chain]]:
    """One chain for each kernel, both over so many channels in the middle."""
    middle = depthwise(channels, size, stride)
    yield "separable", Chain((middle, pointwise(channels, 19)))
    yield (
        "inverted_residual",
        Chain((pointwise(5, channels, "relu6"), middle, pointwise(channels, 5))),
    )


def small_integers(*shape: int) -> Tensor:
    return torch.randint(-4, 5, shape).float()


def weights_of(chain: Chain) -> list[Tensor]:
    return [
        small_integers(g.out_channels, g.in_channels // g.groups, *g.kernel_size)
        for g in chain.geometries
    ]


def by_kernel(
    name: str, chain: Chain, x: Tensor, weights: list[Tensor], residual: Tensor | None = None
) -> Tensor:
    kernel = KERNELS[name]
    assert kernel.serves(chain, tuple(x.shape))
    biases = [torch.ones(g.out_channels) for g in chain.geometries]
    return run_chain(kernel, chain, x, weights, biases, residual)


def one_after_the_other(chain: Chain, x: Tensor, weights: list[Tensor]) -> Tensor:
    for stage, weight in zip(chain.stages, weights, strict=True):
        name = "pointwise" if stage.geometry.groups == 1 else "depthwise"
        x = by_kernel(name, Chain((stage,)), x, [weight])
    return x


def by_torch(chain: Chain, x: Tensor, weights: list[Tensor]) -> Tensor:
    for stage, weight in zip(chain.stages, weights, strict=True):
        g = stage.geometry
        bias = torch.ones(g.out_channels)
        x = F.conv2d(x, weight, bias, g.stride, g.padding[0][0], g.dilation, g.groups)
        x = {"relu": F.relu, "relu6": F.relu6, "none": lambda t: t}[stage.activation](x)
    return x


@pytest.mark.parametrize("activation", ["none", "relu", "relu6", "hard_swish", "silu"])
@pytest.mark.parametrize(("channels", "size", "stride"), [(24, 3, 1), (300, 3, 2), (20, 5, 1)])
def test_bit_for_bit_the_kernels_one_after_the_other(
    channels: int, size: int, stride: int, activation: str
) -> None:
    middle = depthwise(channels, size, stride, activation=activation)
    ends = pointwise(7, channels, activation), pointwise(channels, 33, activation)
    for name, chain in {
        "separable": Chain((middle, ends[1])),
        "inverted_residual": Chain((ends[0], middle, ends[1])),
    }.items():
        x = torch.randn(2, chain.geometries[0].in_channels, 11, 10).to(memory_format=LAST)
        weights = [torch.randn_like(weight) for weight in weights_of(chain)]
        want = one_after_the_other(chain, x, weights)
        assert torch.equal(by_kernel(name, chain, x, weights), want)


@pytest.mark.parametrize(("height", "width"), [(5, 400), (1, 700), (37, 2), (3, 3)])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_cut_into_strips(height: int, width: int, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for channels, stride in product((130, 136), (1, 2)):
            for name, chain in blocks(channels, stride=stride):
                x = small_integers(2, chain.geometries[0].in_channels, height, width)
                weights = weights_of(chain)
                want = by_torch(chain, x, weights)
                assert torch.equal(by_kernel(name, chain, x, weights), want)
    finally:
        torch.set_num_threads(before)


def test_the_residual_may_be_the_input() -> None:
    chain = next(chain for name, chain in blocks(24) if name == "inverted_residual")
    x = small_integers(2, 5, 9, 7).to(memory_format=LAST)
    weights = weights_of(chain)
    want = by_torch(chain, x, weights) + x
    assert torch.equal(by_kernel("inverted_residual", chain, x, weights, residual=x), want)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_go_where_the_definition_takes_them(value: float) -> None:
    for name, chain in blocks(16):
        x = small_integers(1, chain.geometries[0].in_channels, 9, 9)
        x[0, 1, 4, 4] = value
        weights = [weight.abs() + 1 for weight in weights_of(chain)]
        got, want = by_kernel(name, chain, x, weights), by_torch(chain, x, weights)
        torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True)


def test_padding_is_skipped() -> None:
    """Of a 3x3 over one pixel only the middle tap reads it."""
    for name, chain in blocks(16):
        x, weights = small_integers(1, chain.geometries[0].in_channels, 1, 1), weights_of(chain)
        want = by_torch(chain, x, weights)
        weights[-2][:, :, 0], weights[-2][:, :, 2] = float("inf"), float("nan")
        assert torch.equal(by_kernel(name, chain, x, weights), want)


@pytest.mark.parametrize("at_the_end", [True, False])
def test_nothing_around_the_input_is_read(at_the_end: bool, between_guards: Tensor) -> None:
    for channels, size, stride in product((8, 17, 24), (3, 5), (1, 2)):
        for name, chain in blocks(channels, size, stride):
            shape = (1, 9, 7, chain.geometries[0].in_channels)
            count = torch.Size(shape).numel()
            place = between_guards[-count:] if at_the_end else between_guards[:count]
            x = place.copy_(small_integers(count)).view(shape).permute(0, 3, 1, 2)
            weights = weights_of(chain)
            want = by_torch(chain, x.clone(), weights)
            assert torch.equal(by_kernel(name, chain, x, weights), want)


def test_sizes_that_overflow_are_refused() -> None:
    separable = next(chain for _, chain in blocks(8))
    for name, chain in (*blocks(8), ("separable_strassen", separable)):
        kernel, huge = KERNELS[name], (1 << 20, chain.geometries[0].in_channels, 1 << 21, 1 << 20)
        pointers = [0] * (2 * len(chain.stages) + 3)
        integers = list(kernel.integers(chain, (1, *huge[1:2], 9, 9), (1, 1, 1, 1)))
        integers[0], integers[2], integers[3] = huge[0], huge[2], huge[3]
        with pytest.raises(NativeError, match=rf"{name} refused .*{huge[2]}.* overflow"):
            native.run(kernel.function, *pointers, *integers)
        integers[0] = -1
        with pytest.raises(NativeError, match=rf"{name} refused .*-1.* do not fit"):
            native.run(kernel.function, *pointers, *integers)


def test_what_is_not_served() -> None:
    separable, inverted = KERNELS["separable"], KERNELS["inverted_residual"]
    middle = depthwise(8)
    refused = [
        (middle,),
        (depthwise(8, multiplier=2), pointwise(16, 4)),
        (middle, pointwise(8, 4, stride=2)),
        (middle, pointwise(8, 4, padding=1)),
        (pointwise(8, 8), pointwise(8, 4)),
        (pointwise(3, 8, stride=2), middle, pointwise(8, 4)),
        (pointwise(3, 8), middle, depthwise(8)),
    ]
    for stages in refused:
        shape = (1, stages[0].geometry.in_channels, 9, 9)
        assert not separable.serves(Chain(stages), shape)
        assert not inverted.serves(Chain(stages), shape)

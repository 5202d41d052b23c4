# SPDX-License-Identifier: Apache-2.0
"""Every registered kernel against torch in float64, on each chain and shape that it serves.

Whole numbers make every float32 sum exact, so that equality is bit for bit; what rounds more (a
kernel that is not direct, an activation with an exponential) gets a bound.
"""

from collections.abc import Callable, Iterator
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import convsmith.convs
from convsmith import native
from convsmith.errors import ArgumentError
from convsmith.geometry import Geometry
from convsmith.native import core
from convsmith.native.chains import (
    Chain,
    ChainKernel,
    Stage,
    chain_kernels,
    register_kernel,
    run_chain,
)

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")

assert convsmith.convs  # its import registers the kernels
KERNELS = chain_kernels()
TAILS = (1, 3, 7, 15, 16, 17, 31, 33)
ACTIVATION = {
    "none": lambda t: t,
    "relu": functional.relu,
    "relu6": functional.relu6,
    "hard_swish": functional.hardswish,
    "silu": functional.silu,
}


def convolution(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int],
    *,
    stride: int = 1,
    padding: int | tuple[tuple[int, int], tuple[int, int]] = 0,
    dilation: int = 1,
    groups: int = 1,
    activation: str = "none",
) -> Stage:
    size = (kernel, kernel) if isinstance(kernel, int) else kernel
    around = ((padding, padding),) * 2 if isinstance(padding, int) else padding
    geometry = Geometry(
        in_channels=inputs,
        out_channels=outputs,
        kernel_size=size,
        stride=(stride, stride),
        padding=around,
        dilation=(dilation, dilation),
        groups=groups,
    )
    return Stage(geometry, activation)


def chains() -> Iterator[tuple[Chain, tuple[int, ...]]]:
    """Chains of every kind, with a shape of x for each."""
    asymmetric = ((0, 2), (1, 0))
    for channels in TAILS:
        other = TAILS[-1 - TAILS.index(channels)]
        one = convolution(channels, other, 1, activation="relu")
        three = convolution(channels, other, 3, padding=1, activation="relu6")
        deep = convolution(channels, channels, 3, padding=1, groups=channels, activation="relu")
        yield Chain((one,)), (2, channels, 5, 7)
        yield Chain((three,), has_residual=True), (1, channels, 7, 5)
        yield Chain((three,)), (1, channels, 13, 11)
        yield Chain((deep,)), (2, channels, 7, 5)
        yield Chain((deep,), has_residual=True), (2, channels, 5, 9)
        yield Chain((deep, one)), (1, channels, 7, 9)
        narrow = convolution(channels, other, 1, activation="relu6")
        middle = convolution(other, other, 3, padding=1, groups=other, activation="relu6")
        yield (
            Chain((narrow, middle, convolution(other, channels, 1)), has_residual=True),
            (*(2, channels, 7, 6),),
        )
    for size, stride, padding, dilation in product((1, 2, 3, 5), (1, 2, 7), (0, 1, 4), (1, 3)):
        for shape in ((1, 6, 13, 11), (3, 6, 1, 2), (0, 6, 5, 5)):
            options = {"stride": stride, "padding": padding, "dilation": dilation}
            yield Chain((convolution(6, 9, size, **options),)), shape
            yield Chain((convolution(6, 6, size, groups=6, **options),)), shape
            yield Chain((convolution(6, 12, size, groups=6, **options),), has_residual=True), shape
            yield Chain((convolution(6, 4, size, groups=2, **options),)), shape
            deep = convolution(6, 6, size, groups=6, activation="relu", **options)
            yield Chain((deep, convolution(6, 20, 1)), has_residual=True), shape
            wide = (convolution(6, 18, 1, activation="relu6"),)
            middle = convolution(18, 18, size, groups=18, activation="relu6", **options)
            yield Chain((*wide, middle, convolution(18, 6, 1))), shape
    yield Chain((convolution(3, 32, 3, stride=2, padding=1, activation="relu"),)), (1, 3, 33, 31)
    yield Chain((convolution(3, 16, 7, stride=2, padding=3),)), (1, 3, 37, 29)
    yield Chain((convolution(5, 40, (1, 3), padding=asymmetric),)), (2, 5, 9, 8)
    yield Chain((convolution(16, 16, (3, 3), padding=asymmetric),)), (2, 16, 9, 8)
    yield Chain((convolution(16, 24, (3, 1)),)), (2, 16, 9, 8)
    yield Chain((convolution(32, 32, 3, padding=12, dilation=12),)), (1, 32, 33, 33)
    yield Chain((convolution(32, 32, 3, padding=2, dilation=2),)), (1, 32, 15, 17)
    yield Chain((convolution(64, 48, 3, padding=1),), has_residual=True), (1, 64, 28, 29)
    yield Chain((convolution(160, 70, 3, padding=1),)), (2, 160, 9, 7)
    yield Chain((convolution(8, 8, 31, padding=15, groups=8),)), (1, 8, 14, 14)
    yield Chain((convolution(24, 48, 3, padding=1, groups=24),), has_residual=True), (2, 24, 9, 31)
    yield from small_groups()
    for activation in ACTIVATION:
        yield Chain((convolution(20, 20, 1, activation=activation),)), (1, 20, 4, 4)
        yield Chain((convolution(20, 20, 3, activation=activation),)), (1, 20, 4, 4)


def small_groups() -> Iterator[tuple[Chain, tuple[int, ...]]]:
    """As many channels out of each group as go in, with vectors that hold several or a part."""
    for group, number in product((2, 4, 8, 16), (1, 3, 5)):
        channels = group * number
        plain = convolution(
            channels,
            channels,
            3,
            padding=1,
            groups=number,
            activation="relu" if group < 8 else "silu",
        )
        yield Chain((plain,), has_residual=True), (2, channels, 7, 9)
        for size, stride, dilation in product((1, 2, 5), (1, 3), (1, 2)):
            strided = convolution(
                *(channels, channels, size),
                stride=stride,
                dilation=dilation,
                groups=number,
                padding=2,
            )
            yield Chain((strided,)), (1, channels, 9, 6)
        high = convolution(channels, channels, 3, padding=((9, 0), (0, 9)), groups=number)
        yield Chain((high,)), (1, channels, 3, 2)
    yield Chain((convolution(32, 32, 3, padding=1, groups=8),)), (1, 32, 40, 61)
    yield Chain((convolution(8, 8, (3, 40), padding=20, groups=2),)), (1, 8, 5, 200)


def fits(chain: Chain, shape: tuple[int, ...]) -> bool:
    for geometry in chain.geometries:
        sizes = zip(shape[2:], geometry.padding, geometry.kernel_size, strict=True)
        if any(
            n + sum(pad) <= (kernel - 1) * geometry.dilation[axis]
            for axis, (n, pad, kernel) in enumerate(sizes)
        ):
            return False
        shape = geometry.output_shape(shape)
    return True


CASES = [(chain, shape) for chain, shape in chains() if fits(chain, shape)]


def whole_numbers(*shape: int, most: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-most, most + 1, shape, generator=generator).float()


def weights_of(chain: Chain) -> list[Tensor]:
    return [
        whole_numbers(
            g.out_channels, g.in_channels // g.groups, *g.kernel_size, most=2, seed=11 + i
        )
        for i, g in enumerate(chain.geometries)
    ]


def biases_of(chain: Chain) -> list[Tensor | None]:
    """The first stage of a longer chain has none."""
    count = len(chain.stages)
    return [
        None if count > 1 and i == 0 else whole_numbers(g.out_channels, most=3, seed=i)
        for i, g in enumerate(chain.geometries)
    ]


def expected(
    chain: Chain,
    x: Tensor,
    weights: list[Tensor],
    biases: list[Tensor | None],
    residual: Tensor | None,
) -> Tensor:
    """The chain's formula by torch, in float64."""
    y = x.double()
    stages = list(zip(chain.stages, weights, biases, strict=True))
    for i, (stage, weight, bias) in enumerate(stages):
        g = stage.geometry
        (top, bottom), (left, right) = g.padding
        y = functional.conv2d(
            functional.pad(y, (left, right, top, bottom)),
            weight.double(),
            None if bias is None else bias.double(),
            g.stride,
            0,
            g.dilation,
            g.groups,
        )
        if residual is not None and i == len(stages) - 1:
            y = y + residual.double()
        y = ACTIVATION[stage.activation](y)
    return y


def layouts(x: Tensor) -> Iterator[Tensor]:
    """The same numbers: contiguous, channels last, misaligned, with gaps."""
    n, c, h, w = x.shape
    yield x
    yield x.contiguous(memory_format=torch.channels_last)
    misaligned = torch.empty(x.numel() + 1)[1:].view(n, h, w, c).permute(0, 3, 1, 2)
    yield misaligned.copy_(x)
    gaps = torch.full((n, h + 1, w + 2, c + 3), float("nan"))
    yield gaps.permute(0, 3, 1, 2)[:, :c, :h, :w].copy_(x)


@pytest.fixture(params=core.info()["targets_supported"])
def target(request: pytest.FixtureRequest) -> Iterator[str]:
    before = core.info()["target"]
    assert core._core is not None
    core._core.use_target(request.param)
    yield request.param
    core._core.use_target(before)


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every new tensor is full of NaN: what a kernel leaves unwritten shows."""
    for name in ("empty", "empty_strided"):
        monkeypatch.setattr(torch, name, _filled_with_nan(getattr(torch, name)))


def _filled_with_nan(empty: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *a, **k: empty(*a, **k).fill_(float("nan"))


def largest(t: Tensor) -> float:
    return float(t.abs().max()) if t.numel() else 0.0


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=list(KERNELS))
@pytest.mark.usefixtures("poisoned")
def test_it_equals_the_definition(kernel: ChainKernel, target: str) -> None:
    served = 0
    for chain, shape in CASES:
        if not kernel.serves(chain, shape):
            continue
        served += 1
        weights, biases = weights_of(chain), biases_of(chain)
        residual = None
        if chain.has_residual:
            residual = whole_numbers(*chain.output_shape(shape), most=5, seed=3)
        wanted_x = whole_numbers(*shape, most=4, seed=1)
        wanted = expected(chain, wanted_x, weights, biases, residual)
        for x in layouts(wanted_x):
            y = run_chain(kernel, chain, x, weights, biases, residual)
            assert y.is_contiguous(memory_format=torch.channels_last)
            difference = largest(y.double() - wanted)
            is_exact = kernel.is_direct and chain.stages[-1].activation not in (
                "hard_swish",
                "silu",
            )
            bound = 0.0 if is_exact else 2e-5 * max(1.0, largest(wanted))
            assert difference <= bound, (kernel.name, target, chain, shape, x.stride())
    assert served, f"no case for {kernel.name}: add one"


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=list(KERNELS))
def test_threads_change_no_bit(kernel: ChainKernel) -> None:
    before = torch.get_num_threads()
    cases = [(c, s) for c, s in CASES if kernel.serves(c, s)]
    try:
        for chain, shape in cases[:: max(1, len(cases) // 20)]:
            x = torch.randn(shape, generator=torch.Generator().manual_seed(5))
            weights, biases = weights_of(chain), biases_of(chain)
            residual = torch.ones(chain.output_shape(shape)) if chain.has_residual else None
            results = []
            for threads in (1, 2):
                torch.set_num_threads(threads)
                results.append(run_chain(kernel, chain, x, weights, biases, residual))
            assert torch.equal(*results), (kernel.name, chain, shape)
    finally:
        torch.set_num_threads(before)


def test_a_name_is_taken_once() -> None:
    kernel = next(iter(KERNELS.values()))
    with pytest.raises(ArgumentError, match=f"{kernel.name!r} is registered already"):
        register_kernel(kernel)

# SPDX-License-Identifier: Apache-2.0
"""Chains of every kind, with small whole numbers for them and what their formula gives."""

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

import convsmith.convs
from convsmith.geometry import Geometry
from convsmith.native.chains import Chain, ChainKernel, Stage, chain_kernels

assert convsmith.convs  # its import registers the kernels
KERNELS = chain_kernels()
TAILS = (1, 3, 7, 15, 16, 17, 31, 33)
# F(2x2) halves and quarters whole numbers, which float32 does without rounding; pairs,
# halves and Strassen's products add them.
EXACT = {name for name, kernel in KERNELS.items() if kernel.is_direct} | {
    *(
        "winograd_2x2",
        "winograd_pairs",
        "depthwise_halves",
        "pointwise_strassen",
        "separable_strassen",
    )
}
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
    for padding in (0, 4, 8):
        large = convolution(19, 19, (9, 11), padding=padding, groups=19, activation="relu6")
        yield Chain((large,), has_residual=True), (2, 19, 21, 43)
    yield (
        Chain((convolution(16, 16, (13, 17), padding=8, groups=16),)),
        (1, 16, 30, 32),
    )
    for channels, size, before, after in (
        *((channels, (7, 5), (4, 4), (4, 4)) for channels in TAILS),
        *((5, (8, 8), (4, 4), (4, 4)), (5, (1, 2), (4, 7), (4, 5)), (33, (2, 3), (8, 8), (5, 9))),
    ):
        pairs = convolution(
            *(channels, 20, 3), padding=(before, after), dilation=4, activation="relu"
        )
        yield Chain((pairs,), has_residual=True), (2, channels, *size)
    yield from large_depthwise()
    yield from depthwise_over_the_image()
    for channels, stride in product((17, 32), (1, 2)):
        twice = convolution(channels, 2 * channels, 3, stride=stride, padding=1, groups=channels)
        yield Chain((twice,)), (2, channels, 6, 11)
    yield Chain((convolution(24, 48, 3, padding=1, groups=24),), has_residual=True), (2, 24, 9, 31)
    yield from small_groups()
    yield from many_channels()
    for activation in ACTIVATION:
        yield Chain((convolution(20, 20, 1, activation=activation),)), (1, 20, 4, 4)
        yield Chain((convolution(20, 20, 3, activation=activation),)), (1, 20, 4, 4)


def large_depthwise() -> Iterator[tuple[Chain, tuple[int, ...]]]:
    """Kernels that are cut into pieces, on maps of one tile and of several."""
    for channels in TAILS:
        tall = convolution(channels, channels, (13, 14), padding=6, groups=channels)
        yield Chain((tall,)), (2, channels, 9, 7)
    options = {"groups": 3, "activation": "silu"}
    yield Chain((convolution(3, 6, 12, padding=9, **options),), has_residual=True), (3, 3, 6, 11)
    around = ((20, 14), (13, 30))  # rows and columns of outputs that read nothing
    yield Chain((convolution(3, 3, 13, padding=around, groups=3),)), (1, 3, 2, 5)
    yield Chain((convolution(3, 3, 12, padding=7, groups=3),)), (0, 3, 9, 9)
    yield Chain((convolution(2, 2, 15, groups=2),)), (1, 2, 16, 140)
    yield Chain((convolution(2, 2, (1, 9), padding=4, groups=2),)), (1, 2, 3, 61)
    yield Chain((convolution(1, 1, 16, padding=8),)), (1, 1, 200, 70)


def depthwise_over_the_image() -> Iterator[tuple[Chain, tuple[int, ...]]]:
    """Kernels that cover the image from each of its pixels, and those that just do not."""
    for channels, height in product(TAILS, (8, 7)):
        wide = convolution(channels, channels, 15, padding=7, groups=channels, activation="relu")
        yield Chain((wide,), has_residual=True), (2, channels, height, 8)
    for size in range(1, 17):
        for padding in (size - 1, size + 1):
            around = ((9, 8 - size % 2), (padding, padding))
            kernel = (18 - size % 2, 2 * padding + 1)
            options = {"padding": around, "groups": 5, "activation": "silu"}
            yield Chain((convolution(5, 5, kernel, **options),)), (1, 5, 8, size)
    twice = convolution(7, 14, 13, padding=6, groups=7)
    yield Chain((twice,), has_residual=True), (2, 7, 6, 7)
    yield Chain((convolution(17, 17, 27, padding=13, groups=17),)), (1, 17, 14, 14)
    short = convolution(3, 3, (11, 13), padding=((5, 5), (6, 6)), groups=3)
    yield Chain((short,)), (1, 3, 8, 7)  # from the first row the last is out of reach


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
    for group, stride, dilation in product((2, 4, 8), (1, 2), (1, 2)):
        options = {"stride": stride, "dilation": dilation, "padding": 2, "activation": "silu"}
        some = convolution(40, 40, (4, 3), groups=40 // group, **options)
        yield Chain((some,), has_residual=True), (2, 40, 8, 17)
    yield Chain((convolution(32, 32, 3, padding=1, groups=8),)), (1, 32, 40, 61)
    yield Chain((convolution(8, 8, (3, 40), padding=20, groups=2),)), (1, 8, 5, 200)


def many_channels() -> Iterator[tuple[Chain, tuple[int, ...]]]:
    """Halves, pairs of panels and pairs of pixels that come out even, and those that do not."""
    sizes = ((64, 64), (65, 97), (70, 128), (80, 160), (96, 64), (129, 66), (133, 200))
    for (inputs, outputs), size in product(sizes, ((4, 7), (5, 9))):
        mixing = convolution(inputs, outputs, 1, activation="relu6")
        yield Chain((mixing,), has_residual=True), (2, inputs, *size)
        deep = convolution(inputs, inputs, 3, padding=1, groups=inputs, activation="relu")
        yield Chain((deep, mixing), has_residual=True), (2, inputs, *size)
    for inputs, outputs in ((1030, 64), (531, 330)):  # depth in blocks; panels that pass one by one
        yield Chain((convolution(inputs, outputs, 1, activation="silu"),)), (1, inputs, 7, 11)
        deep = convolution(inputs, inputs, 3, stride=2, padding=1, groups=inputs)
        mixing = convolution(inputs, outputs, 1)
        yield Chain((deep, mixing), has_residual=True), (1, inputs, 11, 9)
    yield Chain((convolution(64, 64, 1, stride=2),), has_residual=True), (3, 64, 11, 13)
    yield Chain((convolution(64, 64, 1),)), (0, 64, 7, 7)
    yield Chain((convolution(64, 130, 1),), has_residual=True), (1, 64, 33, 31)


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


def some_served(kernel: ChainKernel, number: int) -> list[tuple[Chain, tuple[int, ...]]]:
    """About so many of the cases that a kernel serves, of every kind."""
    served = [(chain, shape) for chain, shape in CASES if kernel.serves(chain, shape)]
    return served[:: max(1, len(served) // number)]


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

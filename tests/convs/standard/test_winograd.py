# SPDX-License-Identifier: Apache-2.0
"""Winograd's kernels: exact where they can be, and how far from exact they are elsewhere."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convsmith import native
from convsmith.errors import NativeError
from convsmith.geometry import Geometry
from convsmith.models.registry import load_weights
from convsmith.native.chains import Chain, Stage, chain_kernels, run_chain

pytestmark = [
    pytest.mark.skipif(not native.available(), reason="the compiled core is not built"),
    pytest.mark.usefixtures("poisoned", "threads_restored"),
]

Pads = tuple[tuple[int, int], tuple[int, int]]
SAME: Pads = ((1, 1), (1, 1))
# Outputs of a tile along each side, and the relative error on normal data.
TILES = {"winograd_2x2": 2, "winograd_3x3": 3, "winograd_4x4": 4, "winograd_4x4_few": 4}
ERRORS = {2: 1e-6, 3: 1.5e-6, 4: 3e-6}


def winograd(
    name: str,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    padding: Pads = SAME,
    dilation: tuple[int, int] = (1, 1),
    residual: Tensor | None = None,
) -> Tensor:
    geometry = Geometry(
        in_channels=weight.shape[1],
        out_channels=weight.shape[0],
        kernel_size=(3, 3),
        padding=padding,
        dilation=dilation,
    )
    chain = Chain((Stage(geometry),), residual is not None)
    kernel = chain_kernels()[name]
    assert kernel.serves(chain, tuple(x.shape))
    return run_chain(kernel, chain, x, [weight], [bias], residual)


def by_definition(
    x: Tensor, weight: Tensor, padding: Pads = SAME, dilation: tuple[int, int] = (1, 1)
) -> Tensor:
    (top, bottom), (left, right) = padding
    padded = F.pad(x.double(), (left, right, top, bottom))
    return F.conv2d(padded, weight.double(), dilation=dilation)


def relative_error(y: Tensor, exact: Tensor) -> float:
    return float((y - exact).norm() / exact.norm())


def whole_numbers(*shape: int, most: int = 4) -> Tensor:
    return torch.randint(-most, most + 1, shape).float()


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (3, 33), (15, 17), (33, 7), (70, 130)])
def test_tiles_of_two_are_exact_on_whole_numbers(target: str, inputs: int, outputs: int) -> None:
    """B and A hold 0, 1 and -1, G also halves: all sums are multiples of 1/4, far below 2^24 / 4.

    |V| <= 4 * 4 and |U| <= 2 (3/2)^2, so |M| <= 70 * 72, and y adds nine of them.
    """
    weight, bias = whole_numbers(outputs, inputs, 3, 3, most=2), whole_numbers(outputs)
    paddings: list[Pads] = [SAME, ((0, 0), (0, 0)), ((3, 0), (2, 5))]
    sizes, dilations = [(3, 3), (4, 7), (13, 6)], [(1, 1), (2, 1), (3, 5)]
    for padding, size, dilation in product(paddings, sizes, dilations):
        if any(n + sum(pad) <= 2 * d for n, pad, d in zip(size, padding, dilation, strict=True)):
            continue
        x = whole_numbers(2, inputs, *size)
        want = by_definition(x, weight, padding, dilation) + bias[:, None, None]
        residual = whole_numbers(*want.shape)
        options = {"padding": padding, "dilation": dilation, "residual": residual}
        got = winograd("winograd_2x2", x, weight, bias, **options)
        assert torch.equal(got.double(), want + residual), (padding, size, dilation)


@pytest.mark.parametrize("threads", [1, 2])
def test_maps_of_several_blocks(threads: int) -> None:
    torch.set_num_threads(threads)
    for channels, size in [(9, (67, 45)), (40, (9, 9)), (260, (20, 17)), (300, (5, 5))]:
        x, weight = whole_numbers(2, channels, *size), whole_numbers(90, channels, 3, 3, most=2)
        exact = by_definition(x, weight)
        assert torch.equal(winograd("winograd_2x2", x, weight).double(), exact)
        for name, tile in TILES.items():
            assert relative_error(winograd(name, x, weight), exact) < ERRORS[tile], name


@pytest.mark.parametrize("size", [(2, 2), (4, 4), (7, 7), (5, 9), (14, 14), (13, 18)])
def test_a_few_tiles(target: str, size: tuple[int, int]) -> None:
    """One to twenty: whole groups of 4 and of 8, and groups that are not full."""
    for inputs, outputs in [(1, 1), (15, 17), (16, 31), (17, 33), (45, 70)]:
        x, weight = torch.randn(1, inputs, *size), torch.randn(outputs, inputs, 3, 3)
        bias = torch.randn(outputs)
        exact = by_definition(x, weight) + bias[:, None, None]
        for name, tile in TILES.items():
            got = winograd(name, x, weight, bias)
            assert relative_error(got, exact) < ERRORS[tile], (name, target)


def test_an_empty_batch() -> None:
    for name in TILES:
        y = winograd(name, torch.randn(0, 5, 7, 7), torch.randn(6, 5, 3, 3))
        assert y.shape == (0, 6, 7, 7)


@pytest.mark.parametrize("channels", [64, 256, 512])
def test_the_error_on_normal_data(channels: int) -> None:
    """Relative L2 against float64; direct summation in float32 has 3e-7 to 8e-7."""
    x, weight = torch.randn(1, channels, 14, 14), torch.randn(48, channels, 3, 3)
    exact = by_definition(x, weight)
    for name, tile in TILES.items():
        assert relative_error(winograd(name, x, weight), exact) < ERRORS[tile], name


def test_the_error_on_trained_weights(shared_data: Path) -> None:
    path = shared_data / "weights" / "cifar10_resnet20-12fca82f.th"
    model = load_weights("resnet20", path)
    layers = [
        m
        for m in model.modules()
        if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3) and m.stride == (1, 1)
    ]
    assert len(layers) == 17
    for layer in layers:
        weight = layer.weight.detach()
        x = torch.randn(1, weight.shape[1], 32, 32).relu()
        exact = by_definition(x, weight)
        for name, tile in TILES.items():
            assert relative_error(winograd(name, x, weight), exact) < ERRORS[tile], name


def summed_in_order(x: Tensor, weight: Tensor) -> Tensor:
    """The definition in one float32 accumulator, no padding."""
    rows, columns = x.shape[2] - 2, x.shape[3] - 2
    y = torch.zeros(1, weight.shape[0], rows, columns)
    for i, j, c in product(range(3), range(3), range(x.shape[1])):
        y += x[:, c, i : i + rows, j : j + columns] * weight[:, c, i, j, None, None]
    return y


@pytest.mark.parametrize("channels", [3, 64])
@pytest.mark.parametrize("offset", [10.0, 1000.0])
def test_a_large_offset_costs_no_more_than_elsewhere(channels: int, offset: float) -> None:
    """Of zero-sum kernels, too, where the offset cancels in y and its rounding stays."""
    no_padding: Pads = ((0, 0), (0, 0))
    for zero_sum in (False, True):
        x, weight = torch.randn(1, channels, 18, 18) + offset, torch.randn(16, channels, 3, 3)
        if zero_sum:
            weight = weight - weight.mean((2, 3), keepdim=True)
        exact = by_definition(x, weight, no_padding)
        direct = relative_error(summed_in_order(x, weight), exact)
        for name in TILES:
            got = winograd(name, x, weight, padding=no_padding)
            assert relative_error(got, exact) < 10 * direct


@pytest.mark.parametrize(("name", "tile"), TILES.items())
def test_what_is_not_finite_stays_in_the_tiles_that_read_it(name: str, tile: int) -> None:
    x, weight = torch.randn(1, 5, 21, 21), torch.randn(6, 5, 3, 3)
    clean = winograd(name, x, weight)
    for value in (float("nan"), float("inf"), float("-inf")):
        dirty = x.clone()
        dirty[0, 2, 9, 10] = value
        got = winograd(name, dirty, weight)
        assert not got[:, :, 8:11, 9:12].isfinite().any()  # what the definition spoils
        # A tile that begins at t reads rows t - 1 to t + tile.
        starts = [[t for t in range(0, 21, tile) if t - 1 <= p <= t + tile] for p in (9, 10)]
        spoilt = torch.zeros(21, 21, dtype=torch.bool)
        for row, column in product(*starts):
            spoilt[row : row + tile, column : column + tile] = True
        assert torch.equal(got[:, :, ~spoilt], clean[:, :, ~spoilt])


@pytest.mark.parametrize("name", TILES)
def test_the_input_may_lie_between_pages_that_are_not_there(
    name: str, between_guards: Tensor
) -> None:
    for channels in (1, 7, 8, 19):
        weight = whole_numbers(5, channels, 3, 3, most=2)
        count = channels * 7 * 9
        for piece in (between_guards[:count], between_guards[-count:]):
            piece.copy_(whole_numbers(count))
            x = piece.view(1, 7, 9, channels).permute(0, 3, 1, 2)
            got = winograd(name, x, weight)
            assert relative_error(got, by_definition(x.clone(), weight)) < 1e-6


# x, weight, bias, residual, y; n, channels, out_channels, height, width; strides; out size; top,
# left; dilations; tile; activation.
GOOD = [0, 0, 0, 0, 0, 0, 4, 5, 6, 7, 168, 28, 4, 6, 7, 1, 1, 1, 1, 4, 0]


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (5, -1, "the sizes do not fit together"),
        (15, -1, "the sizes do not fit together"),
        (17, 0, "the sizes do not fit together"),
        (19, 1, "the sizes do not fit together"),
        (19, 5, "the sizes do not fit together"),
        (20, 5, "the sizes do not fit together"),
        (6, 2**56, "the sizes overflow 64-bit integers"),
        (7, 2**60, "the sizes overflow 64-bit integers"),
        (11, 2**61, "the sizes overflow 64-bit integers"),
        (13, 2**63 - 1, "the sizes overflow 64-bit integers"),
        (18, 2**60, "the sizes overflow 64-bit integers"),
    ],
)
@pytest.mark.parametrize("function", ["winograd_conv2d", "winograd_few_tiles"])
def test_bad_sizes_are_refused_by_value(
    function: str, position: int, value: int, message: str
) -> None:
    native.run(function, *GOOD)
    integers = list(GOOD)
    integers[position] = value
    with pytest.raises(NativeError, match=f"refused .*{value}.*: {message}"):
        native.run(function, *integers)


def test_few_tiles_are_of_four() -> None:
    for tile in (2, 3):
        native.run("winograd_conv2d", *GOOD[:19], tile, 0)
        with pytest.raises(NativeError, match=r"winograd_few_tiles refused .*: the sizes do not"):
            native.run("winograd_few_tiles", *GOOD[:19], tile, 0)


def test_packing_refuses_bad_sizes() -> None:
    with pytest.raises(NativeError, match=r"refused \(0, 0, 4, 4, 5\): the sizes do not fit"):
        native.run("winograd_pack", 0, 0, 4, 4, 5)
    with pytest.raises(NativeError, match=r"refused \(0, 0, -1, 4, 2\): the sizes do not fit"):
        native.run("winograd_pack", 0, 0, -1, 4, 2)
    with pytest.raises(NativeError, match=r"refused .*: the sizes overflow"):
        native.run("winograd_pack", 0, 0, 2**40, 2**40, 4)


def test_it_serves_plain_3x3_only() -> None:
    def serves(**options: Any) -> bool:
        plain = {"in_channels": 4, "out_channels": 6, "kernel_size": (3, 3), "padding": SAME}
        chain = Chain((Stage(Geometry(**{**plain, **options})),))
        return all(chain_kernels()[name].serves(chain, (1, 4, 8, 8)) for name in TILES)

    assert serves()
    assert serves(dilation=(2, 3), padding=((4, 0), (1, 7)))
    for other in ({"stride": (1, 2)}, {"groups": 2}, {"kernel_size": (3, 1)}):
        assert not serves(**other)


PAIRS: Pads = ((18, 18), (18, 18))


def test_pairs_on_phases_of_two_and_of_one() -> None:
    x, weight = torch.randn(1, 64, 33, 36), torch.randn(48, 64, 3, 3)
    exact = by_definition(x, weight, PAIRS, (18, 18))
    options = {"padding": PAIRS, "dilation": (18, 18)}
    clean = winograd("winograd_pairs", x, weight, **options)
    assert relative_error(clean, exact) < ERRORS[2]
    for value in (float("nan"), float("inf")):
        dirty = x.clone()
        dirty[0, 3, 20, 16] = value
        got = winograd("winograd_pairs", dirty, weight, **options)
        phase = torch.zeros(33, 36, dtype=torch.bool)
        phase[2::18, 16::18] = True
        assert not got[:, :, phase].isfinite().any()
        assert torch.equal(got[:, :, ~phase], clean[:, :, ~phase])


def test_pairs_read_no_third_pixel() -> None:
    def serves(size: tuple[int, int], padding: Pads = PAIRS, dilation: int = 18) -> bool:
        geometry = Geometry(
            in_channels=4,
            out_channels=6,
            kernel_size=(3, 3),
            padding=padding,
            dilation=(dilation, dilation),
        )
        chain = Chain((Stage(geometry),))
        return chain_kernels()["winograd_pairs"].serves(chain, (1, 4, *size))

    assert serves((36, 1))
    assert serves((33, 33), ((18, 15), (18, 21)))
    assert not serves((37, 33))
    assert not serves((33, 33), dilation=16)
    assert not serves((33, 33), ((17, 18), (18, 18)))
    assert not serves((33, 33), ((18, 18), (22, 18)))
    for size, before, works in [(36, 18, True), (37, 18, False), (33, 22, False), (33, 17, False)]:
        sizes = [size, 33, 0, 0, 0, 33, 33, before, 18, 18, 18]
        if works:
            native.run("winograd_conv2d", 0, 0, 0, 0, 0, 0, 4, 5, *sizes, 1, 0)
        else:
            with pytest.raises(NativeError, match=rf"refused .*{size}.*: the sizes do not fit"):
                native.run("winograd_conv2d", 0, 0, 0, 0, 0, 0, 4, 5, *sizes, 1, 0)

# SPDX-License-Identifier: Apache-2.0
"""Products with seven multiplications for eight; tests/native/chains has what every kernel must do.

There they are exact on whole numbers. Here: how far from exact they are elsewhere, and what depends
on what.
"""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import convsmith.convs
from convsmith import native
from convsmith.geometry import Geometry
from convsmith.native.chains import Chain, Stage, chain_kernels, run_chain

pytestmark = [
    pytest.mark.skipif(not native.available(), reason="the compiled core is not built"),
    pytest.mark.usefixtures("poisoned", "threads_restored"),
]

assert convsmith.convs  # its import registers the kernels
KERNELS = chain_kernels()
NAMES = ("pointwise_strassen", "separable_strassen")


def chain_of(name: str, inputs: int, outputs: int) -> Chain:
    """Outputs that read one pixel each: of a separable block, through the middle tap."""
    mixing = Geometry(in_channels=inputs, out_channels=outputs, kernel_size=(1, 1))
    if name == "pointwise_strassen":
        return Chain((Stage(mixing),))
    middle = Geometry(
        in_channels=inputs,
        out_channels=inputs,
        kernel_size=(3, 3),
        padding=((1, 1), (1, 1)),
        groups=inputs,
    )
    return Chain((Stage(middle), Stage(mixing)))


def filters(channels: int) -> Tensor:
    middle = torch.zeros(channels, 1, 3, 3)
    middle[:, :, 1, 1] = 1
    return middle


def by_kernel(name: str, x: Tensor, weight: Tensor) -> Tensor:
    outputs, inputs = weight.shape[:2]
    kernel, chain = KERNELS[name], chain_of(name, inputs, outputs)
    assert kernel.serves(chain, tuple(x.shape))
    weights = [filters(inputs), weight][-len(chain.stages) :]
    return run_chain(kernel, chain, x, weights, [None] * len(weights))


def relative_error(y: Tensor, x: Tensor, weight: Tensor) -> float:
    exact = F.conv2d(x.double(), weight.double())
    return float((y - exact).norm() / exact.norm())


def summed_in_order(x: Tensor, weight: Tensor) -> Tensor:
    y = torch.zeros(x.shape[0], weight.shape[0], *x.shape[2:])
    for channel in range(x.shape[1]):
        y += x[:, channel : channel + 1] * weight[:, channel, :, :]
    return y


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 256), (256, 64), (512, 512), (1100, 96)])
def test_the_error_on_normal_data(name: str, inputs: int, outputs: int, target: str) -> None:
    """Relative L2 against float64; direct sums have 1e-7 to 6e-7."""
    x, weight = torch.randn(1, inputs, 14, 14), torch.randn(outputs, inputs, 1, 1)
    error = relative_error(by_kernel(name, x, weight), x, weight)
    assert error < 1.5e-6, target
    assert error < 4 * relative_error(summed_in_order(x, weight), x, weight), target


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("offset", [10.0, 1000.0])
def test_a_large_offset_costs_no_more_than_elsewhere(name: str, offset: float) -> None:
    """Of zero-sum weights, too, where the offset cancels in y and its rounding stays."""
    for zero_sum in (False, True):
        x, weight = torch.randn(1, 128, 10, 10) + offset, torch.randn(64, 128, 1, 1)
        if zero_sum:
            weight = weight - weight.mean(1, keepdim=True)
        direct = relative_error(summed_in_order(x, weight), x, weight)
        assert relative_error(by_kernel(name, x, weight), x, weight) < 10 * direct


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_stays_in_its_pair_of_pixels(name: str, value: float) -> None:
    x, weight = torch.randn(3, 64, 7, 9), torch.randn(64, 64, 1, 1).abs() + 1
    clean = by_kernel(name, x, weight)
    # The last pixel of an odd number has no other; no pair reaches into the next image.
    for image, pixel, pair in ((1, 31, (30, 31)), (1, 62, (62,)), (2, 0, (0, 1))):
        dirty = x.clone()
        dirty[image, 5, pixel // 9, pixel % 9] = value
        got = by_kernel(name, dirty, weight)
        spoilt = torch.zeros(3, 63, dtype=torch.bool)
        # A filter's other taps are zero: what is not finite is NaN for those that meet it.
        row, column = pixel // 9, pixel % 9
        reach = range(-1, 2) if name == "separable_strassen" else range(1)
        for i in reach:
            for j in reach:
                if 0 <= row + i < 7 and 0 <= column + j < 9:
                    first = (row + i) * 9 + column + j & ~1
                    spoilt[image, first : first + 2] = True
        assert set(pair) <= set(spoilt[image].nonzero().flatten().tolist())
        spoilt = spoilt.view(3, 1, 7, 9).expand_as(got)
        assert not got[image, :, row, column].isfinite().any()
        assert torch.equal(got[~spoilt], clean[~spoilt])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("height", "width"), [(14, 14), (7, 7), (30, 31), (1, 700)])
def test_neither_threads_nor_the_batch_change_a_bit(name: str, height: int, width: int) -> None:
    for inputs, outputs in ((64, 64), (130, 200), (520, 320)):
        x, weight = torch.randn(3, inputs, height, width), torch.randn(outputs, inputs, 1, 1)
        torch.set_num_threads(1)
        alone = torch.cat([by_kernel(name, image[None], weight) for image in x])
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            assert torch.equal(by_kernel(name, x, weight), alone), (threads, inputs)


def test_only_layers_that_are_large_enough_are_served() -> None:
    for name in NAMES:
        for inputs, outputs, side, is_served in (
            (64, 64, 7, True),
            (63, 64, 7, False),
            (64, 63, 7, False),
            (64, 64, 5, False),
        ):
            chain = chain_of(name, inputs, outputs)
            assert KERNELS[name].serves(chain, (1, inputs, side, side)) == is_served
    two_pointwise = Chain(chain_of("pointwise_strassen", 64, 64).stages * 2)
    assert not any(KERNELS[name].serves(two_pointwise, (1, 64, 9, 9)) for name in NAMES)

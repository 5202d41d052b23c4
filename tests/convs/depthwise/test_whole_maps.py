# SPDX-License-Identifier: Apache-2.0
"""Depthwise kernels that cover the image from each of its pixels.

Sizes, layouts, threads and targets: tests/native/chains/test_every_kernel.py.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convsmith import native
from convsmith.errors import NativeError
from convsmith.geometry import Geometry
from convsmith.native.chains import Chain, Stage, chain_kernels, run_chain

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")

HALVES = "depthwise_halves"


def chain_of(channels: int, kernel: int, padding: int, **options: Any) -> Chain:
    geometry = Geometry(
        in_channels=channels,
        out_channels=channels,
        kernel_size=(kernel, kernel),
        padding=((padding, padding),) * 2,
        groups=channels,
        **options,
    )
    return Chain((Stage(geometry),))


def convolve(name: str, x: Tensor, weight: Tensor) -> Tensor:
    chain, kernel = chain_of(x.shape[1], weight.shape[2], weight.shape[2] // 2), chain_kernels()
    assert kernel[name].serves(chain, tuple(x.shape))
    return run_chain(kernel[name], chain, x, [weight], [None], None)


def relative_error(y: Tensor, x: Tensor, weight: Tensor) -> float:
    padding = weight.shape[2] // 2
    exact = F.conv2d(x.double(), weight.double(), padding=padding, groups=x.shape[1])
    return float((y - exact).norm() / exact.norm())


@pytest.mark.parametrize(("kernel", "size"), [(27, 14), (31, 14), (15, 8), (19, 10)])
@pytest.mark.parametrize("offset", [0.0, 10.0, 1000.0])
def test_the_error_of_halves(kernel: int, size: int, offset: float) -> None:
    """Relative L2; direct sums in float32 have 2e-7 to 4e-7. Of zero-sum kernels, too, where an
    offset cancels but for the border and its rounding stays."""
    for zero_sum in (False, True):
        x, weight = torch.randn(1, 16, size, size) + offset, torch.randn(16, 1, kernel, kernel)
        if zero_sum:
            weight = weight - weight.mean((2, 3), keepdim=True)
        direct = relative_error(convolve("depthwise", x, weight), x, weight)
        halves = relative_error(convolve(HALVES, x, weight), x, weight)
        assert direct < 6e-7
        assert halves < 3 * direct


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_stays_in_its_channel_and_image(value: float) -> None:
    """There it reaches every output, as the definition has it."""
    x, weight = torch.randn(2, 5, 14, 14), torch.randn(5, 1, 27, 27)
    clean = convolve(HALVES, x, weight)
    dirty = x.clone()
    dirty[1, 2, 3, 4] = value
    got = convolve(HALVES, dirty, weight)
    spoilt = torch.zeros(2, 5, dtype=torch.bool)
    spoilt[1, 2] = True
    assert not got[spoilt].isfinite().any()
    assert torch.equal(got[~spoilt], clean[~spoilt])


@pytest.mark.parametrize("name", ["depthwise", HALVES])
def test_taps_that_only_meet_padding_do_no_harm(name: str) -> None:
    x, weight = torch.randn(1, 3, 6, 6), torch.randn(3, 1, 15, 15)
    wanted = convolve(name, x, weight)
    weight[:, :, :2] = weight[:, :, -2:] = float("nan")
    weight[..., :2] = weight[..., -2:] = float("inf")
    assert torch.equal(convolve(name, x, weight), wanted)


def test_which_layers_are_halved() -> None:
    def serves(kernel: int, padding: int, height: int, width: int, **options: Any) -> bool:
        chain = chain_of(4, kernel, padding, **options)
        return chain_kernels()[HALVES].serves(chain, (1, 4, height, width))

    assert serves(27, 13, 14, 14)
    assert serves(31, 15, 14, 7)
    assert not serves(27, 13, 13, 14)  # of an odd number of rows
    assert not serves(31, 15, 16, 15)  # too wide for registers
    assert not serves(25, 12, 14, 14)  # from the first row the last is out of reach
    assert not serves(27, 12, 14, 14)  # the output is smaller
    assert not serves(7, 3, 4, 4)  # few taps are read in place
    assert not serves(27, 26, 14, 14, dilation=(2, 2))
    assert not serves(27, 13, 14, 14, stride=(2, 2))


# x, weights, bias, residual, y; n, c, h, w; strides; multiplier; kernel; out size; strides;
# padding; dilations; channels last; activation.
GOOD = [0, 0, 0, 0, 0, 0, 4, 8, 8, 256, 64, 8, 1, 1, 15, 15, 8, 8, 1, 1, 7, 7, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (5, -1, "the sizes do not fit together"),
        (14, 0, "the sizes do not fit together"),
        (25, 5, "the sizes do not fit together"),
        (7, 2**63 - 1, "the sizes overflow 64-bit integers"),
    ],
)
def test_bad_sizes_are_refused_by_value(position: int, value: int, message: str) -> None:
    native.run(HALVES, *GOOD)
    integers = list(GOOD)
    integers[position] = value
    with pytest.raises(NativeError, match=f"{HALVES} refused .*{value}.*: {message}"):
        native.run(HALVES, *integers)

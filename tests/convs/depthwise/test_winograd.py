# SPDX-License-Identifier: Apache-2.0
"""Depthwise Winograd: how far from exact, where a NaN goes, and what is refused.

Sizes, layouts, threads and targets: tests/native/chains/test_every_kernel.py.
"""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convsmith import native
from convsmith.convs.depthwise import core
from convsmith.errors import NativeError
from convsmith.geometry import Geometry
from convsmith.native.chains import Chain, Stage, chain_kernels, run_chain

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")

# Relative L2 error on normal data; direct summation in float32 has 1.5e-7 to 8e-7.
ERRORS = {"depthwise_f1x4": 2e-6, "depthwise_f4x4": 4e-6}


def chain_of(channels: int, kernel: tuple[int, int], padding: int, **options: Any) -> Chain:
    geometry = Geometry(
        in_channels=channels,
        out_channels=channels,
        kernel_size=kernel,
        padding=((padding, padding),) * 2,
        groups=channels,
        **options,
    )
    return Chain((Stage(geometry),))


def convolve(name: str, x: Tensor, weight: Tensor, padding: int) -> Tensor:
    chain = chain_of(x.shape[1], (weight.shape[2], weight.shape[3]), padding)
    kernel = chain_kernels()[name]
    assert kernel.serves(chain, tuple(x.shape))
    return run_chain(kernel, chain, x, [weight], [None], None)


def by_definition(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    return F.conv2d(x.double(), weight.double(), padding=padding, groups=x.shape[1])


def relative_error(y: Tensor, exact: Tensor) -> float:
    return float((y - exact).norm() / exact.norm())


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize(("kernel", "size"), [(13, 28), (31, 14), (31, 56), (51, 64)])
def test_the_error_on_normal_data(name: str, kernel: int, size: int) -> None:
    x, weight = torch.randn(1, 16, size, size), torch.randn(16, 1, kernel, kernel)
    exact = by_definition(x, weight, kernel // 2)
    assert relative_error(convolve(name, x, weight, kernel // 2), exact) < ERRORS[name]


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("offset", [10.0, 1000.0])
def test_a_large_offset_costs_no_more_than_elsewhere(name: str, offset: float) -> None:
    """Of zero-sum kernels, too, where the offset cancels in y and its rounding stays."""
    for zero_sum in (False, True):
        x, weight = torch.randn(1, 16, 28, 28) + offset, torch.randn(16, 1, 13, 13)
        if zero_sum:
            weight = weight - weight.mean((2, 3), keepdim=True)
        exact = by_definition(x, weight, 0)
        summed = torch.zeros(1, 16, 16, 16)
        for i, j in product(range(13), repeat=2):
            summed += x[:, :, i : i + 16, j : j + 16] * weight[:, 0, i, j, None, None]
        direct = relative_error(summed, exact)
        assert relative_error(convolve(name, x, weight, 0), exact) < 10 * direct


@pytest.mark.parametrize(("name", "rows"), [("depthwise_f1x4", 1), ("depthwise_f4x4", 4)])
def test_what_is_not_finite_stays_in_the_tiles_that_read_it(name: str, rows: int) -> None:
    """A tile of rows x 4 outputs reads whole blocks: up to three inputs beyond its windows."""
    kernel, size, at = 13, 41, (22, 18)
    x, weight = torch.randn(1, 5, size, size), torch.randn(5, 1, kernel, kernel)
    clean = convolve(name, x, weight, 6)
    for value in (float("nan"), float("inf"), float("-inf")):
        dirty = x.clone()
        dirty[0, 2, at[0], at[1]] = value
        got = convolve(name, dirty, weight, 6)
        spoilt = torch.zeros(5, size, size, dtype=torch.bool)
        starts = [
            [t for t in range(0, size, m) if t - 6 <= p < t - 6 + -(-kernel // m) * m + m - 1]
            for p, m in zip(at, (rows, 4), strict=True)
        ]
        for row, column in product(*starts):
            spoilt[2, row : row + rows, column : column + 4] = True
        assert not got[0, 2, 16:29, 12:25].isfinite().any()  # what the definition spoils
        assert torch.equal(got[0][~spoilt], clean[0][~spoilt])


# x, weights, bias, residual, y; n, c, h, w; strides; multiplier; kernel; out size; strides;
# padding; dilations; channels last; activation.
GOOD = [0, 0, 0, 0, 0, 0, 4, 15, 15, 900, 225, 15, 1, 1, 13, 13, 3, 3, 1, 1, 0, 0, 1, 1, 1, 0]


@pytest.mark.parametrize("function", ["depthwise_winograd_1x4", "depthwise_winograd_4x4"])
@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (5, -1, "the sizes do not fit together"),
        (14, 0, "the sizes do not fit together"),
        (18, 2, "the sizes do not fit together"),
        (19, 2, "the sizes do not fit together"),
        (22, 3, "the sizes do not fit together"),
        (23, 3, "the sizes do not fit together"),
        (25, 5, "the sizes do not fit together"),
        (7, 2**63 - 1, "the sizes overflow 64-bit integers"),
        (15, 2**61, "the sizes overflow 64-bit integers"),
    ],
)
def test_bad_sizes_are_refused_by_value(
    function: str, position: int, value: int, message: str
) -> None:
    native.run(function, *GOOD)
    integers = list(GOOD)
    integers[position] = value
    with pytest.raises(NativeError, match=f"refused .*{value}.*: {message}"):
        native.run(function, *integers)


def test_packing_refuses_bad_sizes() -> None:
    for sizes in ((-1, 3, 3, 0), (4, 0, 3, 1), (4, 3, 0, 1)):
        with pytest.raises(NativeError, match=r"depthwise_winograd_pack refused .*: the sizes do"):
            native.run("depthwise_winograd_pack", 0, 0, *sizes)
    with pytest.raises(NativeError, match=r"refused .*: the sizes overflow"):
        native.run("depthwise_winograd_pack", 0, 0, 2**40, 2**20, 2**20, 1)


@pytest.mark.parametrize(("cuts_rows", "positions"), [(False, 7 * 5), (True, 49 * 2)])
def test_packed_weights_fill_their_memory(cuts_rows: bool, positions: int) -> None:
    """At the widest target; others leave the rest of it."""
    got = core.pack_winograd(torch.ones(17, 1, 5, 6), cuts_rows)
    assert got.shape == (32 * positions * 2,)


def test_they_serve_large_kernels_at_step_one() -> None:
    def serves(kernel: tuple[int, int], **options: Any) -> set[str]:
        chain = chain_of(4, kernel, 6, **options)
        return {name for name in ERRORS if chain_kernels()[name].serves(chain, (1, 4, 40, 40))}

    assert serves((12, 12)) == set(ERRORS)
    assert serves((3, 9)) == serves((11, 12)) == {"depthwise_f1x4"}
    assert not serves((31, 7))
    assert not serves((13, 13), stride=(2, 1))
    assert not serves((13, 13), dilation=(1, 2))

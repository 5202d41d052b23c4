# SPDX-License-Identifier: Apache-2.0
"""Every registered kernel where numbers, memory and sizes end."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from convsmith import native
from convsmith.native.chains import Chain, ChainKernel, run_chain

from .chain_cases import (
    KERNELS,
    biases_of,
    expected,
    layouts,
    some_served,
    weights_of,
    whole_numbers,
)

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")

every_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=list(KERNELS))
DIRECT = {name: kernel for name, kernel in KERNELS.items() if kernel.is_direct}
every_direct_kernel = pytest.mark.parametrize("kernel", DIRECT.values(), ids=list(DIRECT))

Case = tuple[Chain, tuple[int, ...]]


def cases(kernel: ChainKernel, number: int = 30) -> Iterator[Case]:
    """Without residuals, and with something to compute."""
    for chain, shape in some_served(kernel, number):
        if 0 not in chain.output_shape(shape):
            yield replace(chain, has_residual=False), shape


@every_kernel
def test_nothing_around_the_input_is_read(
    kernel: ChainKernel, target: str, between_guards: Tensor
) -> None:
    seen = 0
    for chain, (n, c, h, w) in cases(kernel):
        count = n * c * h * w
        if count > between_guards.numel():
            continue
        seen += 1
        numbers = whole_numbers(n, h, w, c, most=4, seed=1)
        weights, biases = weights_of(chain), biases_of(chain)
        for values in (numbers.permute(0, 3, 1, 2), numbers.permute(0, 3, 1, 2).contiguous()):
            wanted = run_chain(kernel, chain, values, weights, biases)
            for place in (between_guards[:count], between_guards[-count:]):
                x = place.as_strided(values.shape, values.stride()).copy_(values)
                got = run_chain(kernel, chain, x, weights, biases)
                assert torch.equal(got, wanted), (kernel.name, target, chain)
    assert seen > 10


@every_direct_kernel
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_goes_where_the_definition_sends_it(
    kernel: ChainKernel, target: str, value: float
) -> None:
    """Winograd's kernels send it to whole tiles: tests/convs/standard/test_winograd.py."""
    for chain, shape in cases(kernel):
        values = whole_numbers(*shape, most=4, seed=1)
        values[-1, -1, shape[2] // 2, shape[3] // 2] = value
        weights, biases = weights_of(chain), biases_of(chain)
        wanted = expected(chain, values, weights, biases, None)
        for x in layouts(values):
            got = run_chain(kernel, chain, x, weights, biases).double()
            torch.testing.assert_close(
                got, wanted, rtol=2e-5, atol=1e-4, equal_nan=True, msg=f"{target} {chain}"
            )


@every_kernel
def test_numbers_below_the_normal_ones_are_worth_their_size_or_nothing(
    kernel: ChainKernel, target: str
) -> None:
    """Taken for zero, an input loses at most 2^-126, and a product or a sum as much again."""
    least = 2.0**-126
    for chain, shape in cases(kernel):
        linear = Chain(tuple(replace(stage, activation="none") for stage in chain.stages))
        values = whole_numbers(*shape, most=4, seed=1) * (least / 8)
        weights = weights_of(chain)
        biases: list[Tensor | None] = [None] * len(weights)
        exact = expected(linear, values, weights, biases, None)
        error = run_chain(kernel, linear, values, weights, biases).double() - exact
        bounds, lost = [w.abs() + 2 for w in weights], torch.full_like(values, least)
        if kernel.is_direct:
            allowed = expected(linear, lost, bounds, biases, None) + least
        else:
            allowed = 100 * expected(linear, lost, bounds, biases, None)  # its transforms' sums
        assert (error.abs() <= allowed).all(), (kernel.name, target, linear, shape)


@every_kernel
@pytest.mark.usefixtures("threads_restored")
@pytest.mark.parametrize("threads", [1, 2])
def test_torch_s_own_numbers_stay_as_they_are(kernel: ChainKernel, threads: int) -> None:
    """The mode in which a kernel runs ends with it, on every thread."""
    torch.set_num_threads(threads)
    chain, shape = max(cases(kernel), key=lambda case: case[0].macs(case[1]))
    run_chain(kernel, chain, torch.ones(shape), weights_of(chain), [None] * len(chain.stages))
    tiny = torch.full((200_000,), 2.0**-149)
    assert torch.equal(tiny * 3, torch.full((200_000,), 3 * 2.0**-149))


def error_bound(chain: Chain, x: Tensor, weights: list[Tensor]) -> Tensor:
    """Of float32 sums in any order, through all stages.

    |error of a sum of n products| <= (n + 1) u sum |w x|, u = 2^-24 (Higham, 2002, section 3.1),
    and the error of x itself is carried on by |w|; activations carry it on unchanged at most.
    """
    size, error = x.double().abs(), torch.zeros_like(x, dtype=torch.float64)
    for stage, weight in zip(chain.stages, weights, strict=True):
        g = stage.geometry
        (top, bottom), (left, right) = g.padding

        def through(t: Tensor, weight: Tensor = weight) -> Tensor:
            padded = functional.pad(t, (left, right, top, bottom))  # noqa: B023
            options = (g.stride, 0, g.dilation, g.groups)  # noqa: B023
            return functional.conv2d(padded, weight.double().abs(), None, *options)

        rounding = (weight[0].numel() + 1) * 2.0**-24
        error = through(error) + rounding * through(size + error)
        size = through(size)
    return error


@every_kernel
def test_random_numbers_stay_within_the_bound(kernel: ChainKernel, target: str) -> None:
    generator = torch.Generator().manual_seed(0)
    for chain, shape in cases(kernel):
        if chain.stages[-1].activation in ("hard_swish", "silu"):
            continue
        x = torch.randn(shape, generator=generator)
        weights = [torch.randn(w.shape, generator=generator) for w in weights_of(chain)]
        biases: list[Tensor | None] = [None] * len(weights)
        exact = expected(chain, x, weights, biases, None)
        error = run_chain(kernel, chain, x, weights, biases).double() - exact
        if kernel.is_direct:
            assert (error.abs() <= error_bound(chain, x, weights)).all(), (target, chain, shape)
        else:
            assert error.norm() <= 1e-5 * exact.norm(), (target, chain, shape)

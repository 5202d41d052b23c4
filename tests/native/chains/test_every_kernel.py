# SPDX-License-Identifier: Apache-2.0
"""Every registered kernel against torch in float64, on each chain and shape that it serves.

Whole numbers make every float32 sum exact, so that equality is bit for bit; what rounds more (a
kernel that is not direct, an activation with an exponential) gets a bound.
"""

import pytest
import torch
from torch import Tensor

from convsmith import native
from convsmith.errors import ArgumentError
from convsmith.native.chains import Chain, ChainKernel, register_kernel, run_chain

from .chain_cases import (
    CASES,
    EXACT,
    KERNELS,
    biases_of,
    expected,
    layouts,
    some_served,
    weights_of,
    whole_numbers,
)

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")


EXPONENTIAL = ("hard_swish", "silu")  # one divides, one exponentiates: both round

# Less runs in the calling thread alone (parallel.cpp).
SMALL_MACS = 32768


def largest(t: Tensor) -> float:
    return float(t.abs().max()) if t.numel() else 0.0


def sums_exactly(kernel: ChainKernel, chain: Chain) -> bool:
    return kernel.name in EXACT and chain.stages[-1].activation not in EXPONENTIAL


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=list(KERNELS))
@pytest.mark.usefixtures("poisoned", "threads_restored")
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
        bound = 0.0 if sums_exactly(kernel, chain) else 2e-5 * max(1.0, largest(wanted))
        for threads in (1, 2) if chain.macs(shape) >= SMALL_MACS else (1,):
            torch.set_num_threads(threads)
            for x in layouts(wanted_x):
                y = run_chain(kernel, chain, x, weights, biases, residual)
                assert y.is_contiguous(memory_format=torch.channels_last)
                difference = largest(y.double() - wanted)
                assert difference <= bound, (kernel.name, target, chain, shape, x.stride())
    assert served, f"no case for {kernel.name}: add one"


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=list(KERNELS))
@pytest.mark.usefixtures("threads_restored")
def test_threads_change_no_bit(kernel: ChainKernel) -> None:
    for chain, shape in some_served(kernel, 20):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(5))
        weights, biases = weights_of(chain), biases_of(chain)
        residual = torch.ones(chain.output_shape(shape)) if chain.has_residual else None
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(run_chain(kernel, chain, x, weights, biases, residual))
        assert torch.equal(*results), (kernel.name, chain, shape)


def test_a_name_is_taken_once() -> None:
    kernel = next(iter(KERNELS.values()))
    with pytest.raises(ArgumentError, match=f"{kernel.name!r} is registered already"):
        register_kernel(kernel)
